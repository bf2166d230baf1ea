"""One set of weights in every pipeline: rfkernels, inference-models with the server's responses, and ultralytics.

rfkernels runs its own graph through OpenVINO, the peers the ONNX file that ultralytics exports, all in fp32.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from comparison import Detected
from pictures import Picture
from rfkernels.benchmarks.peers.inference_adapters import PeerResponder
from rfkernels.benchmarks.peers.inference_models_package import load_package, make_package
from rfkernels.benchmarks.peers.weights import decoded_onnx, logits_onnx
from thresholds import Thresholds, clear_thresholds
from ultralytics import YOLO

import rfkernels
from rfkernels import ops
from rfkernels.builder import BuildOptions, build
from rfkernels.model_metadata import ModelMetadata, read_model_metadata

PAD_VALUE = 114
ULTRALYTICS_TASKS = {
    "instance-segmentation": "segment",
    "keypoint-detection": "pose",
    "classification": "classify",
}
# The peer's words for our ways to resize.
RESIZE_MODES = {"letterbox": "letterbox", "stretch": "stretch", "center_crop": "center-crop"}
# Confidence and IoU threshold that a convention has of itself.
DEFAULT_THRESHOLDS = {"v2": (0.4, 0.3), "ultralytics": (0.25, 0.7)}


@dataclass
class Pipelines:
    """The same network three times, and the peers' network alone.

    Attributes:
        detections: fewest, wanted and most in a picture; thresholds are chosen for it.
    """

    ours: Any
    metadata: ModelMetadata
    inference_models: PeerResponder
    ultralytics: YOLO
    network: onnxruntime.InferenceSession
    pictures: list[Picture]
    detections: tuple[int, int, int]

    def placement(self, picture: Picture, convention: str) -> ops.Placement:
        crop = self.metadata.preprocessing.static_crop
        return ops.plan_placement(
            *picture.pixels.shape[:2],
            size=self.metadata.image_size,
            rounding="truncate" if convention == "v2" else "half_to_even",
            static_crop=None if crop is None else ops.StaticCrop(*crop),
        )

    def prediction(self, picture: Picture, placement: ops.Placement) -> np.ndarray:
        """The decoded output of the peers' network, float32 [4 + class count + what the task adds, anchors]."""
        network_input = ops.preprocess(
            [picture.pixels], [placement], size=self.metadata.image_size, swap_channels=True, pad_value=PAD_VALUE
        )
        return self.network.run(None, {"images": network_input})[0][0]

    def boxes_and_scores(self, prediction: np.ndarray) -> np.ndarray:
        """The rows of a prediction that a detector has too."""
        return prediction[: 4 + len(self.metadata.class_names)]

    def thresholds(self, prediction: np.ndarray, convention: str) -> Thresholds | None:
        """Where no decision of a picture hangs on the last digits; None where there is no such place."""
        return clear_thresholds(self.boxes_and_scores(prediction), DEFAULT_THRESHOLDS[convention], self.detections)


def make_pipelines(
    weights: Path,
    folder: Path,
    pictures: list[Picture],
    detections: tuple[int, int, int],
    *,
    preprocessing: dict[str, Any] | None = None,
    keypoint_names: Sequence[Sequence[str]] | None = None,
    multi_label: bool = False,
) -> Pipelines:
    """Build, export, package and load.

    Args:
        weights: .safetensors of any task but detection.
        preprocessing: of rfkernels and of inference-models; ultralytics has but its own.
        keypoint_names: of a pose network, for each class.
        multi_label: of a classifier.
    """
    model_path = folder / "ours.onnx"
    options = BuildOptions(
        preprocessing={"pad_value": PAD_VALUE} | (preprocessing or {}),
        keypoint_names=None if keypoint_names is None else dict(enumerate(keypoint_names)),
        # What joins keypoints is in no number that is compared, and may not be said of fewer keypoints than there are.
        skeleton=None if keypoint_names is None else [],
        multi_label=multi_label,
    )
    build(weights, model_path, options)
    metadata = read_model_metadata(model_path)
    exported = decoded_onnx(weights, folder)
    is_classifier = metadata.task == "classification"
    steps = metadata.preprocessing
    crop = dict(zip(("x_min", "x_max", "y_min", "y_max"), steps.static_crop or (), strict=False))
    package = make_package(
        folder / "package",
        logits_onnx(exported, folder / "logits.onnx") if is_classifier else exported,
        metadata.class_names,
        metadata.image_size,
        # What classifiers have of themselves, ultralytics' way to resize, the peer has not.
        resize_mode=RESIZE_MODES.get(steps.resize_mode, "stretch"),
        padding_value=PAD_VALUE,
        image_preprocessing={"static-crop": {"enabled": True, **crop}} if crop else None,
        task="multi-label-classification" if multi_label else metadata.task,
        keypoint_names=keypoint_names,
    )
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = 2
    return Pipelines(
        rfkernels.load(model_path, precision="fp32", threads=2, cache_directory=False),
        metadata,
        PeerResponder(load_package(package, threads=2)),
        YOLO(exported, task=ULTRALYTICS_TASKS[metadata.task], verbose=False),
        onnxruntime.InferenceSession(str(exported), session_options, providers=["CPUExecutionProvider"]),
        pictures,
        detections,
    )


def document_of(response: Any) -> dict[str, Any]:
    """A response of rfkernels as JSON has it, without what is new each time."""
    document = json.loads(response.to_json())
    return {name: value for name, value in document.items() if name not in ("time", "inference_id")}


def detected_in(document: dict[str, Any]) -> Detected:
    """Corners and scores of the predictions of a response."""
    predictions = document["predictions"]
    centres = np.array([(found["x"], found["y"]) for found in predictions], np.float64).reshape(-1, 2)
    sizes = np.array([(found["width"], found["height"]) for found in predictions], np.float64).reshape(-1, 2)
    return Detected(
        np.concatenate([centres - sizes / 2, centres + sizes / 2], 1),
        np.array([found["confidence"] for found in predictions], np.float32),
        np.array([found["class_id"] for found in predictions], np.int64),
    )
