"""Masks of detections from their definition, in plain NumPy. Slow and plain on purpose: tests compare with it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from rfkernels.reference.detection import Placement, sigmoid

FloatArray = NDArray[np.float32]
Mask = NDArray[np.bool_]
_PARTIAL_SUMS = 8


class Rectangle(Protocol):
    """A rectangle of pixels."""

    @property
    def x(self) -> int: ...
    @property
    def y(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


class PlacedImage(Placement, Protocol):
    """Where an image lies in the network's input, with the sizes that it has there."""

    @property
    def crop(self) -> Rectangle: ...

    @property
    def resized_width(self) -> int: ...
    @property
    def resized_height(self) -> int: ...


class Grid(NamedTuple):
    """The pixels that masks have; fields as those of `rfkernels.ops.MaskGrid`, pairs are (y, x)."""

    size: tuple[int, int]
    source_first: tuple[int, int]
    source_size: tuple[int, int]
    presampling: int
    resized: tuple[int, int]
    offset: tuple[int, int]
    cut_probabilities: bool
    box_first: tuple[float, float]
    box_scale: tuple[float, float]
    box_offset: tuple[float, float]


def v2_grid(
    placement: PlacedImage,
    *,
    image_size: tuple[int, int],
    network_size: tuple[int, int],
    prototype_size: tuple[int, int],
    resolution_factor: float = 1.0,
) -> Grid:
    """Probabilities, cut to the box in prototype pixels, without the letterbox's padding, resized to the image."""
    crop = placement.crop
    first: list[int] = []
    source: list[int] = []
    resized: list[int] = []
    offset: list[int] = []
    size: list[int] = []
    has_canvas = (crop.x, crop.y, crop.height, crop.width) != (0, 0, *image_size)
    sides = zip(
        (placement.top, placement.left),
        (placement.resized_height, placement.resized_width),
        (crop.y, crop.x),
        (crop.height, crop.width),
        image_size,
        network_size,
        prototype_size,
        strict=True,
    )
    for before, drawn, crop_first, crop_side, image_side, network_side, prototype_side in sides:
        scale = prototype_side / network_side
        begin = min(round(scale * before), prototype_side - 1)
        left = max(prototype_side - round(scale * (network_side - before - drawn)) - begin, 1)
        target = crop_side
        if resolution_factor < 1:
            target = max(1, round(left * (1 - resolution_factor) + crop_side * resolution_factor))
        shift = round(crop_first * (target / crop_side)) if has_canvas else 0
        whole = max(1, round(image_side * (target / crop_side)), shift + target) if has_canvas else target
        for values, value in zip(
            (first, source, resized, offset, size), (begin, left, target, shift, whole), strict=True
        ):
            values.append(value)
    scales = (network_size[0] / prototype_size[0], network_size[1] / prototype_size[1])
    return Grid(
        _pair(size), _pair(first), _pair(source), 1, _pair(resized), _pair(offset), True, (0, 0), scales, (0, 0)
    )


def ultralytics_grid(network_size: tuple[int, int], prototype_size: tuple[int, int]) -> Grid:
    """Logits, enlarged to the network's input, then cut to the box."""
    return Grid(network_size, (0, 0), prototype_size, 1, network_size, (0, 0), False, (0, 0), (1, 1), (0, 0))


