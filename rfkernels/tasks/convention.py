"""The two numerical conventions, each one value object that is passed down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rfkernels.errors import InvalidArgumentError


@dataclass(frozen=True)
class Convention:
    """How sizes are rounded and boxes mapped back, and the defaults. `ops.detect_from_heads` takes its name.

    Attributes:
        name: "v2" (what the V2 API returns) or "ultralytics" (what `YOLO.predict` of 8.4 returns).
        size_rounding: of the letterboxed size: "truncate" or "half_to_even".
        confidence: default threshold of the score, which must be greater.
        iou_threshold: default threshold of NMS; a box is suppressed when its IoU is greater.
        max_detections: default number of detections kept in one image.
    """

    name: Literal["v2", "ultralytics"]
    size_rounding: Literal["truncate", "half_to_even"]
    confidence: float
    iou_threshold: float
    max_detections: int


V2 = Convention("v2", "truncate", confidence=0.4, iou_threshold=0.3, max_detections=300)
ULTRALYTICS = Convention("ultralytics", "half_to_even", confidence=0.25, iou_threshold=0.7, max_detections=300)


def convention_named(name: str) -> Convention:
    """The convention of that name; InvalidArgumentError for any other name."""
    for convention in (V2, ULTRALYTICS):
        if convention.name == name:
            return convention
    raise InvalidArgumentError(f'convention is {name!r}; choose "v2" or "ultralytics"')
