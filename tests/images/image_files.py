"""Image files whose pixels are known, written by Pillow or by hand, and ways to break them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, TiffImagePlugin

HEIGHT, WIDTH = 37, 53


def scene(height=HEIGHT, width=WIDTH):
    """uint8 [height, width, 3], RGB: gradients that differ in each direction and channel, and a noisy corner."""
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.stack([columns * 4, rows * 6, (rows + columns) * 3], axis=-1).astype(np.uint8)
    noise = np.random.default_rng(7).integers(0, 256, image[: height // 3, : width // 3].shape, dtype=np.uint8)
    image[: height // 3, : width // 3] = noise
    return image


def alpha(height=HEIGHT, width=WIDTH):
    """uint8 [height, width] with every kind of transparency, fully transparent pixels included."""
    rows, columns = np.mgrid[0:height, 0:width]
    return (rows * columns).astype(np.uint8)


def encode(picture, format_name, **parameters):
    """An encoded file of an array or a Pillow picture."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    file = io.BytesIO()
    picture.save(file, format_name, **parameters)
    return file.getvalue()


def picture(mode):
    """The scene as a Pillow picture of `mode`, channels taken rather than mixed wherever that makes them."""
    rgb = scene()
    made = {
        "RGBA": lambda: Image.fromarray(np.dstack([rgb, alpha()])),
        "LA": lambda: Image.merge("LA", [Image.fromarray(rgb[..., 0]), Image.fromarray(alpha())]),
        "L": lambda: Image.fromarray(rgb[..., 0]),
        "1": lambda: Image.fromarray(rgb[..., 0] > 100),
        "I;16": lambda: Image.fromarray(sixteen_bits()[..., 0]),
        "P": lambda: Image.fromarray(rgb).quantize(64),
    }
    return made[mode]() if mode in made else Image.fromarray(rgb).convert(mode)


def sixteen_bits(channels=4):
    """uint16 [height, width, channels] over the whole range."""
    return np.random.default_rng(11).integers(0, 65536, (HEIGHT, WIDTH, channels), dtype=np.uint16)


def grey_rgb(channel):
    """uint8 [height, width] repeated to three channels."""
    return np.repeat(channel[..., None], 3, axis=2)


def png(pixels, color_type, bit_depth, extra_chunks=b""):
    """A PNG by hand, for what Pillow does not write: 16 bits per channel. pixels: [height, width(, channels)]."""
    sample = ">u2" if bit_depth == 16 else "u1"
    lines = b"".join(b"\0" + line.astype(sample).tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], bit_depth, color_type, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + extra_chunks + png_chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b"")


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def tiff_rgb_16(pixels):
    """A little-endian, uncompressed TIFF of uint16 [height, width, 3 or 4]."""
    height, width, channels = pixels.shape
    data = pixels.astype("<u2").tobytes()
    bits_at = 8
    data_at = 16
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, bits_at),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, data_at),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
    ]
    if channels == 4:
        entries.append((338, 3, 1, 2))
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return struct.pack("<2sHI", b"II", 42, data_at + len(data)) + struct.pack("<4H", *[16] * 4) + data + directory


def exif_block(orientation, byte_order="II", *, field_type=3, count=1, entries_before=0):
    """A TIFF structure with one orientation entry, as it stands in EXIF."""
    order = "<" if byte_order == "II" else ">"
    others = b"".join(struct.pack(order + "HHII", 0x0100 + index, 4, 1, 5) for index in range(entries_before))
    value = struct.pack(order + ("H" if field_type == 3 else "I"), orientation).ljust(4, b"\0")
    entry = struct.pack(order + "HHI", 0x0112, field_type, count) + value
    start = byte_order.encode() + struct.pack(order + "HI", 42, 8)
    return start + struct.pack(order + "H", entries_before + 1) + others + entry + bytes(4)


def with_app1(jpeg, *payloads):
    """A JPEG with APP1 segments put in front."""
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload for payload in payloads)
    return jpeg[:2] + segments + jpeg[2:]


