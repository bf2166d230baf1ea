"""Placement planning, resize, normalization and grey, in plain NumPy, from the definitions of the libraries they equal.

Source: opencv/modules/imgproc/src/resize.cpp (INTER_LINEAR on uint8) and color_yuv.simd.hpp (NV12), the filter that
Pillow documents as BILINEAR and its fixed point of 22 bits (up to version 12), inference-models 0.39, ultralytics 8.4,
torchvision's Resize, CenterCrop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rfkernels.reference.bfloat16 import to_bfloat16


class Rectangle(NamedTuple):
    """Half-open rectangle of pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Placement:
    """Where an image lies on the canvas; the fields are those of `rfkernels.ops.Placement`."""

    crop: Rectangle
    resized_width: int
    resized_height: int
    left: int
    top: int
    scale_x: float
    scale_y: float


def plan_static_crop(height: int, width: int, *, x_min: float, x_max: float, y_min: float, y_max: float) -> Rectangle:
    """The pixels between percentages of the sides."""
    x, y = int(x_min / 100 * width), int(y_min / 100 * height)
    return Rectangle(x, y, int(x_max / 100 * width) - x, int(y_max / 100 * height) - y)


def plan_letterbox(crop: Rectangle, height: int, width: int, rounding: str) -> Placement:
    """Fitted into height x width: V2 truncates, ultralytics rounds half to even."""
    scale = min(width / crop.width, height / crop.height)
    if rounding == "truncate":
        resized_width, resized_height = max(int(crop.width * scale), 1), max(int(crop.height * scale), 1)
        left, top = int((width - resized_width) / 2), int((height - resized_height) / 2)
        return Placement(crop, resized_width, resized_height, left, top, scale, scale)
    resized_width, resized_height = max(round(crop.width * scale), 1), max(round(crop.height * scale), 1)
    left, top = round((width - resized_width) / 2 - 0.1), round((height - resized_height) / 2 - 0.1)
    return Placement(
        crop, resized_width, resized_height, left, top, resized_width / crop.width, resized_height / crop.height
    )


def plan_stretch(crop: Rectangle, height: int, width: int) -> Placement:
    """Resized to height x width."""
    return Placement(crop, width, height, 0, 0, width / crop.width, height / crop.height)


def plan_center_crop(crop: Rectangle, height: int, width: int) -> Placement:
    """Not resized; the middle of it in the middle of the canvas."""
    left = (width - crop.width) // 2 if width > crop.width else -((crop.width - width) // 2)
    top = (height - crop.height) // 2 if height > crop.height else -((crop.height - height) // 2)
    return Placement(crop, crop.width, crop.height, left, top, 1.0, 1.0)


def plan_shortest_side_crop(crop: Rectangle, height: int, width: int) -> Placement:
    """torchvision's Resize(side) and CenterCrop(side); Resize((height, width)) where the canvas is not square."""
    if height != width:
        return plan_stretch(crop, height, width)
    shorter = min(crop.width, crop.height)
    resized_width, resized_height = int(width * crop.width / shorter), int(width * crop.height / shorter)
    left, top = -round((resized_width - width) / 2), -round((resized_height - height) / 2)
    return Placement(
        crop, resized_width, resized_height, left, top, resized_width / crop.width, resized_height / crop.height
    )


def plan_fit_longer_edge(crop: Rectangle, height: int, width: int) -> Placement:
    """Resized so that it just fits; the canvas is as large as the resized image."""
    if width / crop.width < height / crop.height:
        resized_width, resized_height = width, max(round(width / crop.width * crop.height), 1)
    else:
        resized_width, resized_height = max(round(height / crop.height * crop.width), 1), height
    return Placement(
        crop, resized_width, resized_height, 0, 0, resized_width / crop.width, resized_height / crop.height
    )


