"""JPEG through libjpeg-turbo: the pixels of `cv2.imdecode`, but nothing truncated or corrupt is let through."""

import struct
from dataclasses import dataclass

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from numpy.typing import NDArray

from rfkernels.images.image import ImageOptions, check_pixel_count, refusal

SIGNATURE = b"\xff\xd8\xff"

_APP1, _SOS = 0xE1, 0xDA
_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_PROGRESSIVE_FRAME_HEADERS = frozenset({0xC2, 0xCA})
# Markers that stand alone, with no length after them: TEM, RST0 to RST7.
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})

# Every scan of a progressive file is one pass over the whole image: without a bound a small file costs hours.
# libjpeg-turbo's TJFLAG_LIMITSCANS uses the same number; real files have about ten, and only small images may have
# many more: the time that they cost is that of their pixels.
_MAX_SCANS = 500
_MAX_SCANS_OF_ANY_IMAGE = 24
_MAX_PIXELS_OF_ALL_SCANS = 4_000_000_000

# Warnings of libjpeg about header fields that do not touch the pixels. Strict decoding stops at any warning and reports
# only the first, so these fields are put right in a copy, and the copy is decoded strictly.
_HARMLESS_WARNINGS = (
    "Invalid SOS parameters for sequential JPEG",
    "unknown JFIF revision number",
)


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What stands before the first scan."""

    width: int
    height: int
    progressive: bool
    exif: bytes
    """The first APP1 segment that starts with "Exif"; empty where there is none."""


def read_header(data: bytes) -> JpegHeader:
    """Walk the markers up to the first scan; raises `InputImageLoadError` where there is no frame or no scan."""
    frame: tuple[int, int, bool] | None = None
    exif = b""
    position = 2
    while True:
        position = data.find(b"\xff", position)
        if position < 0:
            break
        while data[position : position + 1] == b"\xff":
            position += 1
        if position + 3 > len(data):
            break
        marker = data[position]
        position += 1
        if marker == 0 or marker in _BARE_MARKERS:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        if length < 2 or position + length > len(data):
            break
        if marker in _FRAME_HEADERS and length >= 8:
            height, width = struct.unpack_from(">HH", data, position + 3)
            frame = (width, height, marker in _PROGRESSIVE_FRAME_HEADERS)
        elif marker == _APP1 and not exif and data[position + 2 : position + 8] == b"Exif\0\0":
            exif = data[position + 8 : position + length]
        elif marker == _SOS:
            if frame is None:
                raise refusal("the JPEG has no frame header before its first scan.")
            return JpegHeader(*frame, exif)
        position += length
    raise refusal("the JPEG is truncated: it ends before its image data.")


def decode(data: bytes, header: JpegHeader, options: ImageOptions) -> NDArray[np.uint8]:
    """Decode to uint8 [height, width, 3], RGB, orientation not applied; raises `InputImageLoadError`."""
    check_pixel_count(header.width, header.height, options)
    affordable = _MAX_PIXELS_OF_ALL_SCANS // (header.width * header.height)
    most_scans = min(_MAX_SCANS, max(_MAX_SCANS_OF_ANY_IMAGE, affordable))
    if header.progressive and data.count(b"\xff\xda") > most_scans:
        raise refusal(f"the JPEG has more than {most_scans} scans of {header.width} x {header.height} pixels.")
    try:
        return _decode_strictly(data)
    except ValueError as error:
        if any(warning in str(error) for warning in _HARMLESS_WARNINGS):
            data = _normalise_header_fields(data, header)
        elif "subsampling" in str(error):
            raise refusal(
                "the JPEG uses a chroma subsampling that is not supported, or its header is broken. Save it as 4:4:4, "
                "4:2:2 or 4:2:0."
            ) from error
        else:
            raise refusal(f"the JPEG is truncated or corrupt ({error}).") from error
    try:
        return _decode_strictly(data)
    except ValueError as error:
        raise refusal(f"the JPEG is truncated or corrupt ({error}).") from error


def _decode_strictly(data: bytes) -> NDArray[np.uint8]:
    # The accurate DCT and "fancy" upsampling are the defaults, and what OpenCV uses.
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True)
    return pixels


def _normalise_header_fields(data: bytes, header: JpegHeader) -> bytes:
    """A copy with the fields behind `_HARMLESS_WARNINGS` set to what libjpeg assumes for them."""
    fixed = bytearray(data)
    position = 0
    while (position := data.find(b"\xff\xe0", position)) >= 0:
        if data[position + 4 : position + 9] == b"JFIF\0" and position + 11 <= len(data):
            fixed[position + 9 : position + 11] = b"\x01\x02"
            break
        position += 2
    if not header.progressive:
        # In entropy-coded data 0xFF is always followed by 0x00 or a restart marker, so each FF DA is a scan header
        # (or belongs to a thumbnail in an APP segment, which is not decoded).
        position = 0
        while (position := data.find(b"\xff\xda", position)) >= 0:
            (length,) = struct.unpack_from(">H", data[position + 2 : position + 4].ljust(2, b"\0"))
            end = position + 2 + length
            if length >= 6 and end <= len(data):
                fixed[end - 3 : end] = b"\x00\x3f\x00"
            position += 2
    return bytes(fixed)
