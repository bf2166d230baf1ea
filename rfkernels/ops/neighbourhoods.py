"""Rows for convolutions at a few pixels only. C++ contract: csrc/include/rfkernels/neighbourhoods.h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfkernels import _native
from rfkernels.ops.arguments import whole_numbers
from rfkernels.ops.on_device import refuse_on_host

_HIGHEST_ROW = 2**31 - 2


class FeatureGrid(NamedTuple):
    """A grid of pixels, and which rows of a matrix of features they are.

    Attributes:
        height, width: in pixels.
        first_row: the row that the grid's first pixel is; pixel p is row first_row + p.
        outside_row: the row that stands for what is outside the grid, of zeros.
    """

    height: int
    width: int
    first_row: int
    outside_row: int


def neighbourhoods(
    pixels: ArrayLike, counts: Sequence[int], grids: Sequence[FeatureGrid], *, row_counts: Sequence[int] = ()
) -> list[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Which rows two 3 x 3 convolutions, one after the other, need for their values at a few pixels of several grids.

    The first convolution is a product of matrices, its left side the features at `outer` [m, 9 * channels]; the second
    likewise with what the first gave at `inner`, a row of zeros put before it.

    Args:
        pixels: int32 [n], first those of the first grid, in any order, then those of the next; one may be given twice.
            They are numbered row by row and through all grids: the second grid's begin where the first one's end, as
            the anchors of a detection head do.
        counts: how many of `pixels` belong to each grid.
        grids: see `FeatureGrid`.
        row_counts: ascending; rows are added to both results until their number is one of these, but not beyond the
            number of the grid's pixels. A runtime that prepares itself for every number of rows then meets few.

    Returns:
        For each grid (outer int32 [m, 9], inner int32 [count, 9]): the neighbours, row by row, of each of the m pixels
        that are needed, ascending, as rows of the features; and those of the grid's `pixels` as places among the m,
        from 1, with 0 for outside. Rows added are outside_row in outer and 0 in inner.

    Raises:
        ValueError: a pixel that the grid does not have, or a number out of its range; the message names it.
    """
    refuse_on_host("neighbourhoods", pixels=pixels)
    given = np.asarray(pixels)
    wanted = np.require(given, np.int32, ("C_CONTIGUOUS", "ALIGNED"))
    if wanted.ndim != 1 or not np.array_equal(wanted, given):
        raise ValueError(f"pixels has dtype {given.dtype} and shape {given.shape}; give whole numbers [n] of 32 bits")
    counts, row_counts = whole_numbers("counts", counts), whole_numbers("row_counts", row_counts)
    if len(counts) != len(grids) or min(counts, default=0) < 0 or sum(counts) != len(wanted):
        raise ValueError(
            f"counts is {list(counts)} for {len(wanted)} pixels and {len(grids)} grids; give how many belong to each"
        )
    outer, inner = [], []
    for index, (grid, count) in enumerate(zip(grids, counts, strict=True)):
        if len(grid) != len(FeatureGrid._fields):
            raise ValueError(f"grids[{index}] is {grid!r}; give a FeatureGrid")
        height, width, first_row, outside_row = whole_numbers(f"grids[{index}]", grid)
        # Before memory is asked for.
        if not (height >= 1 and width >= 1 and height * width <= _HIGHEST_ROW):
            raise ValueError(f"grids[{index}] is {height} x {width}; give sides from 1, and less than 2^31 pixels")
        if not (0 <= first_row <= _HIGHEST_ROW and 0 <= outside_row <= _HIGHEST_ROW):
            raise ValueError(
                f"grids[{index}] has first_row {first_row} and outside_row {outside_row}; give rows from 0 to 2^31 - 2"
            )
        pixel_count = height * width
        outer.append(np.empty((_most_rows(min(9 * count, pixel_count), pixel_count, row_counts), 9), np.int32))
        inner.append(np.empty((_most_rows(count, max(count, pixel_count), row_counts), 9), np.int32))
    written = _native.write_neighbourhoods(wanted, counts, grids, outer, inner, np.array(row_counts, np.int64))
    return [(outer[index][:m], inner[index][:n]) for index, (m, n) in enumerate(written)]


def _most_rows(needed: int, most: int, row_counts: Sequence[int]) -> int:
    """How many rows there may be where at most `needed` are."""
    return min(next((allowed for allowed in row_counts if allowed >= needed), needed), most)
