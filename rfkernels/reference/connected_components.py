"""Connected components by filling them pixel by pixel, and what SAM2 does with small ones; in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def connected_components(masks: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """See `rfkernels.ops.connected_components`."""
    labels, areas = np.zeros(masks.shape, np.int32), np.zeros(masks.shape, np.int32)
    for place in np.ndindex(masks.shape[:-2]):
        labels[place], areas[place] = _of_one_mask(masks[place] != 0)
    return labels, areas


def clean_mask_logits(
    logits: NDArray[np.float32], *, max_hole_area: int = 0, max_sprinkle_area: int = 0, threshold: float = 0.0
) -> NDArray[np.float32]:
    """See `rfkernels.ops.clean_mask_logits`."""
    limit = np.float32(threshold)
    _, background_areas = connected_components(logits <= limit)
    _, foreground_areas = connected_components(logits > limit)
    cleaned: NDArray[np.float32] = logits.copy()
    cleaned[(background_areas > 0) & (background_areas <= max_hole_area)] = limit + np.float32(10)
    cleaned[(foreground_areas > 0) & (foreground_areas <= max_sprinkle_area)] = limit - np.float32(10)
    return cleaned


def _of_one_mask(foreground: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    height, width = foreground.shape
    # A frame of background, so that every pixel has eight neighbours.
    pitch = width + 2
    waiting = bytearray(np.pad(foreground, 1).astype(np.uint8).tobytes())
    neighbours = [dy * pitch + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    labels = np.zeros((height + 2) * pitch, np.int32)
    areas = np.zeros((height + 2) * pitch, np.int32)
    # In raster order: the pixel that a component is met at is its first one.
    for first in range(len(waiting)):
        if not waiting[first]:
            continue
        waiting[first] = 0
        component = [first]
        for pixel in component:  # which grows meanwhile
            for step in neighbours:
                if waiting[pixel + step]:
                    waiting[pixel + step] = 0
                    component.append(pixel + step)
        y, x = first // pitch - 1, first % pitch - 1
        labels[component] = 1 + y * width + x
        areas[component] = len(component)
    inside = (slice(1, -1), slice(1, -1))
    return labels.reshape(-1, pitch)[inside], areas.reshape(-1, pitch)[inside]
