"""Masks on a device, as a part of a request that can be captured. C++ contract: rfkernels/masks.h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rfkernels import _native
from rfkernels._native import MaskGrid
from rfkernels.device import DeviceArray, DeviceMemory, Stream
from rfkernels.device_blocks import ParameterBlock
from rfkernels.errors import InvalidArgumentError
from rfkernels.ops.masks import Polygons, RunLengths

_ELEMENT_BYTES = {"bits": 8, "runs": 4}


class MasksOnDevice:
    """Masks of the detections that a device has found: `ops.masks_to_polygons` and `masks_to_rle`, few launches.

    The kernels write what the host needs, and no more, straight into pinned memory: for outlines the bits of each
    mask's window, for run lengths the runs.

    Args:
        prototypes: float32, float16 or bfloat16 [N, channels, h, w] on the device.
        max_detections: of each image.
        form: "bits" for `polygons`, "runs" for `run_lengths`.
        most_grid: (height, width) that no described grid exceeds.
        arena_bytes: room for bits or runs of all masks.
        parameters: of the same device; a part is reserved.
    """

    def __init__(
        self,
        prototypes: DeviceArray,
        *,
        max_detections: int,
        form: Literal["bits", "runs"],
        most_grid: tuple[int, int],
        arena_bytes: int,
        parameters: ParameterBlock,
    ) -> None:
        device = prototypes.device
        count, _, height, width = prototypes.shape
        self._prototypes = prototypes
        self._form = form
        self._layout = (count, max_detections, height, width, *most_grid)
        self.max_detections = max_detections
        self._parameters = parameters.reserve(_native.mask_descriptor_bytes(self._layout))
        element_bytes = _ELEMENT_BYTES[form]
        self._arena_elements = arena_bytes // element_bytes
        scratch = _native.mask_scratch_bytes(self._layout, self._arena_elements if form == "runs" else 0)
        self._scratch = DeviceMemory(device, max(scratch, 1), "scratch of masks")
        self._summary = device.pinned(_native.MASK_SUMMARY_BYTES, purpose="summary of masks")
        self._records = device.pinned(count * max_detections * _native.MASK_RECORD_BYTES, purpose="records of masks")
        arena = device.pinned(self._arena_elements * element_bytes, purpose="arena of masks")
        self._arena: NDArray[Any] = arena.view(np.uint64 if form == "bits" else np.int32)

    def describe(self, grids: Sequence[MaskGrid]) -> None:
        """Say what pixels the masks of each image have, from `ops.plan_mask_grid`. The last upload must be done.

        Args:
            grids: at most N; where fewer, the last one stands for the rest.
        """
        rest = self._layout[0] - len(grids)
        _native.describe_masks(self._parameters.host, self._layout, [*grids, *[grids[-1]] * rest])

    def enqueue(
        self,
        coefficient_levels: Sequence[DeviceArray],
        anchor_indices: DeviceArray,
        boxes: DeviceArray,
        counts: DeviceArray,
        stream: Stream,
    ) -> None:
        """Put the launches on a stream, after the one that finds.

        Args:
            coefficient_levels: [N, channels, h, w] for each level, as the prototypes in type and layout.
            anchor_indices, boxes, counts: int32 [N, max_detections], float32 [N, max_detections, 4] in pixels of the
                network's input, int32 [N]: of the detection.
        """
        _native.masks_on_device(
            self._prototypes.device.native,
            self._form,
            self._layout,
            self._prototypes.view(),
            [level.view() for level in coefficient_levels],
            None,
            anchor_indices.view(),
            boxes.view(),
            counts.view(),
            self._parameters.address,
            self._summary.ctypes.data,
            self._records.ctypes.data,
            self._arena.ctypes.data,
            self._arena_elements,
            self._scratch.address,
            stream.handle,
        )

    def missing_bytes(self) -> int:
        """Room that the arena should have had, in bytes, after a wait; 0 where it had enough.

        Where it had not, no mask was written.
        """
        needed, overflowed = _native.mask_summary(self._summary)
        return needed * _ELEMENT_BYTES[self._form] if overflowed else 0

    def polygons(self, image: int, count: int, *, contours: Literal["most_points", "all"] = "most_points") -> Polygons:
        """The outlines of an image's first `count` masks, after a wait; see `ops.masks_to_polygons`."""
        if self._form != "bits":
            raise InvalidArgumentError('form is "runs"; outlines are made of "bits"')
        arguments = self._summary, self._records, image * self.max_detections, count, self._arena
        return Polygons(*_native.polygons_from_bits(*arguments, contours == "all"))

    def run_lengths(self, image: int, count: int, grid: MaskGrid) -> RunLengths:
        """The run lengths of an image's first `count` masks, after a wait; see `ops.masks_to_rle`."""
        if self._form != "runs":
            raise InvalidArgumentError('form is "bits"; run lengths are made of "runs"')
        arguments = self._summary, self._records, image * self.max_detections, count, self._arena
        counts, areas = _native.run_lengths_from_runs(*arguments, grid)
        return RunLengths(counts, (grid.height, grid.width), areas)
