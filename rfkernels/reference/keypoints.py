"""Keypoints from their definition, in plain NumPy: every anchor's are decoded, then those of the chosen ones taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rfkernels.reference.detection import FloatArray, IntArray, Placement


def exponential(x: FloatArray) -> FloatArray:
    """e^x in float32, every operation rounded to it: 2^n (1 + r + r^2 q(r)) where x = n ln 2 + r.

    n is the nearest whole number, ln 2 is taken in two parts, q is the Taylor series up to r^7 / 7!. e^89 is infinite
    and e^-104 is 0, as are those beyond them.
    """
    one = np.float32(1)
    x = np.clip(x, np.float32(-104), np.float32(89))
    n = np.rint(x * np.float32(1.44269504))
    r = (x - n * np.float32(0.693359375)) + n * np.float32(2.12194440e-4)
    q = r * (one / np.float32(5040)) + one / np.float32(720)
    for factorial in (120, 24, 6, 2):
        q = q * r + one / np.float32(factorial)
    fraction = (q * (r * r) + r) + one
    power = np.where(np.isnan(n), 0, n).astype(np.int32)
    # In two steps: 2^128 is more than float32 holds, though half of it may be what is wanted.
    with np.errstate(over="ignore", under="ignore"):
        result: FloatArray = np.ldexp(np.ldexp(fraction, power // 2), power - power // 2)
    return result


def sigmoid(logits: FloatArray) -> FloatArray:
    """1 / (1 + e^-x) in float32, every operation rounded to it: within 2 units in the last place from -88 up."""
    with np.errstate(over="ignore"):
        result: FloatArray = np.float32(1) / (np.float32(1) + exponential(-logits))
    return result


def map_points(
    positions: FloatArray,
    confidences: FloatArray,
    placement: Placement,
    image_size: tuple[int, int],
    *,
    keypoint_confidence: float,
    convention: str,
) -> FloatArray:
    """[n, K, 3] in pixels of the image of positions [n, K, 2] of the network's input; all in float32."""
    pads = np.array([placement.left, placement.top], np.float32)
    scales = np.array([placement.scale_x, placement.scale_y], np.float32)
    crops = np.array([placement.crop.x, placement.crop.y], np.float32)
    limits = np.array(image_size[::-1], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        mapped = (positions - pads) / scales + crops
        confidences = np.where(np.isnan(confidences), np.float32(0), confidences)
        counts = np.isfinite(mapped).all(axis=-1) & ~(confidences < np.float32(keypoint_confidence))
        settled = np.rint(mapped) if convention == "v2" else np.clip(mapped, np.float32(0), limits)
        points = np.concatenate([settled, confidences[..., np.newaxis]], axis=-1)
    result: FloatArray = np.where(counts[..., np.newaxis], points, np.float32(0)) + np.float32(0)  # no -0
    return result


def decode(values: FloatArray, columns: IntArray, rows: IntArray, strides: IntArray) -> tuple[FloatArray, FloatArray]:
    """Positions [n, K, 2] in network pixels and confidences [n, K] of values [n, K, D] at anchors [n]."""
    cells = np.stack([columns, rows], axis=-1).astype(np.float32)[:, np.newaxis]
    scale = strides.astype(np.float32)[:, np.newaxis, np.newaxis]
    with np.errstate(over="ignore", invalid="ignore"):
        positions: FloatArray = (np.float32(2) * values[..., :2] + cells) * scale
    if values.shape[-1] == 2:
        return positions, np.ones(values.shape[:-1], np.float32)
    return positions, sigmoid(values[..., 2])


def cells_of(
    grids: Sequence[tuple[int, int]], strides: Sequence[int]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Column, row and stride of every anchor, by level."""
    columns, rows, steps = [], [], []
    for (height, width), stride in zip(grids, strides, strict=True):
        columns.append(np.tile(np.arange(width, dtype=np.int32), height))
        rows.append(np.repeat(np.arange(height, dtype=np.int32), width))
        steps.append(np.full(height * width, stride, np.int32))
    return np.concatenate(columns), np.concatenate(rows), np.concatenate(steps)


def keypoints_from_heads(
    heads: Sequence[FloatArray],
    anchor_indices: Sequence[IntArray],
    placements: Sequence[Placement],
    image_sizes: Sequence[tuple[int, int]],
    *,
    strides: Sequence[int],
    dimensions: int,
    keypoint_confidence: float,
    convention: str,
) -> list[FloatArray]:
    """See `rfkernels.ops.keypoints_from_heads`."""
    batch, channels = heads[0].shape[:2]
    cells = cells_of([(level.shape[2], level.shape[3]) for level in heads], strides)
    flat = np.concatenate([level.reshape(batch, channels, -1) for level in heads], axis=2).transpose(0, 2, 1)
    results = []
    for image in range(batch):
        every_anchor = flat[image].reshape(-1, channels // dimensions, dimensions)
        positions, confidences = decode(every_anchor, *cells)
        chosen = anchor_indices[image]
        results.append(
            map_points(
                positions[chosen],
                confidences[chosen],
                placements[image],
                image_sizes[image],
                keypoint_confidence=keypoint_confidence,
                convention=convention,
            )
        )
    return results


def keypoints_from_rows(
    rows: Sequence[FloatArray],
    anchor_indices: Sequence[IntArray],
    placements: Sequence[Placement],
    image_sizes: Sequence[tuple[int, int]],
    *,
    grids: Sequence[tuple[int, int]],
    strides: Sequence[int],
    dimensions: int,
    keypoint_confidence: float,
    convention: str,
) -> list[FloatArray]:
    """See `rfkernels.ops.keypoints_from_rows`."""
    cells = cells_of(grids, strides)
    results = []
    for image, chosen in enumerate(anchor_indices):
        values = rows[image][: len(chosen)].reshape(len(chosen), rows[image].shape[1] // dimensions, dimensions)
        columns, lines, steps = (cell[chosen] for cell in cells)
        positions, confidences = decode(values, columns, lines, steps)
        results.append(
            map_points(
                positions,
                confidences,
                placements[image],
                image_sizes[image],
                keypoint_confidence=keypoint_confidence,
                convention=convention,
            )
        )
    return results
