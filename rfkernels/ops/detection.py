"""Decoding of YOLOv8 outputs and non-maximum suppression. C++ contract: csrc/include/rfkernels/detection.h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias, TypedDict, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfkernels import _native
from rfkernels.device import Device, Stream
from rfkernels.ops import detection_of_device_arrays
from rfkernels.ops.arguments import PACKED, as_int32, check_list, real_number, whole_number, whole_numbers
from rfkernels.ops.detection_results import Detections, DetectionsOnDevice, Kept, KeptOnDevice
from rfkernels.ops.detection_search import ClassFilterStage, Convention, PlacementLike, checked_search
from rfkernels.ops.on_device import ArrayOnDevice, place_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

# What a network gives: float32, or the bits of bfloat16.
Values: TypeAlias = NDArray[np.float32] | NDArray[np.uint16]


class SuppressionOptions(TypedDict, total=False):
    """The options of `nms`, for type checkers."""

    iou_threshold: float
    class_agnostic: bool
    max_detections: int
    device: Device | None
    stream: Stream | None


class DetectionOptions(SuppressionOptions, total=False):
    """The options of `detect_from_decoded`, for type checkers."""

    confidence: float
    class_confidences: ArrayLike | None
    wanted_classes: Sequence[int] | None
    class_filter_stage: ClassFilterStage | None
    convention: Convention


class HeadOptions(DetectionOptions, total=False):
    """The options of `detect_from_heads`, for type checkers."""

    strides: Sequence[int]


@overload
def nms(
    boxes: ArrayOnDevice,
    scores: ArrayOnDevice,
    class_ids: ArrayOnDevice | None = None,
    **options: Unpack[SuppressionOptions],
) -> KeptOnDevice: ...


@overload
def nms(
    boxes: ArrayLike,
    scores: ArrayLike,
    class_ids: ArrayLike | None = None,
    **options: Unpack[SuppressionOptions],
) -> Kept: ...


def nms(
    boxes: ArrayLike | ArrayOnDevice,
    scores: ArrayLike | ArrayOnDevice,
    class_ids: ArrayLike | ArrayOnDevice | None = None,
    *,
    iou_threshold: float = 0.3,
    class_agnostic: bool = False,
    max_detections: int = 300,
    device: Device | None = None,
    stream: Stream | None = None,
) -> Kept | KeptOnDevice:
    """Greedy non-maximum suppression: exact, deterministic, and the same on every machine.

    The best box is kept and suppresses every other whose IoU with it is greater than the threshold; then the best of
    what is left; and so on.

        >>> nms([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], [0.9, 0.8, 0.7]).indices
        array([0, 2], dtype=int32)

    Args:
        boxes: float32 [n, 4], x1 y1 x2 y2 in pixels. Other number types are converted, but not on a device.
        scores: float32 [n]. Ties are broken by the lower index.
        class_ids: int32 [n], any numbers; different classes do not suppress each other. None: all of one class.
        iou_threshold: from 0 to 1. The float32 IoU is compared with this double: IoU 3/10 is suppressed at 0.3.
        class_agnostic: let boxes of any class suppress each other.
        max_detections: at least 0; the best so many are kept.
        device, stream: where the arrays are on a device, see `rfkernels.ops`.

    Returns:
        Kept(indices int32 [m], overflowed bool), by descending score. Of arrays on a device a `KeptOnDevice`, which
        nobody has waited for.

    Raises:
        ValueError: a NaN (on a device `KeptOnDevice.download` says so), a threshold out of range, or shapes that
            disagree; the message names the argument.

    Source: torchvision.ops.batched_nms (a box is suppressed when IoU > threshold), but class ids are compared instead
    of moving classes apart by an offset, which rounds coordinates.
    """
    place = place_of((boxes, scores, class_ids), device, stream)
    if place is not None:
        return detection_of_device_arrays.nms(
            place,
            boxes,
            scores,
            class_ids,
            iou_threshold=real_number("iou_threshold", iou_threshold),
            class_agnostic=class_agnostic,
            max_detections=whole_number("max_detections", max_detections),
        )
    box_array = np.require(cast("ArrayLike", boxes), np.float32, PACKED)
    score_array = np.require(cast("ArrayLike", scores), np.float32, PACKED)
    if box_array.size == 0 and box_array.ndim == 1:  # an empty list has no second axis
        box_array = box_array.reshape(0, 4)
    if box_array.ndim != 2 or box_array.shape[1] != 4:
        raise ValueError(f"boxes has shape {box_array.shape}; give [n, 4]")
    if score_array.shape != box_array.shape[:1]:
        raise ValueError(f"scores has shape {score_array.shape} for boxes of shape {box_array.shape}; give [n]")
    class_array: NDArray[np.int32] | None = None
    if class_ids is not None:
        class_array = as_int32("class_ids", cast("ArrayLike", class_ids))
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


@overload
def detect_from_heads(
    heads: Sequence[tuple[ArrayOnDevice, ArrayOnDevice]],
    placements: Sequence[PlacementLike],
    image_sizes: Sequence[tuple[int, int]],
    **options: Unpack[HeadOptions],
) -> DetectionsOnDevice: ...


@overload
def detect_from_heads(
    heads: Sequence[tuple[Values, Values]],
    placements: Sequence[PlacementLike],
    image_sizes: Sequence[tuple[int, int]],
    **options: Unpack[HeadOptions],
) -> list[Detections]: ...


def detect_from_heads(
    heads: Sequence[tuple[Values, Values]] | Sequence[tuple[ArrayOnDevice, ArrayOnDevice]],
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
    device: Device | None = None,
    stream: Stream | None = None,
) -> list[Detections] | DetectionsOnDevice:
    """Raw YOLOv8 head convolutions to detections in pixels of the original images.

    An anchor is a candidate when the sigmoid of its greatest logit is greater than the threshold; boxes are decoded
    for candidates only, in float32. All candidates take part in the suppression, however many. A NaN never passes.

    Args:
        heads: for each level (box, classes): float32 [N, 4 * reg_max, H, W], channel = side * reg_max + bin, and
            float32 [N, class_count, H, W] logits; uint16 are the bits of bfloat16. In memory channel by channel, or
            anchor by anchor (an NHWC array transposed to NCHW, slices of its channels included); both are read in
            place. On a device float32, float16 or bfloat16.
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
        device, stream: where the heads are on a device, see `rfkernels.ops`.

    Returns:
        Detections of every image. Of heads on a device a `DetectionsOnDevice`, which nobody has waited for.

    Raises:
        ValueError: a wrong shape, dtype, memory layout or range; the message names the argument.

    Source: inference-models 0.39 (thresholds, suppression, rounding); ultralytics 8.4 (its Detect head).
    """
    check_list("heads", heads, "(box, classes) pairs, one for each level")
    place = place_of([array for level in heads for array in level], device, stream)
    search = checked_search(
        placements,
        image_sizes,
        confidence=confidence,
        class_confidences=class_confidences,
        iou_threshold=iou_threshold,
        class_agnostic=class_agnostic,
        max_detections=max_detections,
        wanted_classes=wanted_classes,
        class_filter_stage=class_filter_stage,
        convention=convention,
    )
    if place is not None:
        return detection_of_device_arrays.detect_from_heads(place, heads, whole_numbers("strides", strides), search)
    read = [(as_values(box), as_values(classes)) for box, classes in heads]
    class_count = read[0][1].shape[1] if read and read[0][1].ndim == 4 else 0
    results = _native.detect_from_heads(
        read,
        whole_numbers("strides", strides),
        search.placements,
        search.image_sizes,
        *search.settings(class_count),
    )
    return [Detections(*result) for result in results]


@overload
def detect_from_decoded(
    prediction: ArrayOnDevice,
    placements: Sequence[PlacementLike],
    image_sizes: Sequence[tuple[int, int]],
    **options: Unpack[DetectionOptions],
) -> DetectionsOnDevice: ...


@overload
def detect_from_decoded(
    prediction: Values,
    placements: Sequence[PlacementLike],
    image_sizes: Sequence[tuple[int, int]],
    **options: Unpack[DetectionOptions],
) -> list[Detections]: ...


def detect_from_decoded(
    prediction: Values | ArrayOnDevice,
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
    device: Device | None = None,
    stream: Stream | None = None,
) -> list[Detections] | DetectionsOnDevice:
    """An output decoded by the network itself, as ultralytics exports it, to detections in original pixels.

    Args:
        prediction: float32 [N, 4 + class_count, A]: centre x, centre y, width and height in network pixels, then
            scores from 0 to 1; uint16 are the bits of bfloat16. In memory row by row, or anchor by anchor
            ([N, A, 4 + class_count] transposed). On a device float32, float16 or bfloat16.
        placements: see `detect_from_heads`, as all further arguments.
        image_sizes: N (height, width) of the original images, before any crop.

    Returns:
        Detections of every image; anchor_indices are columns of the prediction. Of one on a device a
        `DetectionsOnDevice`, which nobody has waited for.

    Raises:
        ValueError: a wrong shape, dtype, memory layout or range; the message names the argument.

    Source: inference-models 0.39, ultralytics 8.4.
    """
    place = place_of((prediction,), device, stream)
    search = checked_search(
        placements,
        image_sizes,
        confidence=confidence,
        class_confidences=class_confidences,
        iou_threshold=iou_threshold,
        class_agnostic=class_agnostic,
        max_detections=max_detections,
        wanted_classes=wanted_classes,
        class_filter_stage=class_filter_stage,
        convention=convention,
    )
    if place is not None:
        return detection_of_device_arrays.detect_from_decoded(place, prediction, search)
    read = as_values(prediction)
    class_count = max(0, read.shape[1] - 4) if read.ndim == 3 else 0
    results = _native.detect_from_decoded(
        read,
        search.placements,
        search.image_sizes,
        *search.settings(class_count),
    )
    return [Detections(*result) for result in results]


def as_values(values: Values | ArrayOnDevice) -> Values:
    return cast("Values", np.asarray(values))
