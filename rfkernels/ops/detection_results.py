"""What detection finds, on the host and on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rfkernels.device import DeviceArray, Stream
from rfkernels.device_blocks import views_of
from rfkernels.errors import DeviceError, InvalidArgumentError

# Bits of flags, as csrc/include/rfkernels/detection.h has them.
OVERFLOWED = 1
WRONG_DESCRIPTORS = 2
DROPPED_NAN = 4


class Kept(NamedTuple):
    """What non-maximum suppression keeps.

    Attributes:
        indices: int32 [m], by descending score; equal scores by ascending index.
        overflowed: more than max_detections survived, and the rest was cut.
    """

    indices: NDArray[np.int32]
    overflowed: bool


@dataclass(frozen=True, eq=False)
class KeptOnDevice:
    """What non-maximum suppression keeps, on a device.

    Attributes:
        indices: int32 [min(n, max_detections)], by descending score; -1 from `count` on.
        count: int32 [1], how many are kept.
        flags: int32 [1]; bit 0: more than max_detections survived, and the rest was cut; bit 2: boxes with a NaN, or
            whose score is one, were left out.
        whole: all of it as bytes.
    """

    indices: DeviceArray
    count: DeviceArray
    flags: DeviceArray
    whole: DeviceArray

    def download(self, stream: Stream) -> Kept:
        """The same on the host, in one copy; waits.

        Raises:
            InvalidArgumentError: a box has a NaN, or its score is one, as `ops.nms` refuses it on the host.
        """
        found = _downloaded(self, stream)
        flags = int(found["flags"][0])
        if flags & DROPPED_NAN:
            raise InvalidArgumentError("boxes or scores hold a NaN; give numbers")
        return Kept(found["indices"][: int(found["count"][0])].copy(), bool(flags & OVERFLOWED))


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


@dataclass(frozen=True, eq=False)
class DetectionsOnDevice:
    """What was found in N images, on a device; room for max_detections of each, or as many as there are anchors.

    Rows from an image's count on hold zeros, and -1 as class and anchor.

    Attributes:
        boxes: float32 [N, room, 4], x1 y1 x2 y2 in pixels of the original images, clamped to them.
        scores: float32 [N, room], by descending score; equal scores by ascending anchor.
        class_ids: int32 [N, room].
        anchor_indices: int32 [N, room], which of the network's anchors; mask coefficients and keypoints lie there.
        network_boxes: float32 [N, room, 4], the boxes in pixels of the network's input, not clamped.
        counts: int32 [N], how many were found.
        flags: int32 [N]; bit 0: suppression left more than max_detections, and the rest was cut.
        whole: all of it as bytes.
    """

    boxes: DeviceArray
    scores: DeviceArray
    class_ids: DeviceArray
    anchor_indices: DeviceArray
    network_boxes: DeviceArray
    counts: DeviceArray
    flags: DeviceArray
    whole: DeviceArray

    def download(self, stream: Stream) -> list[Detections]:
        """The detections of each image on the host, in one copy; waits."""
        return detections_of(_downloaded(self, stream), self.counts.shape[0])


def detections_of(arrays: Mapping[str, NDArray[Any]], image_count: int) -> list[Detections]:
    """The detections of the first images, copied out of arrays on the host that are named as in `DetectionsOnDevice`.

    Raises:
        DeviceError: the kernel met descriptors of something else.
    """
    if np.any(arrays["flags"][:image_count] & WRONG_DESCRIPTORS):
        raise DeviceError("detection on the device met descriptors that were not uploaded, or are another batch's")
    found = []
    for image in range(image_count):
        kept = int(arrays["counts"][image])
        found.append(
            Detections(
                arrays["boxes"][image, :kept].copy(),
                arrays["scores"][image, :kept].copy(),
                arrays["class_ids"][image, :kept].copy(),
                arrays["anchor_indices"][image, :kept].copy(),
                arrays["network_boxes"][image, :kept].copy(),
                bool(arrays["flags"][image] & OVERFLOWED),
            )
        )
    return found


def _downloaded(found: DetectionsOnDevice | KeptOnDevice, stream: Stream) -> dict[str, NDArray[Any]]:
    found.whole.let_wait(stream)
    parts = {field.name: getattr(found, field.name) for field in fields(found) if field.name != "whole"}
    return views_of(found.whole.numpy(stream), found.whole, parts)
