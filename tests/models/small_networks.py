"""Weights of small networks of all four tasks, in files that `rfkernels build` reads."""

import json
import math

import numpy as np
from plain_yolov8 import live_network
from weight_files import safetensors_bytes

TASKS = {
    "object-detection": "detect",
    "instance-segmentation": "segment",
    "keypoint-detection": "pose",
    "classification": "classify",
}
NAMES = ("circle", "square", "star")
SIZE = (64, 96)


def write_small_network(path, task, *, keypoint_shape=None, seed=0, **metadata):
    """A YOLOv8n of three classes for 64 x 96 pixels that finds some dozens of small and large things in noise.

    keypoint_shape: of a pose network. metadata: further entries of the file, by name.
    """
    kind = TASKS[task]
    channels = math.prod(keypoint_shape) if keypoint_shape else 0
    weights = live_network("n", len(NAMES), seed, SIZE, kind, channels)[0]
    if kind != "classify":
        for level in range(3):
            # Distances are means over 16 bins: without this every box would be as large as the picture.
            weights[f"model.22.cv2.{level}.2.bias"] = np.tile(np.arange(16, dtype=np.float32) * np.float32(-0.6), 4)
    if keypoint_shape is not None:
        metadata["kpt_shape"] = list(keypoint_shape)
    entries = {"names": dict(enumerate(NAMES)), "imgsz": list(SIZE), **metadata}
    texts = {name: json.dumps(value) for name, value in entries.items()}
    path.write_bytes(safetensors_bytes(weights, {"task": kind, "stride": "32", **texts}))
    return path
