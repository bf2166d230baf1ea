"""`neighbourhoods`: rows for the boxes of candidates of a YOLOv8 at 640, on one thread, next to NumPy doing the same.

python -m rfkernels.benchmarks.ops.neighbourhoods [--json]
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from rfkernels.benchmarks.harness import Row, measure_in_turns, memcpy_gigabytes_per_second, print_rows

from rfkernels import ops
from rfkernels.reference.neighbourhoods import neighbourhoods as numpy_neighbourhoods

# How many pixels of each level are asked for.
_CASES = [("100 pixels of 3 levels", (70, 20, 10)), ("1400 pixels of 3 levels", (1000, 300, 100))]
_SIDES = (80, 40, 20)
_INPUTS = 16


def rows(*, repeats: int = 60) -> list[Row]:
    """Measures each case beside the definition, which is what NumPy has for it."""
    rng = np.random.default_rng(5)
    limit = memcpy_gigabytes_per_second()
    grids = [ops.FeatureGrid(side, side, 0, side * side) for side in _SIDES]
    measured = []
    for name, counts in _CASES:
        inputs = [_some_pixels(rng, counts) for _ in range(_INPUTS)]

        def ours(pixels: NDArray[np.int32], counts: tuple[int, ...] = counts) -> object:
            return ops.neighbourhoods(pixels, counts, grids)

        def peer(pixels: NDArray[np.int32], counts: tuple[int, ...] = counts) -> object:
            return numpy_neighbourhoods(pixels, counts, grids)

        written = sum(outer.nbytes + inner.nbytes for outer, inner in ops.neighbourhoods(inputs[0], counts, grids))
        timing, peer_timing = measure_in_turns([ours, peer], inputs, repeats=repeats)
        measured.append(
            Row(
                name="neighbourhoods",
                case=name,
                median_ms=timing.median_ms,
                bytes_moved=4 * sum(side * side for side in _SIDES) + written,
                memcpy_gigabytes_per_second=limit,
                peer_name="numpy",
                peer_ms=peer_timing.median_ms,
            )
        )
    return measured


def _some_pixels(rng: np.random.Generator, counts: tuple[int, ...]) -> NDArray[np.int32]:
    """Of each level so many, numbered through the levels."""
    chosen, first_pixel = [], 0
    for side, count in zip(_SIDES, counts, strict=True):
        chosen.append(np.sort(rng.choice(side * side, count, replace=False)) + first_pixel)
        first_pixel += side * side
    return np.concatenate(chosen).astype(np.int32)


if __name__ == "__main__":
    print_rows(rows(), as_json="--json" in sys.argv[1:])
