"""Weights of small networks of all four tasks, in files that `rfkernels build` reads."""

import json
import math

import numpy as np
from plain_yolov8 import live_network, plain_heads
from weight_files import safetensors_bytes

TASKS = {
    "object-detection": "detect",
    "instance-segmentation": "segment",
    "keypoint-detection": "pose",
    "classification": "classify",
}
NAMES = ("circle", "square", "star")
SIZE = (64, 96)
# Distances are means over 16 bins: without a slope every box would be as large as the picture.
_BIN_SLOPE = -0.6
_BRANCHES = {"detect": {}, "segment": {"cv4": "coefficients"}, "pose": {"cv4": "keypoints"}}


def write_small_network(path, task, *, keypoint_shape=None, seed=0, **metadata):
    """A YOLOv8n of three classes for 64 x 96 pixels (a classifier: 64 x 64) that finds dozens of things in noise.

    keypoint_shape: of a pose network. metadata: further entries of the file, by name.
    """
    kind = TASKS[task]
    channels = math.prod(keypoint_shape) if keypoint_shape else 0
    weights = live_network("n", len(NAMES), seed, SIZE, kind, channels)[0]
    if kind != "classify":
        _standardise_heads(weights, kind, channels, seed)
    if keypoint_shape is not None:
        metadata["kpt_shape"] = list(keypoint_shape)
    entries = {"names": dict(enumerate(NAMES)), "imgsz": list(SIZE) if kind != "classify" else SIZE[0], **metadata}
    texts = {name: json.dumps(value) for name, value in entries.items()}
    path.write_bytes(safetensors_bytes(weights, {"task": kind, "stride": "32", **texts}))
    return path


def _standardise_heads(weights, kind, channels, seed):
    """Outputs of deviation 1 on a coarse picture: surer scores would round to 1, and be equal."""
    rng = np.random.default_rng(seed + 1)
    image = rng.random((3, SIZE[0] // 2, SIZE[1] // 2), np.float32).repeat(2, axis=1).repeat(2, axis=2)
    outputs = plain_heads(weights, "n", len(NAMES), image, kind, channels)
    for branch, output in {"cv2": "box", "cv3": "class", **_BRANCHES[kind]}.items():
        for level, stride in enumerate((8, 16, 32)):
            name = f"model.22.{branch}.{level}.2"
            values = outputs[f"{output}_{stride}"]
            deviation = values.std()
            weights[f"{name}.weight"] /= np.float32(deviation)
            bias = weights[f"{name}.bias"] - values.mean(axis=(1, 2))
            weights[f"{name}.bias"] = (bias / deviation).astype(np.float32)
        if branch == "cv2":
            for level in range(3):
                weights[f"model.22.cv2.{level}.2.bias"] += np.tile(np.arange(16) * _BIN_SLOPE, 4).astype(np.float32)
