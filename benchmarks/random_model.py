"""A YOLOv8 of random weights that carries a signal and finds as many objects as wanted: for timing, not for looking.

A freshly initialised YOLOv8 is dead (its outputs are constant), so candidates, suppression and response would cost
nothing. Here no convolution lets the signal die, the heads are scaled to unit deviation, and
the class biases are shifted until an image has as many detections as wanted. Masks fill their boxes but for noise.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rfkernels.models.yolov8.heads import BINS_PER_SIDE, branches
from rfkernels.models.yolov8.layers import LARGEST_STRIDE, STRIDES
from rfkernels.models.yolov8.network import Network, Task
from rfkernels.models.yolov8.weights import convolutions, dfl_key

from rfkernels.builder import BuildOptions, build
from rfkernels.engines import OpenVINOEngine, OpenVINOOptions
from rfkernels.images import load_image
from rfkernels.model_metadata import read_model_metadata
from rfkernels.tasks.detector import Detector
from rfkernels.tasks.loading import MODELS

KEYPOINT_SHAPE = (17, 3)
_HEAD = Network("detect", "n", 1).head_name
# Mean and deviation of the heads' outputs. Prototypes are positive for the most part, and a mask is inside where their
# weighted sum is.
_DISTRIBUTIONS = {"coefficients": (0.4, 0.15)}
_STANDARD = (0.0, 1.0)
_BISECTIONS = 12
# 1 / E[SiLU(x)^2] for x of unit variance: what a convolution's weights must make up for.
_SILU_GAIN = 2.81


def make_random_model(
    folder: Path,
    scale: str,
    class_names: Sequence[str],
    image_size: tuple[int, int],
    image: NDArray[np.uint8],
    *,
    task: Task = "detect",
    wanted_detections: int = 100,
) -> tuple[Path, Path]:
    """Write the weights (.safetensors) and the model (.onnx) into `folder`.

    Args:
        scale: "n" to "x".
        image_size: (height, width) of the network's input.
        image: uint8 [height, width, 3] BGR, the picture that shall have so many detections.
        task: "detect", "segment" or "pose", which has 17 keypoints.
        wanted_detections: within 5 %, at the default thresholds of the v2 convention.

    Returns:
        The two paths.
    """
    network = Network(task, scale, len(class_names), KEYPOINT_SHAPE if task == "pose" else None)
    suffix = {"segment": "-seg", "pose": "-pose"}.get(task, "")
    weights_path = folder / f"yolov8{scale}{suffix}-{max(image_size)}.safetensors"
    model_path = weights_path.with_suffix(".onnx")

    def save(weights: dict[str, NDArray[np.float32]]) -> Detector[Any, Any, Any, Any]:
        write_safetensors(weights_path, weights, class_names, image_size, task)
        build(weights_path, model_path, BuildOptions())
        # Every output at every pixel, so that the heads can be scaled.
        engine = OpenVINOEngine(model_path, OpenVINOOptions(precision="fp32", cache_directory=False))
        model = MODELS[network.task_name](engine, read_model_metadata(model_path))
        assert isinstance(model, Detector)
        return model

    weights = random_weights(network)
    _standardise_heads(weights, network, save(weights), image)
    low, high = -12.0, 12.0
    for _ in range(_BISECTIONS):
        shift = (low + high) / 2
        (found,) = save(shifted(weights, shift)).detect_images([load_image(image)])
        count = len(found)
        if abs(count - wanted_detections) <= wanted_detections / 20:
            break
        low, high = (shift, high) if count < wanted_detections else (low, shift)
    return weights_path, model_path


def _standardise_heads(
    weights: dict[str, NDArray[np.float32]],
    network: Network,
    model: Detector[Any, Any, Any, Any],
    image: NDArray[np.uint8],
) -> None:
    """Scale the last convolutions so that the heads' outputs for this image have the mean and deviation of theirs."""
    with model.engine.session() as session:
        model.prepare([load_image(image)], session, model.convention)
        outputs = session.run()
        for branch in branches(network):
            mean, deviation = _DISTRIBUTIONS.get(branch.output, _STANDARD)
            for level, stride in enumerate(STRIDES):
                name = f"{_HEAD}.{branch.module}.{level}.2"
                values = outputs[f"{branch.output}_{stride}"]
                scale = np.float32(deviation) / values.std(axis=(0, 2, 3))
                weights[f"{name}.weight"] *= scale[:, None, None, None]
                weights[f"{name}.bias"] = np.float32(mean) - values.mean(axis=(0, 2, 3)) * scale


def random_weights(network: Network, seed: int = 3) -> dict[str, NDArray[np.float32]]:
    """Folded weights by state-dict key, of a variance that keeps the signal alive from layer to layer."""
    rng = np.random.default_rng(seed)
    weights: dict[str, NDArray[np.float32]] = {}
    for convolution in convolutions(network):
        for key, shape in convolution.weight_shapes(folded=True).items():
            if len(shape) == 1:
                weights[key] = np.zeros(shape, np.float32)
                continue
            # Where a transposed convolution's kernel is its stride, each output is a sum over the input's channels.
            terms = shape[0] if convolution.kind == "transposed" else np.prod(shape[1:])
            deviation = np.sqrt(_SILU_GAIN / terms)
            weights[key] = (rng.normal(size=shape) * deviation).astype(np.float32)
    fixed = dfl_key(network)
    assert fixed is not None, "a detector has boxes"
    weights[fixed] = np.arange(BINS_PER_SIDE, dtype=np.float32).reshape(1, -1, 1, 1)
    return weights


def shifted(weights: dict[str, NDArray[np.float32]], shift: float) -> dict[str, NDArray[np.float32]]:
    """The same with `shift` added to every class's bias: more or fewer candidates."""
    changed = dict(weights)
    for level in range(len(STRIDES)):
        key = f"{_HEAD}.cv3.{level}.2.bias"
        changed[key] = weights[key] + np.float32(shift)
    return changed


def write_safetensors(
    path: Path,
    weights: dict[str, NDArray[np.float32]],
    class_names: Sequence[str],
    image_size: tuple[int, int],
    task: Task = "detect",
) -> None:
    """Weights with the metadata that `rfkernels build` and the peers read."""
    names = {str(index): name for index, name in enumerate(class_names)}
    metadata = {
        "task": task,
        "names": json.dumps(names),
        "imgsz": json.dumps(list(image_size)),
        "stride": str(LARGEST_STRIDE),
    }
    if task == "pose":
        metadata["kpt_shape"] = json.dumps(KEYPOINT_SHAPE)
    header: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for key, value in weights.items():
        header[key] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [offset, offset + value.nbytes]}
        offset += value.nbytes
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for value in weights.values():
            file.write(np.ascontiguousarray(value, "<f4").tobytes())
