"""Which rows two 3 x 3 convolutions need for a few pixels, from the definition, in plain NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def neighbourhoods(
    pixels: NDArray[np.int32], height: int, width: int, *, first_row: int, outside_row: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """See `rfkernels.ops.neighbourhoods`."""
    # [height * width, 9]: the 3 x 3 pixels around each, row by row; -1 where there is none.
    numbers = np.full((height + 2, width + 2), -1, np.int32)
    numbers[1:-1, 1:-1] = np.arange(height * width, dtype=np.int32).reshape(height, width)
    around = np.stack([numbers[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=-1)
    near = around.reshape(-1, 9)[pixels]
    needed = np.unique(near[near >= 0])
    outer = around.reshape(-1, 9)[needed]
    return (
        np.where(outer < 0, outside_row, outer + first_row).astype(np.int32),
        np.where(near < 0, 0, np.searchsorted(needed, near) + 1).astype(np.int32),
    )
