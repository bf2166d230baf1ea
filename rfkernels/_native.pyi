from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# instruction set

def supported_instruction_sets() -> list[str]: ...
def active_instruction_set() -> str: ...
def force_instruction_set(name: str) -> None: ...

# detection

# boxes, scores, class_ids, anchor_indices, network_boxes, overflowed
_Found = tuple[
    NDArray[np.float32], NDArray[np.float32], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], bool
]

def nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int32] | None,
    iou_threshold: float,
    class_agnostic: bool,
    max_detections: int,
) -> tuple[NDArray[np.int32], bool]: ...
def detect_from_heads(
    heads: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
    strides: Sequence[int],
    placements: NDArray[np.float64],
    confidence: float,
    class_confidences: NDArray[np.float32] | None,
    wanted_classes: NDArray[np.uint8] | None,
    filter_before_suppression: bool,
    whole_pixels: bool,
    iou_threshold: float,
    class_agnostic: bool,
    max_detections: int,
) -> list[_Found]: ...
def detect_from_decoded(
    prediction: NDArray[np.float32],
    placements: NDArray[np.float64],
    confidence: float,
    class_confidences: NDArray[np.float32] | None,
    wanted_classes: NDArray[np.uint8] | None,
    filter_before_suppression: bool,
    whole_pixels: bool,
    iou_threshold: float,
    class_agnostic: bool,
    max_detections: int,
) -> list[_Found]: ...
