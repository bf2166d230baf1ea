"""`keypoints`: 17 points of each of 100 people found by a YOLOv8 pose network at 640, next to NumPy doing the same.

python -m rfkernels.benchmarks.ops.keypoints [--json]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rfkernels.benchmarks.harness import Row, measure_in_turns, memcpy_gigabytes_per_second, print_rows

from rfkernels import ops

_POINTS = 17
_STRIDES = (8, 16, 32)
_SIZE = 640
_GRIDS = [(_SIZE // stride, _SIZE // stride) for stride in _STRIDES]
_PICTURE_SIZE = (1080, 1920)
_INPUTS = 16  # 27 MB of heads
_COUNTS = (10, 100)

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class _Corner:
    x: int = 0
    y: int = 0


@dataclass(frozen=True)
class _Placed:
    left: int = 0
    top: int = 140
    scale_x: float = 1 / 3
    scale_y: float = 1 / 3
    crop: _Corner = _Corner()


_PLACED = _Placed()


class _Scene(NamedTuple):
    """One picture's outputs, in every form that the op takes."""

    planes: list[FloatArray]
    anchors: list[FloatArray]  # the same, anchor by anchor in memory
    rows: FloatArray  # of the chosen anchors alone
    chosen: NDArray[np.int32]


def rows(*, repeats: int = 60) -> list[Row]:
    """Measures each form and number of people beside NumPy, which gathers the chosen anchors first."""
    rng = np.random.default_rng(6)
    limit = memcpy_gigabytes_per_second()
    cells = _cells()
    measured = []
    for count in _COUNTS:
        scenes = [_scene(rng, count) for _ in range(_INPUTS)]
        functions = {
            "planes": lambda scene: _from_heads(scene.planes, scene),
            "NHWC": lambda scene: _from_heads(scene.anchors, scene),
            "rows": lambda scene: ops.keypoints_from_rows(
                [scene.rows], [scene.chosen], [_PLACED], [_PICTURE_SIZE], grids=_GRIDS
            ),
        }
        peers = [
            lambda scene: _numpy(_numpy_gather(scene.planes, scene.chosen), scene.chosen, cells),
            lambda scene: _numpy(_numpy_gather(scene.anchors, scene.chosen), scene.chosen, cells),
            lambda scene: _numpy(scene.rows, scene.chosen, cells),
        ]
        timings = measure_in_turns([*functions.values(), *peers], scenes, repeats=repeats)
        for form, timing, peer in zip(functions, timings[:3], timings[3:], strict=True):
            measured.append(
                Row(
                    name="keypoints",
                    case=f"{count} people of 17 points, {form}",
                    median_ms=timing.median_ms,
                    bytes_moved=2 * count * _POINTS * 3 * 4,
                    memcpy_gigabytes_per_second=limit,
                    peer_name="numpy",
                    peer_ms=peer.median_ms,
                )
            )
    return measured


def _scene(rng: np.random.Generator, count: int) -> _Scene:
    planes = [rng.normal(0, 2, (1, 3 * _POINTS, *grid)).astype(np.float32) for grid in _GRIDS]
    anchors = [np.moveaxis(np.ascontiguousarray(np.moveaxis(level, 1, -1)), -1, 1) for level in planes]
    chosen = rng.choice(sum(height * width for height, width in _GRIDS), count, replace=False).astype(np.int32)
    values = np.concatenate([level[0].reshape(3 * _POINTS, -1) for level in planes], axis=1)
    return _Scene(planes, anchors, np.ascontiguousarray(values[:, chosen].T), chosen)


def _from_heads(heads: list[FloatArray], scene: _Scene) -> list[FloatArray]:
    return ops.keypoints_from_heads(heads, [scene.chosen], [_PLACED], [_PICTURE_SIZE])


def _cells() -> FloatArray:
    """Column, row and stride of every anchor [8400, 3]: what NumPy, too, would make once."""
    levels = []
    for (height, width), stride in zip(_GRIDS, _STRIDES, strict=True):
        row, column = np.divmod(np.arange(height * width), width)
        levels.append(np.stack([column, row, np.full_like(row, stride)], axis=-1))
    return np.concatenate(levels).astype(np.float32)


def _numpy_gather(heads: list[FloatArray], chosen: NDArray[np.int32]) -> FloatArray:
    gathered = np.empty((len(chosen), 3 * _POINTS), np.float32)
    first = 0
    for level in heads:
        height, width = level.shape[2:]
        here = np.flatnonzero((chosen >= first) & (chosen < first + height * width))
        row, column = np.divmod(chosen[here] - first, width)
        # Indices on both sides of a slice put their axis first: [n, 3 * points].
        gathered[here] = level[0, :, row, column]
        first += height * width
    return gathered


def _numpy(values: FloatArray, chosen: NDArray[np.int32], cells: FloatArray) -> FloatArray:
    """The same points, but for the last bits of a confidence."""
    points: NDArray[np.float32] = values.reshape(len(chosen), _POINTS, 3).copy()
    places = cells[chosen][:, np.newaxis]
    pads = np.array([_PLACED.left, _PLACED.top], np.float32)
    scales = np.array([_PLACED.scale_x, _PLACED.scale_y], np.float32)
    positions = (2 * points[..., :2] + places[..., :2]) * places[..., 2:]
    points[..., :2] = np.rint((positions - pads) / scales)
    points[..., 2] = 1 / (1 + np.exp(-points[..., 2]))
    return points


if __name__ == "__main__":
    print_rows(rows(), as_json="--json" in sys.argv[1:])