def ultralytics_native_grid(
    placement: PlacedImage, image_size: tuple[int, int], network_size: tuple[int, int], prototype_size: tuple[int, int]
) -> Grid:
    """Logits of a letterboxed image, enlarged until the padding ends on whole pixels, without it enlarged to the image,
    then cut to the box. Where the network saw a part of the image, that part takes the image's place.

    Source: ultralytics 8.4 for the letterbox of a whole image. An image placed in another way, which ultralytics does
    not have, is what lies in the prototypes where it was placed, to whole pixels of these.
    """
    crop = (placement.crop.height, placement.crop.width)
    drawn = (placement.resized_height, placement.resized_width)
    gain = min(network_size[0] / crop[0], network_size[1] / crop[1])
    is_letterbox = min(placement.top, placement.left) >= 0 and all(
        abs(side - whole * gain) <= 1 for side, whole in zip(drawn, crop, strict=True)
    )
    padding = [side - max(round(whole * gain), 1) for side, whole in zip(network_size, crop, strict=True)]
    enlargement = 4 // math.gcd(4, *padding, *(side // 2 for side in padding)) if is_letterbox else 1
    enlarged = _pair([side * enlargement for side in prototype_size])
    if is_letterbox:
        gain = min(enlarged[0] / crop[0], enlarged[1] / crop[1])
        source = [max(round(whole * gain), 1) for whole in crop]
        first = [round((side - inner) / 2 - 0.1) for side, inner in zip(enlarged, source, strict=True)]
    else:
        scales = [side / network for side, network in zip(enlarged, network_size, strict=True)]
        source = [max(round(side * scale), 1) for side, scale in zip(drawn, scales, strict=True)]
        first = [round(side * scale) for side, scale in zip((placement.top, placement.left), scales, strict=True)]
    return Grid(
        image_size,
        _pair(first),
        _pair(source),
        enlargement,
        crop,
        (placement.crop.y, placement.crop.x),
        False,
        (placement.top, placement.left),
        (placement.scale_y, placement.scale_x),
        (placement.crop.y, placement.crop.x),
    )


def _pair(values: list[int]) -> tuple[int, int]:
    return values[0], values[1]


def masks(prototypes: FloatArray, coefficients: FloatArray, boxes: FloatArray, grid: Grid) -> tuple[Mask, FloatArray]:
    """Masks bool [n, height, width] of prototypes [channels, h, w], and what was compared with 0 where they can be."""
    found = np.zeros((len(boxes), *grid.size), bool)
    compared = np.full((len(boxes), *grid.size), -1, np.float32)
    (top, left), (height, width) = grid.offset, grid.resized
    place = (slice(None), slice(top, top + height), slice(left, left + width))
    for index, (row, box) in enumerate(zip(coefficients, boxes, strict=True)):
        if not np.isfinite(box).all():
            continue
        values = mixed(prototypes, row)
        if grid.cut_probabilities:
            inside = _within(_moved(box, grid, rounded=True), prototypes.shape[1:])
            values = np.where(inside, sigmoid(values) - np.float32(0.5), np.float32(-0.5))
        picture = resized(values, grid)
        compared[index][place[1:]] = picture
        found[index][place[1:]] = picture > 0
        if not grid.cut_probabilities:
            inside = _within(_moved(box, grid, rounded=False), grid.size)
            found[index] &= inside
            compared[index][~inside] = -1
    return found, compared


def mixed(prototypes: FloatArray, coefficients: FloatArray) -> FloatArray:
    """The sum over channels, in eight partial sums that are then added in pairs; all in float32."""
    sums = [np.zeros(prototypes.shape[1:], np.float32) for _ in range(_PARTIAL_SUMS)]
    for channel, (plane, coefficient) in enumerate(zip(prototypes, coefficients, strict=True)):
        sums[channel % _PARTIAL_SUMS] = sums[channel % _PARTIAL_SUMS] + coefficient * plane
    even = (sums[0] + sums[4]) + (sums[2] + sums[6])
    odd = (sums[1] + sums[5]) + (sums[3] + sums[7])
    total: FloatArray = even + odd
    return total


def resized(values: FloatArray, grid: Grid) -> FloatArray:
    """The part of the values that shows the picture, resized along its rows, then along its columns; in float32."""
    outside = np.float32(-0.5 if grid.cut_probabilities else 0)
    weights = [
        resampling_weights(
            grid.source_first[axis],
            grid.source_size[axis],
            grid.resized[axis],
            antialias=grid.cut_probabilities,
            presampling=grid.presampling,
            size=values.shape[axis],
        )
        for axis in (0, 1)
    ]
    wide = _summed(np.pad(values, ((0, 0), _MARGINS), constant_values=outside), weights[1])
    tall = _summed(np.pad(wide, (_MARGINS, (0, 0)), constant_values=outside).T, weights[0])
    return cast("NDArray[np.float32]", tall.T)


