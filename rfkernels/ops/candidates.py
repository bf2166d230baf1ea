"""Detection in two halves, for networks whose boxes are computed for candidates only, on the host. C++ contract:
csrc/include/rfkernels/detection.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfkernels import _native
from rfkernels.ops.arguments import PACKED, as_int32, check_list, pairs, real_number, whole_number, whole_numbers
from rfkernels.ops.detection import Values, as_values
from rfkernels.ops.detection_results import Detections
from rfkernels.ops.detection_search import (
    ClassFilterStage,
    Convention,
    PlacementLike,
    as_class_confidences,
    as_flags,
    filters_before_suppression,
)
from rfkernels.ops.on_device import refuse_on_host


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
    check_list("classes", classes, "outputs, one for each level")
    refuse_on_host("select_candidates", classes=classes)
    read = [as_values(level) for level in classes]
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
    check_list("boxes", boxes, "lists of levels, one for each image")
    for image, levels in enumerate(boxes):
        refuse_on_host("detect_from_candidates", **{f"boxes[{image}]": levels})
    results = _native.detect_from_candidates(
        [_as_native(found, f"candidates[{image}]") for image, found in enumerate(candidates)],
        [[as_values(rows) for rows in levels] for levels in boxes],
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
