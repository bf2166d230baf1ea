"""The kernels on their own: NumPy arrays (or anything that shares its memory through DLPack) in, NumPy arrays out."""

from rfkernels._native import Placement, Rectangle
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
    "Placement",
    "Rectangle",
    "StaticCrop",
    "contrast",
    "grayscale",
    "letterbox",
    "plan_placement",
    "preprocess",
    "preprocess_into",
]