# A source may reach beyond the prototypes (a centre crop does); so far in these definitions.
_MARGIN = 64
_MARGINS = (_MARGIN, _MARGIN)


def _summed(rows: FloatArray, weights: FloatArray) -> FloatArray:
    """rows [r, source] and weights [size, source] to [r, size], one source pixel after the other."""
    total = np.zeros((len(rows), len(weights)), np.float32)
    for column in np.flatnonzero(weights.any(axis=0)):
        total = total + weights[None, :, column] * rows[:, column, None]
    return total


def resampling_weights(
    source_first: int, source_size: int, result_size: int, *, antialias: bool, presampling: int, size: int
) -> FloatArray:
    """Weights [result_size, _MARGIN + size + _MARGIN] of the pixels of one axis of the prototypes."""
    enlarged = np.zeros((result_size, _MARGIN * presampling * 2 + size * presampling))
    for index in range(result_size):
        for pixel, weight in _taps(source_size, result_size, index, antialias):
            enlarged[index, _MARGIN * presampling + source_first + pixel] += weight
    if presampling == 1:
        return enlarged.astype(np.float32)
    combined = np.zeros((result_size, size + 2 * _MARGIN))
    for pixel in range(size * presampling):
        for inner, weight in _taps(size, size * presampling, pixel, False):
            combined[:, _MARGIN + inner] += enlarged[:, _MARGIN * presampling + pixel] * weight
    return combined.astype(np.float32)


def _taps(source_size: int, result_size: int, index: int, antialias: bool) -> Iterator[tuple[int, float]]:
    """Pixels of the source and their weights: linear interpolation, or the triangle filter."""
    scale = source_size / result_size
    if not antialias:
        place = max((index + 0.5) * scale - 0.5, 0.0)
        first = min(int(place), source_size - 1)
        share = place - first if first < source_size - 1 else 0.0
        yield first, 1.0 - share
        if first < source_size - 1:
            yield first + 1, share
        return
    support = max(scale, 1.0)
    centre = (index + 0.5) * scale
    pixels = range(int(max(centre - support + 0.5, 0)), min(int(centre + support + 0.5), source_size))
    weights = [max(1.0 - abs(pixel + 0.5 - centre) / support, 0.0) for pixel in pixels]
    total = 0.0
    for weight in weights:
        total += weight
    yield from ((pixel, weight / total) for pixel, weight in zip(pixels, weights, strict=True))


def _moved(box: FloatArray, grid: Grid, *, rounded: bool) -> FloatArray:
    """x1 y1 x2 y2 of the network's input in pixels of the prototypes, or of the grid and clamped to it."""
    first, scale, offset = (
        np.array(pair[::-1] * 2, np.float32) for pair in (grid.box_first, grid.box_scale, grid.box_offset)
    )
    moved: FloatArray = (box - first) / scale + offset
    if rounded:
        return np.rint(moved)
    return np.clip(moved, np.float32(0), np.array(grid.size[::-1] * 2, np.float32))


def _within(box: FloatArray, size: tuple[int, ...]) -> Mask:
    """Pixels p of [height, width] with x1 <= x < x2 and y1 <= y < y2."""
    y, x = np.arange(size[0]).reshape(-1, 1), np.arange(size[1])
    inside: Mask = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
    return inside


# Counter-clockwise on the screen from the right neighbour: (dx, dy).
_DIRECTIONS = ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))


