"""The kernels on their own: NumPy arrays (or anything that shares its memory through DLPack) in, NumPy arrays out."""

from rfkernels._native import Placement, Rectangle, active_instruction_set, supported_instruction_sets
from rfkernels.ops.detection import (
    Candidates,
    Detections,
    Kept,
    detect_from_candidates,
    detect_from_decoded,
    detect_from_heads,
    nms,
    select_candidates,
)
from rfkernels.ops.neighbourhoods import FeatureGrid, neighbourhoods
from rfkernels.ops.preprocess import (
    StaticCrop,
    contrast,
    grayscale,
    letterbox,
    plan_placement,
    preprocess,
    preprocess_into,
)

__all__ = [
    "Candidates",
    "Detections",
    "FeatureGrid",
    "Kept",
    "Placement",
    "Rectangle",
    "StaticCrop",
    "active_instruction_set",
    "contrast",
    "detect_from_candidates",
    "detect_from_decoded",
    "detect_from_heads",
    "grayscale",
    "letterbox",
    "neighbourhoods",
    "nms",
    "plan_placement",
    "preprocess",
    "preprocess_into",
    "select_candidates",
    "supported_instruction_sets",
]
