"""Keypoints of chosen anchors, from the outputs of YOLOv8 pose networks. C++ contract:
csrc/include/rfkernels/keypoints.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfkernels import _native
from rfkernels.ops.arguments import as_int32, pairs, real_number, whole_number, whole_numbers
from rfkernels.ops.detection import Convention, PlacementLike, Values


def keypoints_from_heads(
    heads: Sequence[Values],
    anchor_indices: Sequence[ArrayLike],
    placements: Sequence[PlacementLike],
    image_sizes: Sequence[tuple[int, int]],
    *,
    strides: Sequence[int] = (8, 16, 32),
    dimensions: int = 3,
    keypoint_confidence: float = 0.0,
    convention: Convention = "v2",
) -> list[NDArray[np.float32]]:
    """Keypoints of chosen anchors in pixels of the original images: those of what `detect_from_heads` found.

    For every point of an anchor x = (2 * channel + the anchor's column) * stride, y with its row alike, and the
    confidence is the sigmoid of the third channel, all in float32; then back to the original image. A point with a
    coordinate that is not finite is 0, 0 of confidence 0, a confidence that is NaN is 0.

    Args:
        heads: for each level float32 [N, K * dimensions, H, W], channel = point * dimensions + (x, y, logit of the
            confidence); uint16 are the bits of bfloat16. In memory as the heads of `detect_from_heads`.
        anchor_indices: for each image int32 [n], in any order: `Detections.anchor_indices`.
        placements: N, where each image lies in the network's input.
        image_sizes: N (height, width) of the original images, before any crop.
        strides: network pixels from an anchor to the next, for each level.
        dimensions: 3, or 2 where the network gives x and y only; the confidence is 1 then.
        keypoint_confidence: from 0 to 1; a point of less, strictly, compared in float32, is 0, 0 of confidence 0.
        convention: "v2" rounds to whole pixels, half to even, and leaves points outside the image where they are;
            "ultralytics" keeps fractions and clamps to the image.

    Returns:
        For each image float32 [n, K, 3]: x, y and confidence.

    Raises:
        ValueError: an anchor that there is not, a wrong shape, dtype, memory layout or range; the message names the
            argument.

    Source: inference-models 0.39 (v2: strict threshold, rounding); ultralytics 8.4 (its Pose head, scale_coords).
    """
    return _native.keypoints_from_heads(
        [_as_values(level) for level in heads],
        whole_numbers("strides", strides),
        _as_anchors(anchor_indices),
        placements,
        image_sizes,
        whole_number("dimensions", dimensions),
        real_number("keypoint_confidence", keypoint_confidence),
        _has_whole_pixels(convention),
    )


def keypoints_from_rows(
    rows: Sequence[Values],
    anchor_indices: Sequence[ArrayLike],
    placements: Sequence[PlacementLike],
    image_sizes: Sequence[tuple[int, int]],
    *,
    grids: Sequence[tuple[int, int]],
    strides: Sequence[int] = (8, 16, 32),
    dimensions: int = 3,
    keypoint_confidence: float = 0.0,
    convention: Convention = "v2",
) -> list[NDArray[np.float32]]:
    """`keypoints_from_heads` for a network whose keypoints are computed for chosen anchors only.

    Args:
        rows: for each image [m, K * dimensions]: row k holds the values of the k-th of `anchor_indices`, rows beyond
            are not read. float32, or uint16 with the bits of bfloat16.
        anchor_indices: see `keypoints_from_heads`, as all further arguments.
        placements: N, where each image lies in the network's input.
        image_sizes: N (height, width) of the original images, before any crop.
        grids: (rows, columns) of anchors of each level.

    Returns:
        For each image float32 [n, K, 3]: x, y and confidence.

    Raises:
        ValueError: an anchor that there is not, a wrong shape, dtype or range; the message names the argument.
    """
    return _native.keypoints_from_rows(
        [_as_values(matrix) for matrix in rows],
        _as_anchors(anchor_indices),
        pairs("grids", grids),
        whole_numbers("strides", strides),
        placements,
        image_sizes,
        whole_number("dimensions", dimensions),
        real_number("keypoint_confidence", keypoint_confidence),
        _has_whole_pixels(convention),
    )


def _as_values(values: Values) -> Values:
    return cast("Values", np.asarray(values))


def _as_anchors(anchor_indices: Sequence[ArrayLike]) -> list[NDArray[np.int32]]:
    return [as_int32(f"anchor_indices[{image}]", anchors) for image, anchors in enumerate(anchor_indices)]


def _has_whole_pixels(convention: Convention) -> bool:
    if convention not in ("v2", "ultralytics"):
        raise ValueError(f'convention is {convention!r}; give "v2" or "ultralytics"')
    return convention == "v2"
