import resource
import time

import numpy as np
import pytest
from plain_yolov8 import live_weights

from rfkernels.builder import BuildOptions, build
from rfkernels.errors import CheckpointError

# Generous on a slow machine, small against what an exponential or unbounded reader would take.
SECONDS, MEGABYTES = 20, 400


@pytest.fixture(scope="session")
def detector_weights():
    """Weights of a YOLOv8n with 3 classes whose signal lives, rounded to what float16 can hold."""
    weights = live_weights("n", 3, seed=0)
    return {key: values.astype(np.float16).astype(np.float32) for key, values in weights.items()}


@pytest.fixture(scope="session")
def weights_of_task():
    """By task: weights of a YOLOv8n with 2 classes whose signal lives; that for poses has 4 keypoints of 2 numbers."""
    return {task: live_weights("n", 2, 0, task, keypoint_channels=8) for task in ("segment", "pose", "classify")}


@pytest.fixture
def refused(tmp_path):
    """Assert that a weights file is refused within bounds, that nothing has run, and that no output is left.

    A canary file stands for all side effects: every payload that could run would create it.
    """
    canary, output = tmp_path / "canary", tmp_path / "model.onnx"

    def check(path, message):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        with pytest.raises(CheckpointError, match=message) as caught:
            build(path, output, BuildOptions(image_size=64, class_names=["a", "b", "c"]))
        assert time.process_time() - start < SECONDS
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEGABYTES
        assert not canary.exists()
        assert sorted(tmp_path.iterdir()) == [path]
        text = str(caught.value)
        assert len(text) < 2000
        text.encode()

    return check
