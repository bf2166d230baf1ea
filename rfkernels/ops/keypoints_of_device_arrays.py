"""Keypoints from heads on a device, in one call. C++ contract: csrc/include/rfkernels/keypoints.h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rfkernels import _native
from rfkernels.device import DeviceArray
from rfkernels.errors import InvalidArgumentError
from rfkernels.ops.on_device import Place, Work, aligned_bytes

_ALIGNMENT = 16


class Wanted(NamedTuple):
    """Of how many anchors, and what is made of the points; checked, as the native op takes it."""

    strides: Sequence[int]
    counts: object | None
    placements: Sequence[object]
    image_sizes: Sequence[tuple[int, int]]
    dimensions: int
    keypoint_confidence: float
    whole_pixels: bool


def keypoints_from_heads(place: Place, heads: Sequence[object], anchor_indices: object, wanted: Wanted) -> DeviceArray:
    """See `ops.keypoints_from_heads`."""
    with Work(place) as work:
        levels = [work.take(level, f"heads[{index}]") for index, level in enumerate(heads)]
        for index, level in enumerate(levels):
            if level.dtype not in ("float32", "float16", "bfloat16") or len(level.shape) != 4:
                raise InvalidArgumentError(
                    f"heads[{index}] is {level.dtype} {list(level.shape)}; give float32, float16 or bfloat16 "
                    f"[N, keypoints * {wanted.dimensions}, H, W]"
                )
        if not levels:
            raise InvalidArgumentError("heads is empty; give the outputs of at least one level")
        images, channels = levels[0].shape[:2]
        if len(wanted.placements) != images:
            raise InvalidArgumentError(
                f"placements has {len(wanted.placements)} entries, heads[0] is of {images} images; give one for each"
            )
        if isinstance(anchor_indices, list | tuple):
            raise InvalidArgumentError(
                f"anchor_indices is a {type(anchor_indices).__name__}; on a device give one array int32 [N, n], as "
                "detect_from_heads gives it"
            )
        anchors = work.take(anchor_indices, "anchor_indices")
        if anchors.dtype != "int32" or len(anchors.shape) != 2 or anchors.shape[0] != images:
            raise InvalidArgumentError(
                f"anchor_indices is {anchors.dtype} {list(anchors.shape)}; give int32 [{images}, n]"
            )
        anchors.require_contiguous("anchor_indices")
        capacity = anchors.shape[1]
        descriptor_bytes = _native.keypoint_descriptor_bytes(images)
        # How many there are of each image, where nobody says otherwise; then the descriptors.
        begin = -(-images * 4 // _ALIGNMENT) * _ALIGNMENT
        host = aligned_bytes(begin + descriptor_bytes)
        host[:begin] = np.full(begin // 4, capacity, np.int32).view(np.uint8)
        _native.describe_keypoints(host[begin:], *wanted[2:])
        (address,) = work.workspace(len(host))
        work.upload(host, address)
        counts_view: tuple[int, str, tuple[int, ...], tuple[int, ...]] = (address, "int32", (images,), (4,))
        if wanted.counts is not None:
            count_array = work.take(wanted.counts, "counts")
            if count_array.dtype != "int32" or count_array.shape != (images,):
                raise InvalidArgumentError(
                    f"counts is {count_array.dtype} {list(count_array.shape)}; give int32 [{images}]"
                )
            counts_view = count_array.view()
        points = work.empty((images, capacity, channels // wanted.dimensions, 3), "float32", "keypoints")
        _native.keypoints_from_heads_on_device(
            work.device.native,
            [level.view() for level in levels],
            wanted.strides,
            wanted.dimensions,
            address + begin,
            anchors.view(),
            counts_view,
            points.view(),
            work.stream.handle,
        )
    return points
