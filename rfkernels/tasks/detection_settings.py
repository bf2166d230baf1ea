"""What a request to a detector wants."""

from __future__ import annotations

from dataclasses import dataclass

from rfkernels.tasks.convention import Convention


@dataclass(frozen=True)
class DetectionSettings:
    """What one request wants of the detections; see `ObjectDetectionModel.infer`."""

    convention: Convention
    confidence: float
    iou_threshold: float
    max_detections: int
    class_agnostic: bool = False
    wanted_class_ids: tuple[int, ...] | None = None