def resize_linear(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR).

    Args:
        image: uint8 [height, width, channels].
        size: (height, width) of the result.
    """
    height, width = image.shape[:2]
    column, column_fraction = _source_position(size[1], width)
    left_of_image, right_of_image = column < 0, column >= width - 1
    column_fraction = np.where(left_of_image | right_of_image, np.float32(0), column_fraction)
    column = np.clip(column, 0, width - 1)
    row, row_fraction = _source_position(size[0], height)

    first_weight, second_weight = (weight[:, None] for weight in _weights(column_fraction))
    source = image.astype(np.int32)
    next_column = np.minimum(column + 1, width - 1)
    horizontal = source[:, column] * first_weight + source[:, next_column] * second_weight
    upper_weight, lower_weight = (weight[:, None, None] for weight in _weights(row_fraction))
    upper = (upper_weight * (horizontal[np.clip(row, 0, height - 1)] >> 4)) >> 16
    lower = (lower_weight * (horizontal[np.clip(row + 1, 0, height - 1)] >> 4)) >> 16
    result: NDArray[np.uint8] = np.clip((upper + lower + 2) >> 2, 0, 255).astype(np.uint8)
    return result


def resize_antialiased(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """PIL.Image.resize((width, height), BILINEAR) of each channel.

    Args:
        image: uint8 [height, width, channels].
        size: (height, width) of the result.
    """
    columns_resized = _resize_columns_antialiased(image, size[1])
    resized = _resize_columns_antialiased(columns_resized.transpose(1, 0, 2), size[0])
    return np.swapaxes(resized, 0, 1)


def preprocess(
    images: Sequence[Any],
    placements: Sequence[Any],
    *,
    size: tuple[int, int],
    dtype: str = "float32",
    interpolation: str = "bilinear",
    swap_channels: bool = False,
    pad_value: int = 114,
    divisor: float = 255.0,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    scale: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
) -> NDArray[Any]:
    """The op, step by step; arguments as `rfkernels.ops.preprocess`. `placements` need only have the fields, and NV12
    images only `luma` and `chroma`."""
    resize = resize_antialiased if interpolation == "antialiased" else resize_linear
    canvases = np.full((len(images), *size, 3), pad_value, dtype=np.uint8)
    for canvas, image, placement in zip(canvases, images, placements, strict=True):
        crop = placement.crop
        picture = nv12_to_bgr(image.luma, image.chroma) if hasattr(image, "luma") else image
        colour = three_channels(picture)[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
        resized = resize(colour, (placement.resized_height, placement.resized_width))
        # The part of the resized image that the canvas shows, and where.
        top, left = max(placement.top, 0), max(placement.left, 0)
        shown = resized[max(-placement.top, 0) :, max(-placement.left, 0) :]
        shown = shown[: max(size[0] - top, 0), : max(size[1] - left, 0)]
        canvas[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    if swap_channels:
        canvases = canvases[..., ::-1]
    planes = np.ascontiguousarray(canvases.transpose(0, 3, 1, 2))
    if dtype == "uint8":
        return planes
    values = planes.astype(np.float32)
    if scale is not None or offset is not None:
        values = values * _per_channel(scale or (1.0, 1.0, 1.0)) + _per_channel(offset or (0.0, 0.0, 0.0))
    else:
        values = (values / np.float32(divisor) - _per_channel(mean)) / _per_channel(std)
    return to_bfloat16(values) if dtype == "bfloat16" else values.astype(dtype)


def letterbox(
    image: NDArray[np.uint8],
    *,
    size: tuple[int, int],
    rounding: str = "truncate",
    dtype: str = "float32",
    interpolation: str = "bilinear",
    swap_channels: bool = False,
    pad_value: int = 114,
) -> NDArray[Any]:
    """One image fitted into `size`; arguments as `rfkernels.ops.letterbox`."""
    placement = plan_letterbox(Rectangle(0, 0, image.shape[1], image.shape[0]), *size, rounding)
    result: NDArray[Any] = preprocess(
        [image],
        [placement],
        size=size,
        dtype=dtype,
        interpolation=interpolation,
        swap_channels=swap_channels,
        pad_value=pad_value,
    )[0]
    return result


def nv12_to_bgr(luma: NDArray[np.uint8], chroma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """cv2.cvtColor(buffer, COLOR_YUV2BGR_NV12).

    BT.601 with luma from 16 to 235 and chroma from 16 to 240:
        R = 1.164 (Y - 16) + 1.596 (V - 128)
        G = 1.164 (Y - 16) - 0.813 (V - 128) - 0.391 (U - 128)
        B = 1.164 (Y - 16) + 2.018 (U - 128)
    with factors in 2^20ths; luma below 16 counts as 16.

    Args:
        luma: uint8 [height, width].
        chroma: uint8 [height / 2, width / 2, 2]; four pixels share one u and v.
    """
    shared = chroma.astype(np.int64).repeat(2, axis=0).repeat(2, axis=1) - 128
    u, v = shared[..., 0], shared[..., 1]
    white = 1220542 * np.maximum(luma.astype(np.int64) - 16, 0)
    channels = np.stack([white + 2116026 * u, white - 409993 * u - 852492 * v, white + 1673527 * v], axis=2)
    rounded: NDArray[np.uint8] = np.clip((channels + (1 << 19)) >> 20, 0, 255).astype(np.uint8)
    return rounded


def three_channels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey copied into three channels; a fourth channel left out."""
    if image.ndim == 2:
        image = image[:, :, None]
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[:, :, :3]


