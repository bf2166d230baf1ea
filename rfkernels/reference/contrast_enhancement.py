"""V2's contrast enhancement in plain NumPy, from scikit-image 0.25's definitions.

Source: skimage.exposure.rescale_intensity, equalize_hist, equalize_adapthist; Zuiderveld, "Contrast Limited Adaptive
Histogram Equalization", Graphics Gems IV, 1994.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rfkernels.reference.preprocess import three_channels

_GREY_LEVELS = 1 << 14
_BINS = 256


def contrast(image: NDArray[np.uint8], *, kind: str) -> NDArray[np.uint8]:
    """uint8 [height, width, channels] in, uint8 [height, width, 3] out; `kind` as `rfkernels.ops.contrast`."""
    colour = three_channels(image)
    if kind == "stretching":
        return _stretch(colour)
    unit = colour.astype(np.float32) / np.float32(255)
    equalized = _equalize(unit) if kind == "histogram_equalization" else _equalize_adaptively(unit)
    result: NDArray[np.uint8] = (equalized * np.float32(255)).astype(np.uint8)
    return result


def _stretch(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    low, high = np.percentile(image, 2), np.percentile(image, 98)
    clipped = np.clip(image.astype(np.float64), low, high)
    return (clipped if low == high else (clipped - low) / (high - low) * 255).astype(np.uint8)


def _equalize(image: NDArray[np.float32]) -> NDArray[np.float32]:
    counts, edges = np.histogram(image, bins=_BINS)
    centers = (edges[:-1] + edges[1:]) / 2
    cumulated = (counts.cumsum() / float(counts.sum())).astype(np.float32)
    return np.interp(image.ravel(), centers, cumulated).reshape(image.shape).astype(np.float32)


def _equalize_adaptively(image: NDArray[np.float32]) -> NDArray[np.float32]:
    hue, saturation, value = _hsv_of(image)
    grey = np.rint(value * np.float32(65535)).astype(np.float64)
    darkest, brightest = grey.min(), grey.max()
    if darkest == brightest:
        grey = np.minimum(grey, _GREY_LEVELS - 1)
    else:
        grey = np.rint((grey - darkest) / (brightest - darkest) * (_GREY_LEVELS - 1))
    bins = grey.astype(np.int64) // (1 + _GREY_LEVELS // _BINS)
    levels = _interpolated_maps(bins)
    if levels.min() == levels.max():
        return _rgb_of(hue, saturation, np.clip(levels, 0, 1))
    return _rgb_of(hue, saturation, (levels - levels.min()) / (levels.max() - levels.min()))


def _interpolated_maps(bins: NDArray[np.int64]) -> NDArray[np.float32]:
    """Each pixel's bin through the maps of the four regions whose centres are around it, in whole grey levels."""
    height, width = (max(side // 8, 1) for side in bins.shape)
    regions = tuple(-(-side // step) for side, step in zip(bins.shape, (height, width), strict=True))
    mirrored = np.pad(
        bins,
        [(0, count * step - side) for count, step, side in zip(regions, (height, width), bins.shape, strict=True)],
        mode="reflect",
    )
    limit = max(int(0.03 * (height * width)), 1)
    maps = np.empty((*regions, _BINS), dtype=np.int64)
    for row in range(regions[0]):
        for column in range(regions[1]):
            region = mirrored[row * height : (row + 1) * height, column * width : (column + 1) * width]
            counts = _clipped(np.bincount(region.ravel(), minlength=_BINS), limit)
            grey = counts.cumsum().astype(np.float64) * ((_GREY_LEVELS - 1) / (height * width))
            maps[row, column] = np.minimum(grey, _GREY_LEVELS - 1).astype(np.int64)

    def axis(side: int, step: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        shifted = np.arange(side) + step // 2
        block = shifted // step
        return np.clip(block - 1, 0, count - 1), np.minimum(block, count - 1), (shifted % step) / step

    upper, lower, down = axis(bins.shape[0], height, regions[0])
    left, right, along = axis(bins.shape[1], width, regions[1])
    levels = np.zeros(bins.shape, dtype=np.float32)
    for rows, row_weight in ((upper, 1 - down), (lower, down)):
        for columns, column_weight in ((left, 1 - along), (right, along)):
            weight = column_weight[None, :] * row_weight[:, None]
            levels += (maps[rows[:, None], columns[None, :], bins] * weight).astype(np.float32)
    return np.trunc(levels)


def _clipped(counts: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Counts above the limit cut off, and what was cut off handed out to the others."""
    excess = int(np.maximum(counts - limit, 0).sum())
    counts = np.minimum(counts, limit)
    share = excess // _BINS
    low = counts < limit - share
    counts[low] += share
    excess -= int(low.sum()) * share
    nearly_full = (counts >= limit - share) & (counts < limit)
    excess -= int((limit - counts[nearly_full]).sum())
    counts[nearly_full] = limit
    while excess > 0:
        before = excess
        for start in range(_BINS):
            step = max(1, int((counts < limit).sum()) // excess)
            chosen = np.arange(start, _BINS, step)
            chosen = chosen[counts[chosen] < limit]
            counts[chosen] += 1
            excess -= chosen.size
            if excess <= 0:
                break
        if excess == before:
            break
    return counts


def _hsv_of(image: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value = image.max(-1)
    spread = value - image.min(-1)
    divisor = np.where(spread == 0, np.float32(1), spread)
    sixths = np.where(
        blue == value,
        np.float32(4) + (red - green) / divisor,
        np.where(green == value, np.float32(2) + (blue - red) / divisor, (green - blue) / divisor),
    )
    hue = np.where(spread == 0, np.float32(0), np.remainder(sixths / np.float32(6), np.float32(1)))
    saturation = np.where(spread == 0, np.float32(0), spread / np.where(value == 0, np.float32(1), value))
    return hue, saturation, value


def _rgb_of(
    hue: NDArray[np.float32], saturation: NDArray[np.float32], value: NDArray[np.float32]
) -> NDArray[np.float32]:
    one = np.float32(1)
    sixth = np.floor(hue * np.float32(6))
    fraction = hue * np.float32(6) - sixth
    lowest = value * (one - saturation)
    falling = value * (one - fraction * saturation)
    rising = value * (one - (one - fraction) * saturation)
    red = [value, falling, lowest, lowest, rising, value]
    green = [rising, value, value, falling, lowest, lowest]
    blue = [lowest, lowest, rising, value, value, falling]
    which = sixth.astype(np.int64) % 6
    return np.stack([np.choose(which, plane) for plane in (red, green, blue)], axis=-1)
