"""Every encoded format but JPEG, and Pillow pictures: to three channels, equal to OpenCV wherever OpenCV reads them."""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    Jpeg2KImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL import Image as PillowImage

from rfkernels.errors import InputImageLoadError
from rfkernels.images.containers import check_container
from rfkernels.images.image import ImageOptions, check_pixel_count, refusal, repeat_grey

# The decoders are called by name: `PIL.Image.open` would try some forty formats (one of them starts Ghostscript) and
# apply the process-wide `MAX_IMAGE_PIXELS` instead of the caller's own limit.
_DECODERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "AVIF": AvifImagePlugin.AvifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "PNM": PpmImagePlugin.PpmImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
}

# OpenCV (4.14, 5.0) applies the EXIF orientation of these and of JPEG, and not that of AVIF or JPEG 2000. The
# orientation of a TIFF is a field of the format itself: Pillow applies it while loading, as OpenCV does with any flags.
_ORIENTED_FORMATS = frozenset({"PNG", "WebP"})


def decode(data: bytes, format_name: str, options: ImageOptions) -> tuple[NDArray[np.uint8], bytes]:
    """Decode the first frame.

    Args:
        data: the encoded image.
        format_name: one of the names `sniff` gives.

    Returns:
        uint8 [height, width, 3], RGB, orientation not applied; and the EXIF block whose orientation counts, or b"".

    Raises:
        InputImageLoadError: truncated, corrupt, too large, or of a kind that has no 8-bit RGB meaning.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise refusal(
            f"PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set in this process, so a truncated {format_name} image could not "
            "be told from a whole one. Unset it."
        )
    try:
        check_container(data, format_name, options)
        with _DECODERS[format_name](io.BytesIO(data)) as picture:
            check_pixel_count(picture.width, picture.height, options)
            picture.load()
            pixels = to_rgb(picture, format_name)
            exif = picture.info.get("exif", b"") if format_name in _ORIENTED_FORMATS else b""
        return pixels, exif
    except InputImageLoadError:
        raise
    except Exception as error:
        # Pillow's parsers meet malformed data with nearly any exception: OSError, SyntaxError, struct.error, KeyError,
        # IndexError, OverflowError, MemoryError, zlib.error and more.
        raise refusal(f"the {format_name} image is truncated or corrupt ({type(error).__name__}: {error}).") from error


def to_rgb(picture: PillowImage.Image, format_name: str | None = None) -> NDArray[np.uint8]:
    """The pixels of a loaded Pillow picture as uint8 [height, width, 3], RGB.

    Alpha is dropped, not blended; 16-bit values keep their upper 8 bits; grey is repeated. These are the rules of
    `cv2.imdecode(..., IMREAD_COLOR)`, as are its two exceptions: RGBA in a TIFF comes out multiplied by its
    alpha, and transparent pixels of a GIF have the background colour.

    Raises:
        InputImageLoadError: the mode has no 8-bit RGB meaning (32-bit integers, floats, Lab).
    """
    mode = picture.mode
    if mode == "RGBA" and format_name == "TIFF":
        return _premultiplied(np.asarray(picture))
    if mode == "P" or (format_name == "GIF" and mode == "L"):
        return np.take(_palette(picture, format_name), np.asarray(picture), axis=0)
    if mode in ("1", "L", "LA", "La"):
        return repeat_grey(np.asarray(picture.convert("L") if mode == "1" else picture.getchannel(0)))
    if mode.startswith("I;16") or (mode == "I" and format_name == "PNM"):
        return repeat_grey((np.asarray(picture) >> 8).astype(np.uint8))
    if mode in ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "PA"):
        return np.asarray(picture if mode == "RGB" else picture.convert("RGB"))
    if mode == "RGBa":
        return np.ascontiguousarray(np.asarray(picture)[..., :3])
    raise refusal(f"pixels of Pillow mode {mode!r} have no 8-bit RGB meaning. Convert the image to 8 bits per channel.")


def _premultiplied(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # libtiff's arithmetic: (value * alpha + 127) / 255, truncated.
    product = rgba[..., :3].astype(np.uint16) * rgba[..., 3:] + 127
    return (product // 255).astype(np.uint8)


def _palette(picture: PillowImage.Image, format_name: str | None) -> NDArray[np.uint8]:
    """The colours of indices 0 to 255 as uint8 [256, 3]; indices past the palette's end are black."""
    colours = np.zeros((256, 3), np.uint8)
    if picture.mode == "L":
        colours[:] = np.arange(256, dtype=np.uint8)[:, None]
    else:
        listed = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
        colours[: len(listed)] = listed
    transparency = picture.info.get("transparency")
    background = picture.info.get("background")
    if format_name == "GIF" and isinstance(transparency, int) and isinstance(background, int):
        colours[transparency] = colours[background]
    return colours
