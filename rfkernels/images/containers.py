"""What Pillow does not check of a file's structure, or checks too late: sizes, checksums, the end of the data."""

import struct
import zlib

from rfkernels.images.image import ImageOptions, check_pixel_count, refusal

_CODESTREAM_START = b"\xff\x4f\xff\x51"
_CODESTREAM_END = b"\xff\xd9"
_START_OF_TILE_PART = b"\xff\x90"


def check_container(data: bytes, format_name: str, options: ImageOptions) -> None:
    """Refuse an image by its structure, before its decoder sees it; raises `InputImageLoadError`."""
    if format_name == "PNG":
        _check_png(data)
    elif format_name == "WebP":
        _check_webp(data, options)
    elif format_name == "JPEG 2000":
        _check_jpeg_2000(data, options)
    elif format_name == "PNM":
        _check_pnm(data)


def _check_png(data: bytes) -> None:
    """Every chunk is complete and its checksum right; Pillow does not look at the checksums of IDAT."""
    view = memoryview(data)
    position = 8
    while True:
        if position + 12 > len(data):
            raise refusal("the PNG image is truncated: it ends before its IEND chunk.")
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        if end > len(data):
            raise refusal("the PNG image is truncated: a chunk reaches past its end.")
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(view[position + 4 : end - 4]) != checksum:
            raise refusal("the PNG image is corrupt: the checksum of a chunk is wrong.")
        if data[position + 4 : position + 8] == b"IEND":
            return
        position = end


def _check_webp(data: bytes, options: ImageOptions) -> None:
    """The declared size: Pillow's WebP decoder allocates its canvas while opening, before it tells the size."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        raise refusal("the WebP image is truncated: it ends in its header.")
    if kind == b"VP8X":
        width = 1 + int.from_bytes(body[4:7], "little")
        height = 1 + int.from_bytes(body[7:10], "little")
    elif kind == b"VP8L":
        sizes = int.from_bytes(body[1:5], "little")
        width, height = 1 + (sizes & 0x3FFF), 1 + (sizes >> 14 & 0x3FFF)
    else:
        width = int.from_bytes(body[6:8], "little") & 0x3FFF
        height = int.from_bytes(body[8:10], "little") & 0x3FFF
    check_pixel_count(width, height, options)


def _check_jpeg_2000(data: bytes, options: ImageOptions) -> None:
    """The tiles, and the size in the codestream: it decides what is allocated, and a JP2 box can say otherwise.

    OpenJPEG takes a codestream that ends after its header for a whole one: all tiles missing, all pixels 0.
    """
    start = data.find(_CODESTREAM_START)
    if start < 0 or start + 40 > len(data):
        raise refusal("the JPEG 2000 image is truncated: it has no complete SIZ marker.")
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = struct.unpack_from(">8I", data, start + 8)
    check_pixel_count(right - left, bottom - top, options)
    # Inside a codestream 0xFF is followed by less than 0x90 wherever it is not a marker, so this is its end.
    end = data.rfind(_CODESTREAM_END, start)
    if end < 0 or tile_width < 1 or tile_height < 1:
        raise refusal("the JPEG 2000 image is truncated: its codestream has no end.")
    tiles: set[int] = set()
    position = start + 2
    while position + 4 <= end and data[position : position + 2] != _START_OF_TILE_PART:
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    while position + 12 <= end and data[position : position + 2] == _START_OF_TILE_PART:
        tile, length = struct.unpack_from(">HI", data, position + 4)
        tiles.add(tile)
        # Length 0: this tile part reaches to the end.
        position = position + length if length >= 14 else end
    columns = -(-(right - tile_left) // tile_width)
    rows = -(-(bottom - tile_top) // tile_height)
    if len(tiles) < columns * rows or position != end:
        raise refusal("the JPEG 2000 image is truncated: tiles are missing.")


def _check_pnm(data: bytes) -> None:
    """White space after the last number of a text PNM: nothing else tells that it has not lost its last digit."""
    if data[1:2] in (b"2", b"3") and not data[-1:].isspace():
        raise refusal("the PNM image is truncated: it does not end with white space after its last value.")