def contours(mask: Mask) -> list[NDArray[np.int32]]:
    """Outlines of the 8-connected parts that touch the outer background, the last found first; corners only.

    A part's outline starts at its leftmost pixel in its highest row and runs counter-clockwise.
    """
    padded = np.pad(mask, 1)
    outer = _reached(~padded, (0, 0), _DIRECTIONS[::2])
    left = _numbers(padded)
    found: list[NDArray[np.int32]] = []
    for y, x in zip(*(places.tolist() for places in np.nonzero(padded)), strict=True):
        if y * (padded.shape[1] + 1) + x not in left:
            continue
        part = _reached(padded, (y, x), _DIRECTIONS, left)
        if outer[y, x - 1]:
            found.insert(0, _corners(_walk(part, (x, y))) - 1)
    return found


def _numbers(allowed: Mask) -> set[int]:
    """The numbers of the allowed pixels, row by row, with one column more that is not allowed: no step leads from a row
    to the next one.
    """
    return set(np.flatnonzero(np.pad(allowed, ((0, 0), (0, 1)))).tolist())


def _reached(
    allowed: Mask, start: tuple[int, int], steps: tuple[tuple[int, int], ...], left: set[int] | None = None
) -> Mask:
    """The allowed pixels that can be reached from (row, column) by steps (dx, dy).

    Args:
        left: the allowed ones by number, where they are known; what is reached is taken out of them.
    """
    if left is None:
        left = _numbers(allowed)
    row = allowed.shape[1] + 1
    offsets = [dy * row + dx for dx, dy in steps]
    waiting = [start[0] * row + start[1]]
    found = set(waiting)
    left.discard(waiting[0])
    while waiting:
        place = waiting.pop()
        for offset in offsets:
            if place + offset in left:
                left.remove(place + offset)
                found.add(place + offset)
                waiting.append(place + offset)
    reached = np.zeros((allowed.shape[0], row), bool)
    reached.ravel()[list(found)] = True
    return reached[:, :-1]


def _walk(part: Mask, start: tuple[int, int]) -> list[tuple[int, int]]:
    """The pixels (x, y) of the outline in order: from each to the first neighbour after the one where one came from."""

    def inside(pixel: tuple[int, int], direction: int) -> bool:
        dx, dy = _DIRECTIONS[direction % 8]
        return bool(part[pixel[1] + dy, pixel[0] + dx])

    if not any(inside(start, direction) for direction in range(8)):
        return [start]
    back = next(direction for direction in range(11, 3, -1) if inside(start, direction)) % 8
    first_back, pixel, walked = back, start, []
    while True:
        walked.append(pixel)
        step = next(direction for direction in range(back + 1, back + 9) if inside(pixel, direction)) % 8
        pixel = (pixel[0] + _DIRECTIONS[step][0], pixel[1] + _DIRECTIONS[step][1])
        back = (step + 4) % 8
        # Back at the start, from where the walk would have come to it: the circle is closed.
        if pixel == start and back == first_back:
            return walked


def _corners(walked: list[tuple[int, int]]) -> NDArray[np.int32]:
    """Those pixels of a closed walk where its direction changes."""
    steps = np.diff(np.array([walked[-1], *walked, walked[0]], np.int32), axis=0)
    turns = (steps[1:] != steps[:-1]).any(axis=1)
    corners: NDArray[np.int32] = np.array(walked, np.int32)[turns | (len(walked) == 1)]
    return corners


def rle(mask: Mask) -> str:
    """COCO's compressed run lengths: counts down the columns, the first of pixels outside; see `compressed`."""
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels)) + 1
    counts = np.diff([0, *([0] if pixels[0] else []), *changes.tolist(), pixels.size])
    return compressed(counts.tolist())


def compressed(counts: list[int]) -> str:
    """From the fourth on as differences to the one before the last; five bits a character from 48 on, the lowest first,
    32 is added where more follow.
    """
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        while True:
            digit, value = value & 31, value >> 5
            ends = value == (-1 if digit & 16 else 0)
            text += chr(48 + digit + (0 if ends else 32))
            if ends:
                break
    return text
