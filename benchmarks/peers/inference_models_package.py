"""Model packages for `inference-models`, the peer that defines the v2 convention, made and loaded without a network.

`inference-models` loads a folder: what the model is (model_config.json), how its input is prepared
(inference_config.json), the names of its classes, those of its keypoints where it has them, and an ONNX file that
decodes its boxes itself. `make_package` writes such a folder, `load_package` gives the model with its ONNX Runtime
session on the CPU.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TASKS = (
    "object-detection",
    "instance-segmentation",
    "keypoint-detection",
    "classification",
    "multi-label-classification",
)
RESIZE_MODES = ("stretch", "letterbox", "center-crop", "letterbox-reflect-edges", "fit-longer-edge")


def make_package(
    directory: Path,
    decoded_onnx_path: Path,
    class_names: Sequence[str],
    input_size: tuple[int, int],
    *,
    resize_mode: str = "letterbox",
    padding_value: int | None = 127,
    image_preprocessing: dict[str, Any] | None = None,
    task: str = "object-detection",
    keypoint_names: Sequence[Sequence[str]] | None = None,
) -> Path:
    """Write a model package of a YOLOv8 network.

    Args:
        directory: where to; made if it is not there.
        decoded_onnx_path: ONNX file with the output [1, 4 + class count, anchors]: cx, cy, w, h in input pixels, then
            scores, and what the task adds (`benchmarks.peers.weights.decoded_onnx`). Of a classifier: the logits
            [1, class count].
        class_names: one per class, in order.
        input_size: (height, width) of the network's input in pixels.
        resize_mode: one of `RESIZE_MODES`.
        padding_value: 0..255, grey of the letterbox; None leaves it to the peer, which takes 0.
        image_preprocessing: static crop, grayscale and contrast in the peer's own words, for instance {"grayscale":
            {"enabled": True}}.
        task: one of `TASKS`. The peer has no YOLOv8 for several labels: its ResNet runs any ONNX file that gives
            logits, and so it runs this one.
        keypoint_names: for keypoint detection, for each class the names of its keypoints; the class with the most has
            all that the network gives.
    Returns:
        `directory`.
    """
    if resize_mode not in RESIZE_MODES:
        raise ValueError(f"resize_mode is {resize_mode!r}: it must be one of {', '.join(RESIZE_MODES)}")
    if task not in TASKS:
        raise ValueError(f"task is {task!r}: it must be one of {', '.join(TASKS)}")
    directory.mkdir(parents=True, exist_ok=True)
    height, width = input_size
    architecture = "resnet" if task == "multi-label-classification" else "yolov8"
    model_config = {"model_architecture": architecture, "task_type": task, "backend_type": "onnx"}
    post_processing = {"classification": "softmax", "multi-label-classification": "sigmoid"}.get(task, "nms")
    inference_config = {
        "image_pre_processing": image_preprocessing or {},
        "network_input": {
            "training_input_size": {"height": height, "width": width},
            "dynamic_spatial_size_supported": False,
            "color_mode": "rgb",
            "resize_mode": resize_mode,
            "padding_value": padding_value,
            "input_channels": 3,
            "scaling_factor": 255,
        },
        "forward_pass": {"static_batch_size": 1},
        "post_processing": {"type": post_processing, "fused": False},
    }
    if keypoint_names is not None:
        keypoints = [
            {"object_class_id": class_id, "keypoints": dict(enumerate(names)), "edges": []}
            for class_id, names in enumerate(keypoint_names)
        ]
        (directory / "keypoints_metadata.json").write_text(json.dumps(keypoints, indent=1))
    (directory / "model_config.json").write_text(json.dumps(model_config, indent=1))
    (directory / "inference_config.json").write_text(json.dumps(inference_config, indent=1))
    (directory / "class_names.txt").write_text("\n".join(class_names) + "\n")
    shutil.copyfile(decoded_onnx_path, directory / "weights.onnx")
    return directory


def load_package(directory: Path, threads: int | None = None) -> Any:
    """The peer's model of a package, on the CPU through ONNX Runtime in float32.

    Args:
        directory: a folder made by `make_package`.
        threads: how many threads ONNX Runtime may use for one picture; None leaves it its default, all cores.
    Returns:
        A model: `model(image, confidence=, iou_threshold=, max_detections=, class_agnostic_nms=)` of a detector gives a
        list with one `Detections` (xyxy int32 [n, 4], class_id int32 [n], confidence float32 [n]) for a uint8 BGR
        [h, w, 3] image. `benchmarks.peers.inference_adapters` gives V2 responses for any task.
    """
    import onnxruntime
    import torch
    from inference_models import AutoModel

    original = onnxruntime.InferenceSession

    def with_threads(*arguments: Any, **options: Any) -> onnxruntime.InferenceSession:
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = threads
        return original(*arguments, sess_options=session_options, **options)

    # The package has no field for a thread count and the class passes no session options: they are added where it makes
    # its session.
    if threads is not None:
        onnxruntime.InferenceSession = with_threads
    try:
        return AutoModel.from_pretrained(
            str(directory), device=torch.device("cpu"), onnx_execution_providers=["CPUExecutionProvider"]
        )
    finally:
        onnxruntime.InferenceSession = original
