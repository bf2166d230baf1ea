"""Peer: the YOLOv8 class of `inference-models` through ONNX Runtime on the CPU, which runs in fp32 and in nothing
else."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rfkernels.benchmarks.peers.inference_models_package import load_package, make_package
from rfkernels.benchmarks.peers.weights import decoded_onnx, silence_peers


def available() -> bool:
    """Whether inference-models, ONNX Runtime and ultralytics (which exports the ONNX file) are installed."""
    return all(importlib.util.find_spec(name) for name in ("torch", "onnxruntime", "inference_models", "ultralytics"))


def make_runner(
    weights: Path,
    threads: int,
    *,
    confidence: float = 0.4,
    iou_threshold: float = 0.3,
    max_detections: int = 300,
) -> Callable[[np.ndarray], Any]:
    """A function from a uint8 BGR [h, w, 3] image to the peer's `Detections` (int32 corners, class ids, scores).

    Args:
        weights: a .pt of ultralytics, a .safetensors (`benchmarks.peers.weights`) or an .onnx with the decoded output.
        threads: for ONNX Runtime and for torch.
    """
    silence_peers()
    # In offline mode inference-models insists on being imported before ultralytics.
    import inference_models  # noqa: F401
    import onnx
    import torch

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="rfkernels-peer-") as folder:
        onnx_path = decoded_onnx(weights, Path(folder))
        graph = onnx.load(onnx_path).graph
        height, width = (dimension.dim_value for dimension in graph.input[0].type.tensor_type.shape.dim[2:])
        class_count = graph.output[0].type.tensor_type.shape.dim[1].dim_value - 4
        names = [f"class {index}" for index in range(class_count)]
        package = make_package(Path(folder) / "package", onnx_path, names, (height, width))
        model = load_package(package, threads)
    return lambda image: model(
        image, confidence=confidence, iou_threshold=iou_threshold, max_detections=max_detections
    )[0]