def grayscale(image: NDArray[np.uint8], *, color_order: str = "bgr") -> NDArray[np.uint8]:
    """cv2.cvtColor(image, COLOR_BGR2GRAY or COLOR_RGB2GRAY), in three channels."""
    if image.ndim == 2 or image.shape[2] == 1:
        return three_channels(image)
    weights = np.array([3735, 19235, 9798] if color_order == "bgr" else [9798, 19235, 3735])
    grey = (image[:, :, :3].astype(np.int64) @ weights + 16384) >> 15
    return np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)


def _source_position(resized: int, source: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """First source pixel of each resized one, and the share of the second, as OpenCV rounds them."""
    step = 1.0 / (resized / source)
    position = ((np.arange(resized) + 0.5) * step - 0.5).astype(np.float32)
    first = np.floor(position)
    return first.astype(np.int64), position - first


def _weights(fraction: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The weights of the first and the second source pixel, in 2048ths, rounded half to even."""
    first = np.rint((np.float32(1) - fraction) * np.float32(2048)).astype(np.int32)
    return first, np.rint(fraction * np.float32(2048)).astype(np.int32)


def _resize_columns_antialiased(image: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """One pass: sums of whole numbers, of weights in 2^-22nds, rounded to a byte."""
    result = np.empty((image.shape[0], width, image.shape[2]), dtype=np.uint8)
    for column in range(width):
        first, weights = _antialiased_weights(column, image.shape[1], width)
        pixels = image[:, first : first + len(weights)].astype(np.int64)
        result[:, column] = np.minimum((np.tensordot(pixels, weights, axes=(1, 0)) + (1 << 21)) >> 22, 255)
    return result


def _antialiased_weights(index: int, source: int, resized: int) -> tuple[int, NDArray[np.int64]]:
    """The first source pixel of a resized one, and the weights from there on: a triangle as wide as two resized pixels,
    and never narrower than two source pixels, cut off at the image's border."""
    step = source / resized
    support = max(step, 1.0)
    centre = (index + 0.5) * step
    first, last = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), source)
    heights = np.maximum(1.0 - np.abs((np.arange(first, last) - centre + 0.5) * (1.0 / support)), 0.0)
    total = np.cumsum(heights)[-1]  # one after the other: NumPy's sum adds in another order
    return first, (0.5 + heights / total * (1 << 22)).astype(np.int64)


def _per_channel(numbers: Sequence[float]) -> NDArray[np.float32]:
    return np.asarray(numbers, dtype=np.float32).reshape(3, 1, 1)