def oriented(format_name, orientation, byte_order="II"):
    """The scene as a lossless or nearly lossless file that carries an EXIF orientation."""
    block = b"Exif\0\0" + exif_block(orientation, byte_order)
    if format_name == "TIFF":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[274] = orientation
        return encode(scene(), "TIFF", tiffinfo=tags)
    parameters = {
        "JPEG": {"exif": block, "quality": 95, "subsampling": 0},
        "PNG": {"exif": block},
        "WEBP": {"exif": block, "lossless": True},
        "AVIF": {"exif": block, "quality": 100, "subsampling": "4:4:4"},
    }
    return encode(scene(), format_name, **parameters[format_name])


def upright(stored, orientation):
    """What a viewer shows of stored pixels, from the definition in the EXIF standard."""
    return {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(stored),
    }[orientation]


def whole_files():
    """Name -> file, one of every kind that is read; no two take the same path through a decoder."""
    rgb = Image.fromarray(scene())
    frames = [rgb.transpose(Image.Transpose.FLIP_TOP_BOTTOM), rgb.rotate(90)]
    animated = {"save_all": True, "append_images": frames}
    grey = picture("L")
    return {
        "jpeg": encode(rgb, "JPEG", quality=90),
        "jpeg-progressive": encode(rgb, "JPEG", quality=90, progressive=True),
        "jpeg-grey": encode(grey, "JPEG"),
        "jpeg-cmyk": encode(rgb.convert("CMYK"), "JPEG", quality=95),
        "png": encode(rgb, "PNG"),
        "png-palette": encode(picture("P"), "PNG"),
        "png-16": png(sixteen_bits(3), 2, 16),
        "png-animated": encode(rgb, "PNG", **animated),
        "gif": encode(rgb, "GIF"),
        "gif-interlaced": encode(picture("P"), "GIF", interlace=1),
        "gif-animated": encode(rgb, "GIF", **animated),
        "bmp": encode(rgb, "BMP"),
        "bmp-palette": encode(picture("P"), "BMP"),
        "bmp-run-length": run_length_bmp(),
        "tiff": encode(rgb, "TIFF"),
        "tiff-lzw": encode(rgb, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": encode(rgb, "TIFF", compression="tiff_adobe_deflate"),
        "tiff-packbits": encode(rgb, "TIFF", compression="packbits"),
        "tiff-jpeg": encode(rgb, "TIFF", compression="jpeg"),
        "tiff-group4": encode(picture("1"), "TIFF", compression="group4"),
        "tiff-pages": encode(rgb, "TIFF", **animated),
        "webp": encode(rgb, "WEBP", quality=80),
        "webp-lossless": encode(rgb, "WEBP", lossless=True),
        "webp-alpha": encode(picture("RGBA"), "WEBP", quality=80),
        "webp-animated": encode(rgb, "WEBP", lossless=True, **animated),
        "avif": encode(rgb, "AVIF"),
        "jp2": encode(rgb, "JPEG2000"),
        "jp2-tiled": encode(rgb, "JPEG2000", tile_size=(16, 16)),
        "j2k": encode(rgb, "JPEG2000", no_jp2=True),
        "ppm": encode(rgb, "PPM"),
        "pgm-text": b"P2\n4 2\n255\n0 1 2 3\n4 5 6 255\n",
        "pbm": encode(picture("1"), "PPM"),
    }


def run_length_bmp():
    """An 8-bit BMP with run-length compression: 40 x 3 pixels, in encoded and absolute runs."""
    row = bytes([20, 7, 10, 9, 0, 10]) + bytes(range(10)) + b"\0\0"
    body = row * 3 + b"\0\1"
    palette = b"".join(bytes([index, 255 - index, index // 2, 0]) for index in range(256))
    info = struct.pack("<IiiHHIIiiII", 40, 40, 3, 1, 8, 1, len(body), 0, 0, 256, 0)
    offset = 14 + len(info) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + info + palette + body
