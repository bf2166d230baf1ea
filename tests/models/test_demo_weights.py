"""The shipped demo weights: sound safetensors files that say what they are, and the figures that belong to them."""

import json
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "models" / "demo"
FILES = {
    "detect": "yolov8n-shapes-320.safetensors",
    "segment": "yolov8n-seg-shapes-320.safetensors",
    "pose": "yolov8n-pose-shapes-320.safetensors",
}
# Convolutions with a folded BatchNorm, plain ones, and weights without a bias: the fixed ones of the distances. Masks
# add a branch of each level (two and one), and the prototypes (three and a transposed one).
CONVOLUTIONS = {"detect": (57, 6), "segment": (57 + 6 + 3, 6 + 3 + 1), "pose": (57 + 6, 6 + 3)}
# What is promised of each file, of 200 held-out pictures.
LEAST_MAP50 = {
    "detect": {"bbox": 0.85},
    "segment": {"bbox": 0.85, "segm": 0.80},
    "pose": {"bbox": 0.85, "keypoints": 0.80},
}


@pytest.fixture(scope="module", params=FILES)
def weights(request):
    """(task, metadata, {name: array}) by the safetensors format: header length, JSON header, then the tensors."""
    content = (FOLDER / FILES[request.param]).read_bytes()
    header_end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:header_end])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        assert entry["dtype"] == "F16"
        first, last = (header_end + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(content[first:last], np.float16).reshape(entry["shape"])
    return request.param, metadata, tensors


def test_the_metadata_says_what_the_model_is(weights):
    task, metadata, _ = weights
    assert metadata["task"] == task
    names = ("disc", "ring", "triangle", "arrow", "star", "house")
    assert json.loads(metadata["names"]) == {str(index): name for index, name in enumerate(names)}
    assert json.loads(metadata["imgsz"]) == [320, 320]
    assert (metadata["stride"], metadata["license"], metadata["author"]) == ("32", "Apache-2.0", "rfkernels")
    if task == "pose":
        assert json.loads(metadata["kpt_shape"]) == [5, 3]
        assert json.loads(metadata["kpt_names"]) == ["top", "left", "right", "bottom", "centre"]
        assert all(0 <= end < 5 for edge in json.loads(metadata["skeleton"]) for end in edge)


def test_the_tensors_are_those_of_a_fused_yolov8n(weights):
    task, _, tensors = weights
    assert not [name for name in tensors if ".bn." in name]
    folded, plain = CONVOLUTIONS[task]
    assert len(tensors) == 2 * folded + 2 * plain + 1
    assert tensors["model.0.conv.weight"].shape == (16, 3, 3, 3)
    assert tensors["model.22.cv2.0.2.weight"].shape == (64, 64, 1, 1)
    assert tensors["model.22.cv3.2.2.bias"].shape == (6,)
    np.testing.assert_array_equal(tensors["model.22.dfl.conv.weight"].ravel(), np.arange(16))
    if task == "segment":
        assert tensors["model.22.proto.upsample.weight"].shape == (64, 64, 2, 2)
        assert tensors["model.22.cv4.1.2.bias"].shape == (32,)
    if task == "pose":
        assert tensors["model.22.cv4.1.2.bias"].shape == (15,)


def test_the_values_are_finite_and_alive(weights):
    _, _, tensors = weights
    for name, tensor in tensors.items():
        assert np.isfinite(tensor).all(), name
        if name.endswith(".weight"):
            channels = tensor.reshape(tensor.shape[0], -1).astype(np.float64)
            assert (np.abs(channels).max(axis=1) > 0).all(), name


def test_the_held_out_precision_of_the_files_is_what_was_promised():
    report = json.loads((FOLDER / "held_out_map.json").read_text())
    assert report["held_out_pictures"] == 200
    for task, promised in LEAST_MAP50.items():
        measured = report["shipped_float16"][task]
        assert set(measured) == set(promised)
        for kind, least in promised.items():
            assert measured[kind]["map50"] >= least
