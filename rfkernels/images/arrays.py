"""NumPy arrays as images: checked, and copied only where their layout asks for it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfkernels.images.image import Image, ImageOptions, check_pixel_count, refusal, repeat_grey


def from_array(array: NDArray[Any], options: ImageOptions) -> Image:
    """An `Image` over a NumPy array, in the conventions of OpenCV.

    Args:
        array: uint8 [height, width] or [height, width, 1] grey, [height, width, 3] BGR, or [height, width, 4] BGRA
            (alpha is dropped). Any strides.

    Returns:
        An `Image` with color_order "bgr". It shares the array's memory where the array is BGR and each of its rows is
        contiguous, whatever the distance between rows (a crop of a larger image needs no copy).

    Raises:
        InputImageLoadError: another dtype or shape, no pixels, or too many.
    """
    if array.dtype != np.uint8:
        raise refusal(
            f"expected a NumPy array of dtype uint8 with values 0 to 255, got dtype {array.dtype}. "
            "Bring its values to that range (times 255 if they lie between 0 and 1, divided by 257 if they have 16 "
            "bits), then convert it with astype(numpy.uint8)."
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise refusal(
            f"expected a NumPy array of shape (height, width), or (height, width, channels) with 1, 3 or 4 channels, "
            f"got shape {array.shape}."
        )
    check_pixel_count(array.shape[1], array.shape[0], options)
    pixels: NDArray[np.uint8] = np.asarray(array)
    if pixels.ndim == 2:
        return Image(repeat_grey(pixels), "bgr")
    if pixels.shape[2] == 1:
        return Image(repeat_grey(pixels[..., 0]), "bgr")
    if pixels.shape[2] == 4:
        return Image(_drop_alpha(pixels), "bgr")
    row_pitch, *pixel_strides = pixels.strides
    if pixel_strides != [3, 1] or row_pitch < pixels.shape[1] * 3:
        pixels = np.ascontiguousarray(pixels)
    return Image(pixels, "bgr")


def _drop_alpha(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    opaque = np.empty((*pixels.shape[:2], 3), np.uint8)
    # One pass per channel, for the reason given in `repeat_grey`.
    for channel in range(3):
        opaque[..., channel] = pixels[..., channel]
    return opaque
