"""What detection looks for: the arguments that all ways to detect have in common, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfkernels.ops.arguments import PACKED, real_number, whole_number

Convention = Literal["v2", "ultralytics"]
ClassFilterStage = Literal["before_suppression", "after_cut"]


class RectangleLike(Protocol):
    """A rectangle of pixels of an image."""

    @property
    def x(self) -> int: ...
    @property
    def y(self) -> int: ...


class PlacementLike(Protocol):
    """Where an image lies in the network's input; what `preprocess` returns is one.

    source x = (network x - left) / scale_x + crop.x, and y alike.
    """

    @property
    def left(self) -> int: ...
    @property
    def top(self) -> int: ...
    @property
    def scale_x(self) -> float: ...
    @property
    def scale_y(self) -> float: ...
    @property
    def crop(self) -> RectangleLike: ...


class Search(NamedTuple):
    """Checked arguments, but for the class ids, which need the number of classes."""

    placements: Sequence[PlacementLike]
    image_sizes: Sequence[tuple[int, int]]
    confidence: float
    class_confidences: NDArray[np.float32] | None
    wanted_classes: Sequence[int] | None
    filter_before_suppression: bool
    whole_pixels: bool
    iou_threshold: float
    class_agnostic: bool
    max_detections: int

    def settings(self, class_count: int) -> tuple[Any, ...]:
        """What the native ops take after the images, in their order.

        Raises:
            ValueError: a wanted class that the network does not have.
        """
        return (
            self.confidence,
            self.class_confidences,
            as_flags(self.wanted_classes, class_count),
            self.filter_before_suppression,
            self.whole_pixels,
            self.iou_threshold,
            self.class_agnostic,
            self.max_detections,
        )


def checked_search(
    placements: Sequence[PlacementLike],
    image_sizes: Sequence[tuple[int, int]],
    *,
    confidence: float,
    class_confidences: ArrayLike | None,
    iou_threshold: float,
    class_agnostic: bool,
    max_detections: int,
    wanted_classes: Sequence[int] | None,
    class_filter_stage: ClassFilterStage | None,
    convention: Convention,
) -> Search:
    """The arguments of `ops.detect_from_heads`.

    Raises:
        ValueError: one is something else than it must be; the message names it.
    """
    return Search(
        placements,
        image_sizes,
        real_number("confidence", confidence),
        as_class_confidences(class_confidences),
        wanted_classes,
        filters_before_suppression(class_filter_stage, convention),
        convention == "v2",
        real_number("iou_threshold", iou_threshold),
        class_agnostic,
        whole_number("max_detections", max_detections),
    )


def as_class_confidences(class_confidences: ArrayLike | None) -> NDArray[np.float32] | None:
    if class_confidences is None:
        return None
    thresholds = np.require(class_confidences, np.float32, PACKED)
    if thresholds.ndim != 1:
        raise ValueError(f"class_confidences has shape {thresholds.shape}; give [class_count]")
    return thresholds


def as_flags(wanted_classes: Sequence[int] | None, class_count: int) -> NDArray[np.uint8] | None:
    if wanted_classes is None:
        return None
    flags = np.zeros(class_count, dtype=np.uint8)
    for class_id in wanted_classes:
        if not 0 <= class_id < class_count:
            raise ValueError(f"wanted_classes has {class_id}; the network has classes 0 to {class_count - 1}")
        flags[class_id] = 1
    return flags


def filters_before_suppression(stage: ClassFilterStage | None, convention: Convention) -> bool:
    if convention not in ("v2", "ultralytics"):
        raise ValueError(f'convention is {convention!r}; give "v2" or "ultralytics"')
    if stage not in (None, "before_suppression", "after_cut"):
        raise ValueError(f'class_filter_stage is {stage!r}; give "before_suppression", "after_cut" or None')
    return stage == "before_suppression" or (stage is None and convention == "ultralytics")
