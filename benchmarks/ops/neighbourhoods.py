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

_CASES = [("80 x 80", 80, 70), ("40 x 40", 40, 20), ("80 x 80", 80, 1000)]
_INPUTS = 16


def rows(*, repeats: int = 60) -> list[Row]:
    """Measures each case beside the definition, which is what NumPy has for it."""
    rng = np.random.default_rng(5)
    limit = memcpy_gigabytes_per_second()
    measured = []
    for name, side, count in _CASES:
        inputs = [np.sort(rng.choice(side * side, count, replace=False)).astype(np.int32) for _ in range(_INPUTS)]

        def ours(pixels: NDArray[np.int32], side: int = side) -> object:
            return ops.neighbourhoods(pixels, side, side, outside_row=side * side)

        def peer(pixels: NDArray[np.int32], side: int = side) -> object:
            return numpy_neighbourhoods(pixels, side, side, first_row=0, outside_row=side * side)

        outer, inner = ops.neighbourhoods(inputs[0], side, side, outside_row=side * side)
        timing, peer_timing = measure_in_turns([ours, peer], inputs, repeats=repeats)
        measured.append(
            Row(
                name="neighbourhoods",
                case=f"{count} pixels of {name}",
                median_ms=timing.median_ms,
                bytes_moved=4 * side * side + outer.nbytes + inner.nbytes,
                memcpy_gigabytes_per_second=limit,
                peer_name="numpy",
                peer_ms=peer_timing.median_ms,
            )
        )
    return measured


if __name__ == "__main__":
    print_rows(rows(), as_json="--json" in sys.argv[1:])
