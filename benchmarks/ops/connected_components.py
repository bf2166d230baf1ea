"""`connected_components` and `clean_mask_logits` beside OpenCV's components, on one thread.

The peer of the labels is `cv2.connectedComponentsWithStats`, which gives labels and a table of areas where ours gives
an area for each pixel. The peer of the cleaning is what SAM2's predictor does, with those components and NumPy.

python -m rfkernels.benchmarks.ops.connected_components [--json]
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rfkernels.benchmarks.harness import Row, measure_in_turns, memcpy_gigabytes_per_second, print_rows

from rfkernels import ops

# SAM2's logits, and a picture.
_SIZES = {"256x256": (256, 256), "1080p": (1080, 1920)}
_MASKS_OF_SAM2 = 3
_MAX_AREA = 32
_INPUTS = 8

FloatArray = NDArray[np.float32]
Function = Callable[[Any], object]


def rows(*, repeats: int = 60) -> list[Row]:
    """Measures labels of blobs and of noise, and the cleaning of the three masks that SAM2 gives."""
    limit = memcpy_gigabytes_per_second()
    rng = np.random.default_rng(8)
    label_peer, cleaning_peer = _peers()
    measured = []
    for size_name, size in _SIZES.items():
        for kind, scene in (("blobs", _blobs), ("noise", _noise)):
            masks = [(scene(rng, size) > 0).astype(np.uint8) for _ in range(_INPUTS)]
            both = ops.connected_components, label_peer
            measured.append(
                _row(f"{size_name}, {kind}", "cv2", both, masks, bytes_a_pixel=9, repeats=repeats, limit=limit)
            )
    stacks = [np.stack([_blobs(rng, (256, 256)) for _ in range(_MASKS_OF_SAM2)]) for _ in range(_INPUTS)]
    cleaning = _clean, cleaning_peer
    measured.append(
        _row(
            "clean logits of 3 x 256x256", "cv2+numpy", cleaning, stacks, bytes_a_pixel=8, repeats=repeats, limit=limit
        )
    )
    return measured


def _row(
    case: str,
    peer_name: str,
    functions: tuple[Function, Function | None],
    inputs: list[NDArray[Any]],
    *,
    bytes_a_pixel: int,
    repeats: int,
    limit: float,
) -> Row:
    """Ours and the peer's, where there is one."""
    timings = measure_in_turns([each for each in functions if each is not None], inputs, repeats=repeats)
    return Row(
        name="connected_components",
        case=case,
        median_ms=timings[0].median_ms,
        bytes_moved=bytes_a_pixel * inputs[0].size,
        memcpy_gigabytes_per_second=limit,
        peer_name=peer_name,
        peer_ms=timings[1].median_ms if len(timings) > 1 else None,
    )


def _clean(logits: FloatArray) -> object:
    return ops.clean_mask_logits(logits, max_hole_area=_MAX_AREA, max_sprinkle_area=_MAX_AREA)


def _blobs(rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """Logits of a few large blobs with specks along their edges, as a network gives them."""
    height, width = size
    coarse = rng.standard_normal((9, 9))
    wide = np.stack([np.interp(np.linspace(0, 8, width), np.arange(9), row) for row in coarse])
    smooth = np.stack([np.interp(np.linspace(0, 8, height), np.arange(9), column) for column in wide.T], axis=1)
    return (smooth + 0.1 * rng.standard_normal(size)).astype(np.float32)


def _noise(rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """The worst there is: every second pixel, on average, begins a run or ends one."""
    return rng.standard_normal(size).astype(np.float32)


def _peers() -> tuple[Function | None, Function | None]:
    """Labels, and cleaning; None where OpenCV is not installed."""
    if importlib.util.find_spec("cv2") is None:
        return None, None
    import cv2

    cv2.setNumThreads(1)

    def components(mask: NDArray[np.uint8]) -> Any:
        return cv2.connectedComponentsWithStats(mask, connectivity=8)

    def cleaned(logits: FloatArray) -> FloatArray:
        results = []
        for given in logits:
            result = given
            for side, value in ((given <= 0, 10), (given > 0, -10)):
                _, numbers, stats, _ = components(side.astype(np.uint8))
                is_small = stats[:, cv2.CC_STAT_AREA] <= _MAX_AREA
                is_small[0] = False  # the other side
                result = np.where(is_small[numbers], np.float32(value), result)
            results.append(result)
        return np.stack(results)

    return components, cleaned


if __name__ == "__main__":
    print_rows(rows(), as_json="--json" in sys.argv[1:])
