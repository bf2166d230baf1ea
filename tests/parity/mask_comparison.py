"""Masks of two pipelines, side by side.

The networks of both differ in the last digits, and where a pixel's value lies that close to the threshold either answer
is right. Masks may differ there and nowhere else: outlines and run lengths are compared for equality, and only where
they differ are the masks behind them looked at, pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# How near to the threshold a pixel's probability (v2) or logit (ultralytics) may be for the pixel to differ.
THRESHOLD_BAND = 1e-3
SMALLEST_IOU = 0.999


@dataclass
class MaskTally:
    """How many masks were compared, and how many of them differed where they may."""

    compared: int = 0
    apart: int = 0
    pixels: int = 0
    smallest_iou: float = 1.0

    def equal(self, count: int = 1) -> None:
        self.compared += count

    def explain(self, actual: np.ndarray, expected: np.ndarray, unsure: np.ndarray, name: str) -> None:
        """Two masks whose outlines, run lengths or pixels differ: it must be by pixels that are unsure.

        Args:
            actual, expected, unsure: bool [height, width].
            name: of the mask, for messages.
        """
        difference = actual != expected
        assert difference.any(), f"{name}: the masks are equal, what was made of them is not"
        assert not (difference & ~unsure).any(), (
            f"{name}: {int((difference & ~unsure).sum())} of {int(expected.sum())} pixels differ that are not within "
            f"{THRESHOLD_BAND} of the threshold"
        )
        iou = float((actual & expected).sum() / (actual | expected).sum())
        # One pixel of a mask that has less than a thousand is more than a thousandth of it.
        assert iou >= SMALLEST_IOU or difference.sum() == 1, f"{name}: IoU {iou}, {int(difference.sum())} pixels"
        self.compared, self.apart, self.pixels = self.compared + 1, self.apart + 1, self.pixels + int(difference.sum())
        self.smallest_iou = min(self.smallest_iou, iou)

    def __str__(self) -> str:
        if not self.apart:
            return f"{self.compared} masks equal"
        return (
            f"{self.apart} of {self.compared} masks ({self.apart / self.compared:.2%}) differ, in {self.pixels} pixels "
            f"within {THRESHOLD_BAND} of the threshold, IoU from {self.smallest_iou:.5f}"
        )


class Recorded:
    """A function that keeps copies of the arguments of its last call, and its result."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.arguments: tuple[Any, ...] = ()
        self.result: Any = None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.arguments = tuple(value.clone() if hasattr(value, "clone") else value for value in arguments)
        self.options = options
        self.result = self.function(*arguments, **options)
        return self.result
