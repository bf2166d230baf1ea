"""Which rows two 3 x 3 convolutions need for a few pixels, from the definition, in plain NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def neighbourhoods(
    pixels: NDArray[np.int32],
    counts: Sequence[int],
    grids: Sequence[tuple[int, int, int, int]],
    *,
    row_counts: Sequence[int] = (),
) -> list[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """See `rfkernels.ops.neighbourhoods`."""
    results = []
    first = first_pixel = 0
    for count, (height, width, first_row, outside_row) in zip(counts, grids, strict=True):
        outer, inner = _of_one_grid(pixels[first : first + count] - first_pixel, height, width)
        rows = np.where(outer < 0, outside_row, outer + first_row).astype(np.int32)
        pixel_count = height * width
        results.append(
            (
                _with_rows_added(rows, outside_row, row_counts, pixel_count),
                _with_rows_added(inner, 0, row_counts, pixel_count),
            )
        )
        first += count
        first_pixel += pixel_count
    return results


def _of_one_grid(pixels: NDArray[np.int32], height: int, width: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Neighbours of the pixels needed, -1 outside; and those of `pixels` as places among these from 1, 0 outside."""
    # [height * width, 9]: the 3 x 3 pixels around each, row by row; -1 where there is none.
    numbers = np.full((height + 2, width + 2), -1, np.int32)
    numbers[1:-1, 1:-1] = np.arange(height * width, dtype=np.int32).reshape(height, width)
    around = np.stack([numbers[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=-1)
    near = around.reshape(-1, 9)[pixels]
    needed = np.unique(near[near >= 0])
    places = np.where(near < 0, 0, np.searchsorted(needed, near) + 1).astype(np.int32)
    return around.reshape(-1, 9)[needed], places


def _with_rows_added(
    rows: NDArray[np.int32], number: int, row_counts: Sequence[int], pixel_count: int
) -> NDArray[np.int32]:
    wanted = min([allowed for allowed in row_counts if allowed >= len(rows)], default=len(rows))
    added = min(wanted, max(len(rows), pixel_count)) - len(rows)
    return np.concatenate([rows, np.full((added, 9), number, np.int32)])
