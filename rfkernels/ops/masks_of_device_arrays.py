"""Masks of prototypes, coefficients and boxes on a device, in one call.

C++ contract: csrc/include/rfkernels/masks.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rfkernels import _native
from rfkernels._native import MaskGrid
from rfkernels.array_protocols import ITEM_SIZES, extent_of
from rfkernels.device import DeviceArray
from rfkernels.errors import InvalidArgumentError
from rfkernels.ops.on_device import Place, Work, aligned_bytes

_ELEMENT_BYTES = {"bits": 8, "runs": 4, "dense": 1}
# Of which nobody knows before how much there will be; where it was too little, the masks are drawn again.
_USUAL_ARENA_BYTES = 1 << 20
_COUNT_BYTES = 16
# As csrc/include/rfkernels/masks.h has it.
_RECORD = np.dtype(
    [("left", "<i4"), ("top", "<i4"), ("width", "<i4"), ("height", "<i4"), ("first", "<i8"), ("count", "<i8")]
)


# Prototypes, coefficients and boxes, whichever library's.
Sources: TypeAlias = tuple[object, object, object]


@dataclass(frozen=True)
class _Objects:
    """What masks are made of."""

    prototypes: DeviceArray
    coefficients: DeviceArray
    boxes: DeviceArray
    grid: MaskGrid

    @property
    def count(self) -> int:
        return self.boxes.shape[0]

    @property
    def layout(self) -> tuple[int, int, int, int, int, int]:
        height, width = self.prototypes.shape[2:]
        return 1, self.count, height, width, self.grid.height, self.grid.width


class _Results(NamedTuple):
    """Addresses of what is drawn, None for what nobody reads, and how many elements the arena holds."""

    summary: int | None
    records: int | None
    arena: int
    capacity: int


class _Drawn(NamedTuple):
    """Masks as they came to the host: the arguments of the native functions that read them."""

    summary: NDArray[np.uint8]
    records: NDArray[np.uint8]
    arena: NDArray[np.uint8]


def dense(place: Place, sources: Sources, grid: MaskGrid, out: object | None = None) -> DeviceArray:
    """See `ops.masks_to_dense_into`; a new array of bool where `out` is None."""
    with Work(place) as work:
        objects = _take(work, sources, grid)
        shape = (objects.count, grid.height, grid.width)
        to = work.empty(shape, "bool", "masks") if out is None else work.take(out, "out", writeable=True)
        if to.dtype not in ("bool", "uint8") or to.shape != shape:
            raise InvalidArgumentError(f"out is {to.dtype} {list(to.shape)}; give bool or uint8 {list(shape)}")
        to.require_contiguous("out")
        if to.address % 16:
            raise InvalidArgumentError("out does not begin at a multiple of 16 bytes; give memory that does")
        _check_apart(to, objects)
        if objects.count:
            # Nobody reads the summary and the records: how many masks there are, and how large, is known.
            _draw(work, "dense", objects, _Results(None, None, to.address, to.nbytes))
    return to


def polygons(
    place: Place, sources: Sources, grid: MaskGrid, all_contours: bool
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """What `ops.Polygons` is made of; waits. See `ops.masks_to_polygons`."""
    with Work(place) as work:
        objects = _take(work, sources, grid)
        drawn = _drawn_on_host(work, "bits", objects)
        return _native.polygons_from_bits(
            drawn.summary, drawn.records, 0, objects.count, drawn.arena.view(np.uint64), all_contours
        )


def run_lengths(place: Place, sources: Sources, grid: MaskGrid) -> tuple[list[str], NDArray[np.int64]]:
    """Counts and areas; waits. See `ops.masks_to_rle`."""
    with Work(place) as work:
        objects = _take(work, sources, grid)
        drawn = _drawn_on_host(work, "runs", objects)
        return _native.run_lengths_from_runs(
            drawn.summary, drawn.records, 0, objects.count, drawn.arena.view(np.int32), grid
        )


def bits(place: Place, sources: Sources, grid: MaskGrid) -> NDArray[np.uint8]:
    """uint8 [n, height, ceil(width / 8)]; waits. See `ops.masks_to_bits`."""
    with Work(place) as work:
        objects = _take(work, sources, grid)
        drawn = _drawn_on_host(work, "bits", objects)
        words = drawn.arena.view(np.uint64)
        out = np.zeros((objects.count, grid.height, (grid.width + 7) // 8), np.uint8)
        for mask, record in zip(out, drawn.records.view(_RECORD), strict=True):
            left, top, width, height, first, count = record.tolist()
            if count == 0:
                continue
            # Columns of 64 pixels, one behind the other.
            rows = np.ascontiguousarray(words[first : first + count].reshape(-1, height).T)
            pixels = np.zeros((height, grid.width), np.uint8)
            pixels[:, left : left + width] = np.unpackbits(rows.view(np.uint8), axis=1, bitorder="little")[:, :width]
            mask[top : top + height] = np.packbits(pixels, axis=1, bitorder="little")
        return out


def _take(work: Work, sources: Sources, grid: MaskGrid) -> _Objects:
    prototypes, coefficients, boxes = sources
    objects = _Objects(
        work.take(prototypes, "prototypes"),
        work.take(coefficients, "coefficients"),
        work.take(boxes, "boxes"),
        grid,
    )
    for array, name, rank, shape in (
        (objects.prototypes, "prototypes", 4, "[1, channels, height, width]"),
        (objects.coefficients, "coefficients", 2, "[n, channels]"),
    ):
        if array.dtype not in ("float32", "float16", "bfloat16") or len(array.shape) != rank:
            raise InvalidArgumentError(
                f"{name} is {array.dtype} {list(array.shape)}; give float32, float16 or bfloat16 {shape}"
            )
    count, channels = objects.coefficients.shape
    if objects.prototypes.shape[:2] != (1, channels):
        raise InvalidArgumentError(
            f"prototypes is {list(objects.prototypes.shape)}, coefficients {[count, channels]}; give "
            "[1, channels, height, width] and [n, channels]"
        )
    if objects.boxes.dtype != "float32" or objects.boxes.shape != (count, 4):
        raise InvalidArgumentError(
            f"boxes is {objects.boxes.dtype} {list(objects.boxes.shape)}; give float32 [{count}, 4]"
        )
    objects.boxes.require_contiguous("boxes")
    return objects


def _check_apart(out: DeviceArray, objects: _Objects) -> None:
    """Refuse masks over what they are made of: blocks write some while others still read."""
    if not objects.count:
        return
    for array, name in (
        (objects.prototypes, "prototypes"),
        (objects.coefficients, "coefficients"),
        (objects.boxes, "boxes"),
    ):
        end = array.address + extent_of(array.shape, array.strides) + ITEM_SIZES[array.dtype]
        if array.nbytes and array.address < out.address + out.nbytes and out.address < end:
            raise InvalidArgumentError(f"out overlaps {name}; give it memory of its own")


def _drawn_on_host(work: Work, form: Literal["bits", "runs"], objects: _Objects) -> _Drawn:
    """Masks in memory of the host that lasts until the stream's next op; waits."""
    record_bytes = objects.count * _native.MASK_RECORD_BYTES
    arena_bytes = _USUAL_ARENA_BYTES
    while True:
        # Each at a multiple of 16 bytes.
        first_record = -(-_native.MASK_SUMMARY_BYTES // 16) * 16
        first_element = first_record + -(-record_bytes // 16) * 16
        memory = work.pinned_workspace(first_element + arena_bytes)
        drawn = _Drawn(
            memory[: _native.MASK_SUMMARY_BYTES],
            memory[first_record : first_record + record_bytes],
            memory[first_element:],
        )
        if objects.count == 0:
            drawn.summary[:] = 0
            return drawn
        summary, records, arena = (array.ctypes.data for array in drawn)
        _draw(work, form, objects, _Results(summary, records, arena, arena_bytes // _ELEMENT_BYTES[form]))
        work.wait()
        needed, overflowed = _native.mask_summary(drawn.summary)
        if not overflowed:
            return drawn
        arena_bytes = -(-needed * _ELEMENT_BYTES[form] // 16) * 16


def _draw(work: Work, form: Literal["bits", "runs", "dense"], objects: _Objects, results: _Results) -> None:
    """Put the launches on the stream."""
    layout = objects.layout
    descriptor_bytes = _native.mask_descriptor_bytes(layout)
    host = aligned_bytes(_COUNT_BYTES + descriptor_bytes)
    host[:_COUNT_BYTES] = np.array([objects.count, 0, 0, 0], np.int32).view(np.uint8)
    _native.describe_masks(host[_COUNT_BYTES:], layout, [objects.grid])
    counts, scratch, unread_summary, unread_records = work.workspace(
        len(host),
        _native.mask_scratch_bytes(layout, results.capacity if form == "runs" else 0),
        _native.MASK_SUMMARY_BYTES,
        objects.count * _native.MASK_RECORD_BYTES,
    )
    work.upload(host, counts)
    rows, boxes = objects.coefficients, objects.boxes
    _native.masks_on_device(
        work.device.native,
        form,
        layout,
        objects.prototypes.view(),
        [],
        (rows.address, rows.dtype, (1, *rows.shape), (rows.nbytes, *rows.strides)),
        None,
        (boxes.address, boxes.dtype, (1, *boxes.shape), (boxes.nbytes, *boxes.strides)),
        (counts, "int32", (1,), (4,)),
        counts + _COUNT_BYTES,
        unread_summary if results.summary is None else results.summary,
        unread_records if results.records is None else results.records,
        results.arena,
        results.capacity,
        scratch,
        work.stream.handle,
    )
