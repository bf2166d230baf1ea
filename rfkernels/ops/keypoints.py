"""Keypoints of chosen anchors, from the outputs of YOLOv8 pose networks. C++ contract:
csrc/include/rfkernels/keypoints.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfkernels import _native
from rfkernels.device import Device, DeviceArray, Stream
from rfkernels.ops import keypoints_of_device_arrays
from rfkernels.ops.arguments import as_int32, check_list, pairs, real_number, whole_number, whole_numbers
from rfkernels.ops.detection import Values
from rfkernels.ops.detection_search import Convention, PlacementLike
from rfkernels.ops.keypoints_of_device_arrays import Wanted
from rfkernels.ops.on_device import ArrayOnDevice, place_of, refuse_on_host

if TYPE_CHECKING:
    from typing_extensions import Unpack


class KeypointOptions(TypedDict, total=False):
    """The options of `keypoints_from_heads`, for type checkers."""

    counts: ArrayOnDevice | None
    strides: Sequence[int]
    dimensions: int
    keypoint_confidence: float
    convention: Convention
    device: Device | None
    stream: Stream | None


@overload
def keypoints_from_heads(
    heads: Sequence[ArrayOnDevice],
    anchor_indices: ArrayOnDevice,
    placements: Sequence[PlacementLike],
    image_sizes: Sequence[tuple[int, int]],
    **options: Unpack[KeypointOptions],
) -> DeviceArray: ...


@overload
def keypoints_from_heads(
    heads: Sequence[Values],
    anchor_indices: Sequence[ArrayLike],
    placements: Sequence[PlacementLike],
    image_sizes: Sequence[tuple[int, int]],
    **options: Unpack[KeypointOptions],
) -> list[NDArray[np.float32]]: ...


def keypoints_from_heads(
    heads: Sequence[Values] | Sequence[ArrayOnDevice],
    anchor_indices: Sequence[ArrayLike] | ArrayOnDevice,
    placements: Sequence[PlacementLike],
    image_sizes: Sequence[tuple[int, int]],
    *,
    counts: ArrayOnDevice | None = None,
    strides: Sequence[int] = (8, 16, 32),
    dimensions: int = 3,
    keypoint_confidence: float = 0.0,
    convention: Convention = "v2",
    device: Device | None = None,
    stream: Stream | None = None,
) -> list[NDArray[np.float32]] | DeviceArray:
    """Keypoints of chosen anchors in pixels of the original images: those of what `detect_from_heads` found.

    For every point of an anchor x = (2 * channel + the anchor's column) * stride, y with its row alike, and the
    confidence is the sigmoid of the third channel, all in float32; then back to the original image. A point with a
    coordinate that is not finite is 0, 0 of confidence 0, a confidence that is NaN is 0.

    Args:
        heads: for each level float32 [N, K * dimensions, H, W], channel = point * dimensions + (x, y, logit of the
            confidence); uint16 are the bits of bfloat16. In memory as the heads of `detect_from_heads`. On a device
            float32, float16 or bfloat16.
        anchor_indices: for each image int32 [n], in any order: `Detections.anchor_indices`. On a device one array
            int32 [N, n]: `DetectionsOnDevice.anchor_indices`.
        placements: N, where each image lies in the network's input.
        image_sizes: N (height, width) of the original images, before any crop.
        counts: on a device alone: int32 [N], of how many of an image's n anchors the points are wanted; None is all.
        strides: network pixels from an anchor to the next, for each level.
        dimensions: 3, or 2 where the network gives x and y only; the confidence is 1 then.
        keypoint_confidence: from 0 to 1; a point of less, strictly, compared in float32, is 0, 0 of confidence 0.
        convention: "v2" rounds to whole pixels, half to even, and leaves points outside the image where they are;
            "ultralytics" keeps fractions and clamps to the image.
        device, stream: where the arrays are on a device, see `rfkernels.ops`.

    Returns:
        For each image float32 [n, K, 3]: x, y and confidence. Of heads on a device one array float32 [N, n, K, 3]
        there, zeros from an image's count on and for anchors that there are not.

    Raises:
        ValueError: an anchor that there is not, a wrong shape, dtype, memory layout or range; the message names the
            argument.

    Source: inference-models 0.39 (v2: strict threshold, rounding); ultralytics 8.4 (its Pose head, scale_coords).
    """
    check_list("heads", heads, "outputs, one for each level")
    given = anchor_indices if isinstance(anchor_indices, list | tuple) else [anchor_indices]
    place = place_of([*heads, *given, counts], device, stream)
    if place is not None:
        wanted = Wanted(
            whole_numbers("strides", strides),
            counts,
            placements,
            image_sizes,
            whole_number("dimensions", dimensions),
            real_number("keypoint_confidence", keypoint_confidence),
            _has_whole_pixels(convention),
        )
        return keypoints_of_device_arrays.keypoints_from_heads(place, heads, anchor_indices, wanted)
    if counts is not None:
        raise ValueError("counts is given; on the host each image's anchor_indices has its own length, leave it out")
    return _native.keypoints_from_heads(
        [_as_values(level) for level in heads],
        whole_numbers("strides", strides),
        _as_anchors(cast("Sequence[ArrayLike]", anchor_indices)),
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
    check_list("rows", rows, "matrices, one for each image")
    refuse_on_host("keypoints_from_rows", rows=rows, anchor_indices=anchor_indices)
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


def _as_values(values: Values | ArrayOnDevice) -> Values:
    return cast("Values", np.asarray(values))


def _as_anchors(anchor_indices: Sequence[ArrayLike]) -> list[NDArray[np.int32]]:
    return [as_int32(f"anchor_indices[{image}]", anchors) for image, anchors in enumerate(anchor_indices)]


def _has_whole_pixels(convention: Convention) -> bool:
    if convention not in ("v2", "ultralytics"):
        raise ValueError(f'convention is {convention!r}; give "v2" or "ultralytics"')
    return convention == "v2"
