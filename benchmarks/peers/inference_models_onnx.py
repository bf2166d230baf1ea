"""Peer: the YOLOv8 class of `inference-models` through ONNX Runtime on the CPU, which runs in fp32 and in nothing
else, and the V2 response in the classes of `inference-core`."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rfkernels.benchmarks.peers import inference_entities
from rfkernels.benchmarks.peers.inference_adapters import PeerResponder
from rfkernels.benchmarks.peers.inference_models_package import load_package, make_package
from rfkernels.benchmarks.peers.weights import decoded_onnx, silence_peers


def available() -> bool:
    """Whether inference-models, inference-core, ONNX Runtime and ultralytics (which exports the ONNX file) are
    installed."""
    packages = ("torch", "onnxruntime", "inference_models", "ultralytics", "pydantic")
    return all(importlib.util.find_spec(name) for name in packages) and inference_entities.available()


def make_runner(
    weights: Path,
    threads: int,
    *,
    class_names: Sequence[str],
    task: str = "object-detection",
    keypoint_names: Sequence[str] = (),
    confidence: float = 0.4,
    iou_threshold: float = 0.3,
    max_detections: int = 300,
) -> Callable[[np.ndarray], Any]:
    """A function from a uint8 BGR [h, w, 3] image to the JSON of a V2 response, as the peer's server makes it: the
    tensors of its `Detections` to one object for each prediction, to text.

    Args:
        weights: a .pt of ultralytics, a .safetensors (`benchmarks.peers.weights`) or an .onnx with the decoded output.
        threads: for ONNX Runtime and for torch.
        class_names: one per class, in order.
        task: "object-detection", "instance-segmentation" (outlines) or "keypoint-detection".
        keypoint_names: of every class, for keypoint detection.
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
        package = make_package(
            Path(folder) / "package",
            onnx_path,
            class_names,
            (height, width),
            task=task,
            keypoint_names=[keypoint_names] * len(class_names) if keypoint_names else None,
        )
        model = load_package(package, threads)
    options = {"confidence": confidence, "iou_threshold": iou_threshold, "max_detections": max_detections}
    if task != "object-detection":
        responder = PeerResponder(model)
        return lambda image: responder.entity(responder.run(image), **options).model_dump_json(
            by_alias=True, exclude_none=True
        )
    entities = inference_entities.responses_module()
    return lambda image: _response(entities, model(image, **options)[0], class_names, image)


def _response(entities: Any, detections: Any, names: Sequence[str], image: np.ndarray) -> str:
    corners, scores, class_ids = (
        tensor.numpy().tolist() for tensor in (detections.xyxy, detections.confidence, detections.class_id)
    )
    predictions = [
        entities.ObjectDetectionPrediction(
            **{"class": names[class_id]},
            x=(x1 + x2) / 2,
            y=(y1 + y2) / 2,
            width=x2 - x1,
            height=y2 - y1,
            confidence=score,
            class_id=class_id,
        )
        for (x1, y1, x2, y2), score, class_id in zip(corners, scores, class_ids, strict=True)
    ]
    size = entities.InferenceResponseImage(width=image.shape[1], height=image.shape[0])
    response = entities.ObjectDetectionInferenceResponse(image=size, predictions=predictions)
    text: str = response.model_dump_json(by_alias=True, exclude_none=True)
    return text
