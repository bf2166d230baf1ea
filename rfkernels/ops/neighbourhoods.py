"""Rows for convolutions at a few pixels only. C++ contract: csrc/include/rfkernels/neighbourhoods.h."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfkernels import _native
from rfkernels.ops.arguments import whole_number


def neighbourhoods(
    pixels: ArrayLike, height: int, width: int, *, first_row: int = 0, outside_row: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Which rows two 3 x 3 convolutions, one after the other, need for their values at a few pixels of a grid.

    The first convolution is a product of matrices, its left side the features at `outer` [m, 9 * channels]; the second
    likewise with what the first gave at `inner`, a row of zeros put before it.

    Args:
        pixels: int32 [n], row * width + column, in any order; one may be given twice.
        height, width: of the grid.
        first_row: the row of the features that the grid's first pixel is.
        outside_row: the row that stands for what is outside the grid, of zeros.

    Returns:
        (outer int32 [m, 9], inner int32 [n, 9]): the neighbours, row by row, of each of the m pixels that are needed,
        ascending, as rows of the features; and those of `pixels` as places among the m, from 1, with 0 for outside.

    Raises:
        ValueError: a pixel that the grid does not have, or a number out of its range; the message names it.
    """
    given = np.asarray(pixels)
    wanted = np.require(given, np.int32, ("C_CONTIGUOUS", "ALIGNED"))
    if wanted.ndim != 1 or not np.array_equal(wanted, given):
        raise ValueError(f"pixels has dtype {given.dtype} and shape {given.shape}; give whole numbers [n] of 32 bits")
    height, width = whole_number("height", height), whole_number("width", width)
    most = min(9 * len(wanted), max(0, height * width))
    outer, inner = np.empty((most, 9), np.int32), np.empty((len(wanted), 9), np.int32)
    for name, row in (("first_row", first_row), ("outside_row", outside_row)):
        if not 0 <= whole_number(name, row) < 2**31 - 1:
            raise ValueError(f"{name} is {row}; give 0 to 2^31 - 2")
    needed = _native.write_neighbourhoods(wanted, height, width, first_row, outside_row, outer, inner)
    return outer[:needed], inner
