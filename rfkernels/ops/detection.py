"""Decoding of YOLOv8 outputs and non-maximum suppression. C++ contract: csrc/include/rfkernels/detection.h."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfkernels import _native
from rfkernels.ops.arguments import PACKED, as_int32, pairs, real_number, whole_number, whole_numbers

Convention = Literal["v2", "ultralytics"]
# What a network gives: float32, or the bits of bfloat16.
Values: TypeAlias = NDArray[np.float32] | NDArray[np.uint16]
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


class Kept(NamedTuple):
    """What non-maximum suppression keeps.

    Attributes:
        indices: int32 [m], by descending score; equal scores by ascending index.
        overflowed: more than max_detections survived, and the rest was cut.
    """

    indices: NDArray[np.int32]
    overflowed: bool


@dataclass(frozen=True, eq=False)
class Candidates:
    """The anchors of one image whose best class is sure enough, n by ascending anchor.

    Attributes:
        anchor_indices: int32 [n], levels in the order given, rows of a level from the top.
        scores: float32 [n].
        class_ids: int32 [n].
        level_counts: for each level, how many of the n are there.
    """

    anchor_indices: NDArray[np.int32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    level_counts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in one image, n detections by descending score; equal scores by ascending anchor.

    Attributes:
        boxes: float32 [n, 4], x1 y1 x2 y2 in pixels of the original image, clamped to it.
        scores: float32 [n].
        class_ids: int32 [n].
        anchor_indices: int32 [n], which of the network's anchors; mask coefficients and keypoints lie there.
        network_boxes: float32 [n, 4], the boxes in pixels of the network's input, not clamped.
        overflowed: suppression left more than max_detections, and the rest was cut.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    anchor_indices: NDArray[np.int32]
    network_boxes: NDArray[np.float32]
    overflowed: bool

    def __len__(self) -> int:
        return len(self.scores)


def nms(
    boxes: ArrayLike,
    scores: ArrayLike,
    class_ids: ArrayLike | None = None,
    *,
    iou_threshold: float = 0.3,
    class_agnostic: bool = False,
    max_detections: int = 300,
) -> Kept:
    """Greedy non-maximum suppression: exact, deterministic, and the same on every machine.

    The best box is kept and suppresses every other whose IoU with it is greater than the threshold; then the best of
    what is left; and so on.

        >>> nms([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], [0.9, 0.8, 0.7]).indices
        array([0, 2], dtype=int32)

    Args:
        boxes: float32 [n, 4], x1 y1 x2 y2 in pixels. Other number types are converted.
        scores: float32 [n]. Ties are broken by the lower index.
        class_ids: int32 [n], any numbers; different classes do not suppress each other. None: all of one class.
        iou_threshold: from 0 to 1. The float32 IoU is compared with this double: IoU 3/10 is suppressed at 0.3.
        class_agnostic: let boxes of any class suppress each other.
        max_detections: at least 0; the best so many are kept.

    Returns:
        Kept(indices int32 [m], overflowed bool), by descending score.

    Raises:
        ValueError: a NaN, a threshold out of range, or shapes that disagree; the message names the argument.

    Source: torchvision.ops.batched_nms (a box is suppressed when IoU > threshold), but class ids are compared instead
    of moving classes apart by an offset, which rounds coordinates.
    """
    box_array = np.require(boxes, np.float32, PACKED)
    score_array = np.require(scores, np.float32, PACKED)
    if box_array.size == 0 and box_array.ndim == 1:  # an empty list has no second axis
        box_array = box_array.reshape(0, 4)
    if box_array.ndim != 2 or box_array.shape[1] != 4:
        raise ValueError(f"boxes has shape {box_array.shape}; give [n, 4]")
    if score_array.shape != box_array.shape[:1]:
        raise ValueError(f"scores has shape {score_array.shape} for boxes of shape {box_array.shape}; give [n]")
    class_array: NDArray[np.int32] | None = None
    if class_ids is not None:
        class_array = as_int32("class_ids", class_ids)
        if class_array.shape != score_array.shape:
            raise ValueError(f"class_ids has shape {class_array.shape} for boxes of shape {box_array.shape}; give [n]")
    indices, overflowed = _native.nms(
        box_array,
        score_array,
        class_array,
        real_number("iou_threshold", iou_threshold),
        class_agnostic,
        whole_number("max_detections", max_detections),
    )
    return Kept(indices, overflowed)


def detect_from_heads(
    heads: Sequence[tuple[Values, Values]],
    placements: Sequence[PlacementLike],
    image_sizes: Sequence[tuple[int, int]],
    *,
    strides: Sequence[int] = (8, 16, 32),
    confidence: float = 0.4,
    class_confidences: ArrayLike | None = None,
    iou_threshold: float = 0.3,
    class_agnostic: bool = False,
    max_detections: int = 300,
    wanted_classes: Sequence[int] | None = None,
    class_filter_stage: ClassFilterStage | None = None,
    convention: Convention = "v2",
) -> list[Detections]:
    """Raw YOLOv8 head convolutions to detections in pixels of the original images.

    An anchor is a candidate when the sigmoid of its greatest logit is greater than the threshold; boxes are decoded
    for candidates only, in float32. All candidates take part in the suppression, however many. A NaN never passes.

    Args:
        heads: for each level (box, classes): float32 [N, 4 * reg_max, H, W], channel = side * reg_max + bin, and
            float32 [N, class_count, H, W] logits; uint16 are the bits of bfloat16. In memory channel by channel, or
            anchor by anchor (an NHWC array transposed to NCHW, slices of its channels included); both are read in
            place.
        placements: N, where each image lies in the network's input.
        image_sizes: N (height, width) of the original images, before any crop.
        strides: network pixels from an anchor to the next, for each level.
        confidence: from 0 to 1; a score must be greater, compared in float32.
        class_confidences: float32 [class_count], thresholds that replace `confidence` for an anchor's best class.
        iou_threshold: from 0 to 1, see `nms`.
        class_agnostic: let boxes of any class suppress each other.
        max_detections: at least 0; the best so many of what suppression leaves.
        wanted_classes: ids of the classes to return. None: all.
        class_filter_stage: "before_suppression": an unwanted class neither suppresses nor takes one of the
            max_detections places; "after_cut": it does both. None: as the convention has it, which is before the
            suppression for ultralytics and after the cut for V2.
        convention: "v2" rounds boxes to whole pixels, half to even; "ultralytics" keeps fractions.

    Returns:
        Detections of every image.

    Raises:
        ValueError: a wrong shape, dtype, memory layout or range; the message names the argument.

    Source: inference-models 0.39 (thresholds, suppression, rounding); ultralytics 8.4 (its Detect head).
    """
    read = [(_as_values(box), _as_values(classes)) for box, classes in heads]
    class_count = read[0][1].shape[1] if read and read[0][1].ndim == 4 else 0
    results = _native.detect_from_heads(
        read,
        whole_numbers("strides", strides),
        placements,
        image_sizes,
        real_number("confidence", confidence),
        as_class_confidences(class_confidences),
        as_flags(wanted_classes, class_count),
        filters_before_suppression(class_filter_stage, convention),
        convention == "v2",
        real_number("iou_threshold", iou_threshold),
        class_agnostic,
        whole_number("max_detections", max_detections),
    )
    return [Detections(*result) for result in results]


def select_candidates(
    classes: Sequence[Values],
    *,
    confidence: float = 0.4,
    class_confidences: ArrayLike | None = None,
    wanted_classes: Sequence[int] | None = None,
    class_filter_stage: ClassFilterStage | None = None,
    convention: Convention = "v2",
) -> list[Candidates]:
    """The first half of `detect_from_heads`, for a network whose boxes are computed for candidates only.

    Args:
        classes: for each level float32 [N, class_count, H, W] logits, as those of `detect_from_heads`.
        confidence: from 0 to 1; a score must be greater, compared in float32.
        class_confidences: float32 [class_count], thresholds that replace `confidence` for an anchor's best class.
        wanted_classes: ids of the classes to return, which matters here where they filter before the suppression.
        class_filter_stage: see `detect_from_heads`, as `convention`.

    Returns:
        Candidates of every image.

    Raises:
        ValueError: a wrong shape, dtype, memory layout or range; the message names the argument.
    """
    read = [_as_values(level) for level in classes]
    class_count = read[0].shape[1] if read and read[0].ndim == 4 else 0
    results = _native.select_candidates(
        read,
        real_number("confidence", confidence),
        as_class_confidences(class_confidences),
        as_flags(wanted_classes, class_count),
        filters_before_suppression(class_filter_stage, convention),
    )
    return [Candidates(*result) for result in results]


def detect_from_candidates(
    candidates: Sequence[Candidates],
    boxes: Sequence[Sequence[Values]],
    placements: Sequence[PlacementLike],
    image_sizes: Sequence[tuple[int, int]],
    *,
    grids: Sequence[tuple[int, int]],
    strides: Sequence[int] = (8, 16, 32),
    iou_threshold: float = 0.3,
    class_agnostic: bool = False,
    max_detections: int = 300,
    wanted_classes: Sequence[int] | None = None,
    convention: Convention = "v2",
) -> list[Detections]:
    """The second half of `detect_from_heads`: the same detections from the same values.

    Args:
        candidates: N, from `select_candidates`.
        boxes: for each image and each level [m, 4 * reg_max]: row k holds the bins of the level's k-th candidate, rows
            beyond are not read. float32, or uint16 with the bits of bfloat16.
        placements: see `detect_from_heads`, as all further arguments.
        image_sizes: N (height, width) of the original images, before any crop.
        grids: (rows, columns) of anchors of each level.

    Returns:
        Detections of every image.

    Raises:
        ValueError: a wrong shape, dtype or range; the message names the argument.
    """
    filters_before_suppression(None, convention)
    results = _native.detect_from_candidates(
        [_as_native(found, f"candidates[{image}]") for image, found in enumerate(candidates)],
        [[_as_values(rows) for rows in levels] for levels in boxes],
        pairs("grids", grids),
        whole_numbers("strides", strides),
        placements,
        image_sizes,
        _as_flags_of(candidates, wanted_classes),
        convention == "v2",
        real_number("iou_threshold", iou_threshold),
        class_agnostic,
        whole_number("max_detections", max_detections),
    )
    return [Detections(*result) for result in results]


def detect_from_decoded(
    prediction: Values,
    placements: Sequence[PlacementLike],
    image_sizes: Sequence[tuple[int, int]],
    *,
    confidence: float = 0.4,
    class_confidences: ArrayLike | None = None,
    iou_threshold: float = 0.3,
    class_agnostic: bool = False,
    max_detections: int = 300,
    wanted_classes: Sequence[int] | None = None,
    class_filter_stage: ClassFilterStage | None = None,
    convention: Convention = "v2",
) -> list[Detections]:
    """An output decoded by the network itself, as ultralytics exports it, to detections in original pixels.

    Args:
        prediction: float32 [N, 4 + class_count, A]: centre x, centre y, width and height in network pixels, then
            scores from 0 to 1; uint16 are the bits of bfloat16. In memory row by row, or anchor by anchor
            ([N, A, 4 + class_count] transposed).
        placements: see `detect_from_heads`, as all further arguments.
        image_sizes: N (height, width) of the original images, before any crop.

    Returns:
        Detections of every image; anchor_indices are columns of the prediction.

    Raises:
        ValueError: a wrong shape, dtype, memory layout or range; the message names the argument.

    Source: inference-models 0.39, ultralytics 8.4.
    """
    read = _as_values(prediction)
    class_count = max(0, read.shape[1] - 4) if read.ndim == 3 else 0
    results = _native.detect_from_decoded(
        read,
        placements,
        image_sizes,
        real_number("confidence", confidence),
        as_class_confidences(class_confidences),
        as_flags(wanted_classes, class_count),
        filters_before_suppression(class_filter_stage, convention),
        convention == "v2",
        real_number("iou_threshold", iou_threshold),
        class_agnostic,
        whole_number("max_detections", max_detections),
    )
    return [Detections(*result) for result in results]


def _as_values(values: Values) -> Values:
    return cast("Values", np.asarray(values))


def _as_float32(numbers: ArrayLike) -> NDArray[np.float32]:
    given = np.asarray(numbers)
    if given.dtype == np.float32 and given.flags.c_contiguous and given.flags.aligned:
        return given
    return np.require(given, np.float32, PACKED)


def _as_native(found: Candidates, name: str) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    return (
        as_int32(name, found.anchor_indices, "anchor_indices"),
        _as_float32(found.scores),
        as_int32(name, found.class_ids, "class_ids"),
    )


def _as_flags_of(candidates: Sequence[Candidates], wanted_classes: Sequence[int] | None) -> NDArray[np.uint8] | None:
    """Flags of the classes that the candidates have: how many classes the network has is not known here."""
    if wanted_classes is None:
        return None
    for class_id in wanted_classes:
        if class_id < 0:
            raise ValueError(f"wanted_classes has {class_id}; give class ids from 0")
    highest = max((int(np.max(found.class_ids, initial=-1)) for found in candidates), default=-1)
    return as_flags([class_id for class_id in wanted_classes if class_id <= highest], highest + 1)


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
