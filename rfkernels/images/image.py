"""What comes out of the image door, what may go in, and how a refusal is worded."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rfkernels.errors import InputImageLoadError, InvalidArgumentError

ColorOrder = Literal["rgb", "bgr"]

DEFAULT_MAX_PIXELS = 178_956_970
"""Pixels of an image above which it is refused: 2**31 bytes / 4 / 3, the bound at which Pillow refuses too."""


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """Decoded pixels and the order of their channels.

    Attributes:
        pixels: uint8 [height, width, 3]. Decoded images are C-contiguous. An array the caller handed in is not copied
            where each of its rows is contiguous already: it then shares memory with the caller's and keeps the
            caller's row pitch (`pixels.strides[0]`). May be read-only.
        color_order: "rgb" for what was decoded here, "bgr" for NumPy arrays (the order of OpenCV).
    """

    pixels: NDArray[np.uint8]
    color_order: ColorOrder

    def __post_init__(self) -> None:
        pixels = self.pixels
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
            raise InvalidArgumentError(f"pixels are {found}; give a NumPy array, uint8 [height, width, 3]")
        if self.color_order not in ("rgb", "bgr"):
            raise InvalidArgumentError(f'color_order is {self.color_order!r}; give "rgb" or "bgr"')

    @property
    def height(self) -> int:
        """Rows of the image, after EXIF orientation."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns of the image, after EXIF orientation."""
        return int(self.pixels.shape[1])


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """What the image door lets in.

    Attributes:
        auto_orient: apply the EXIF orientation of JPEG, PNG and WebP files, as `cv2.imdecode(..., IMREAD_COLOR)` does;
            False is its `IMREAD_IGNORE_ORIENTATION`. The orientation of a TIFF is always applied, that of an AVIF
            never, again as there.
        max_pixels: width x height above which an image is refused, read from its header before anything is decoded.
        max_encoded_bytes: size above which a file or an encoded image is refused unread.
        allow_file: accept paths. Switch it off where the source comes from somebody else.
        allow_url: download from https URLs.
        url_timeout: seconds one download may take in all, redirects included (name resolution apart).
        url_max_bytes: size above which a download is given up.
        url_max_redirects: redirects followed for one download.
    """

    auto_orient: bool = True
    max_pixels: int = DEFAULT_MAX_PIXELS
    max_encoded_bytes: int = 1 << 30
    allow_file: bool = True
    allow_url: bool = False
    url_timeout: float = 10.0
    url_max_bytes: int = 64 << 20
    url_max_redirects: int = 5

    def __post_init__(self) -> None:
        for name in ("auto_orient", "allow_file", "allow_url"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidArgumentError(f"{name} is {getattr(self, name)!r}; give True or False")
        for name in ("max_pixels", "max_encoded_bytes", "url_timeout", "url_max_bytes", "url_max_redirects"):
            value = getattr(self, name)
            kinds = (int, float) if name == "url_timeout" else (int,)
            if isinstance(value, bool) or not isinstance(value, kinds) or not value >= 0:
                raise InvalidArgumentError(f"{name} is {value!r}; give a number from 0")


def refusal(cause: str) -> InputImageLoadError:
    """The error for an image that is not accepted; `cause` is a sentence for the person who sent the image."""
    return InputImageLoadError(f"Could not load input image. Cause: {cause}")


def check_pixel_count(width: int, height: int, options: ImageOptions) -> None:
    """Refuse an image by the size its header declares, before memory is spent on it."""
    if width < 1 or height < 1:
        raise refusal(f"the image declares a size of {width} x {height} pixels.")
    if width * height > options.max_pixels:
        raise refusal(
            f"the image declares {width} x {height} pixels, more than the {options.max_pixels} allowed "
            "(ImageOptions.max_pixels)."
        )


def repeat_grey(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [height, width] to [height, width, 3]."""
    pixels = np.empty((*grey.shape, 3), np.uint8)
    # One pass per channel: NumPy copies a broadcast last axis item by item, eight times slower.
    for channel in range(3):
        pixels[..., channel] = grey
    return pixels
