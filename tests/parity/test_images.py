"""The image door against OpenCV: `load_image` gives the pixels of `cv2.imdecode(..., IMREAD_COLOR)`."""

import importlib.util
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

from image_files import (
    encode,
    exif_block,
    oriented,
    picture,
    png,
    png_chunk,
    scene,
    sixteen_bits,
    tiff_rgb_16,
    whole_files,
    with_app1,
)
from PIL import Image as PillowImage

from rfkernels.errors import InputImageLoadError
from rfkernels.images import ImageOptions, load_image

IGNORE_ORIENTATION = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def by_opencv(data, flags=cv2.IMREAD_COLOR):
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)


def by_us(data, **options):
    """BGR, as OpenCV's."""
    return load_image(data, options=ImageOptions(**options)).pixels[..., ::-1]


def assert_equal(data):
    np.testing.assert_array_equal(by_us(data), by_opencv(data))
    np.testing.assert_array_equal(by_us(data, auto_orient=False), by_opencv(data, IGNORE_ORIENTATION))


MODES = ["RGB", "RGBA", "L", "LA", "1", "P", "I;16", "CMYK"]
WRITABLE = {
    "PNG": ["RGB", "RGBA", "L", "LA", "1", "P", "I;16"],
    "BMP": ["RGB", "RGBA", "L", "1", "P"],
    "GIF": ["RGB", "RGBA", "L", "LA", "1", "P"],
    "TIFF": MODES,
    "WEBP": ["RGB", "RGBA", "L", "LA", "P"],
    "JPEG2000": ["RGB", "RGBA", "L", "LA", "I;16"],
    "PPM": ["RGB", "L", "1", "I;16"],
    "AVIF": ["RGB", "RGBA", "L", "LA", "P"],
    "JPEG": ["RGB", "L", "CMYK"],
}


@pytest.mark.parametrize(("format_name", "mode"), [(name, mode) for name, modes in WRITABLE.items() for mode in modes])
def test_formats_and_modes(format_name, mode):
    assert_equal(encode(picture(mode), format_name))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "I;16"])
@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiffs(compression, mode):
    assert_equal(encode(picture(mode), "TIFF", compression=compression))


@pytest.mark.parametrize("name", [name for name in whole_files() if name != "pgm-text"])
def test_one_file_of_every_kind(name):
    assert_equal(whole_files()[name])


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 33), (121, 187), (480, 641), (1080, 1920)])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs(size, subsampling, progressive):
    for quality in (30, 75, 95):
        assert_equal(encode(scene(*size), "JPEG", quality=quality, subsampling=subsampling, progressive=progressive))


@pytest.mark.parametrize("factors", ["444", "422", "420", "440", "411"])
def test_jpegs_by_opencv(factors):
    sampling = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{factors}")
    for restart_interval in (0, 3):
        parameters = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling, cv2.IMWRITE_JPEG_RST_INTERVAL, restart_interval]
        assert_equal(cv2.imencode(".jpg", scene(121, 187), parameters)[1].tobytes())


def test_photos():
    assets = Path(importlib.util.find_spec("ultralytics").submodule_search_locations[0]) / "assets"
    photos = sorted(assets.glob("*.jpg"))
    assert photos
    for photo in photos:
        assert_equal(photo.read_bytes())


def test_cmyk_and_ycck_jpegs():
    cmyk = encode(picture("CMYK"), "JPEG", quality=95)
    ycck = bytearray(cmyk)
    ycck[cmyk.index(b"Adobe") + 11] = 2
    assert_equal(cmyk)
    assert_equal(bytes(ycck))


@pytest.mark.parametrize("byte_order", ["II", "MM"])
@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "TIFF", "AVIF", "WEBP"])
def test_orientations(format_name, orientation, byte_order):
    data = oriented(format_name, orientation, byte_order)
    turned = oriented("WEBP", 6)
    if format_name == "WEBP" and by_opencv(turned).shape == by_opencv(turned, IGNORE_ORIENTATION).shape:
        # OpenCV up to 4.12 did not read the orientation of a WebP.
        np.testing.assert_array_equal(by_us(data, auto_orient=False), by_opencv(data))
    else:
        assert_equal(data)


ODD_EXIF = {
    "32-bit": b"Exif\0\0" + exif_block(6, field_type=4),
    "32-bit big-endian": b"Exif\0\0" + exif_block(6, "MM", field_type=4),
    "no values": b"Exif\0\0" + exif_block(6, count=0),
    "two values": b"Exif\0\0" + exif_block(6, count=2),
    "other entries first": b"Exif\0\0" + exif_block(6, entries_before=7),
    "not TIFF": b"Exif\0\0" + exif_block(6).replace(b"\x2a", b"\x2b", 1),
    "cut": b"Exif\0\0" + exif_block(6)[:-6],
}


@pytest.mark.parametrize("name", ODD_EXIF)
def test_odd_exif(name):
    assert_equal(with_app1(encode(scene(), "JPEG"), ODD_EXIF[name]))


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_pngs(color_type, channels):
    assert_equal(png(sixteen_bits(channels), color_type, 16))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_pngs(bits):
    indexed = PillowImage.fromarray(scene()).quantize(2**bits)
    assert_equal(encode(indexed, "PNG", bits=bits))
    assert_equal(encode(indexed, "PNG", bits=bits, transparency=1))


def test_transparent_colours():
    assert_equal(png(scene(), 2, 8, png_chunk(b"tRNS", bytes(6))))
    assert_equal(encode(picture("L"), "PNG", transparency=10))
    assert_equal(encode(picture("P"), "GIF", transparency=3, background=5))


@pytest.mark.parametrize("format_name", ["PNG", "GIF", "WEBP", "TIFF", "AVIF"])
def test_first_frames(format_name):
    first = picture("RGB")
    others = [first.transpose(PillowImage.Transpose.FLIP_LEFT_RIGHT), first.rotate(180)]
    assert_equal(encode(first, format_name, save_all=True, append_images=others))


@pytest.mark.parametrize("samples", [np.float32, np.int32])
def test_what_opencv_refuses_too(samples):
    data = encode(scene()[..., 0].astype(samples), "TIFF")
    assert by_opencv(data) is None
    with pytest.raises(InputImageLoadError):
        load_image(data)


def test_where_we_differ_netpbm_is_scaled_to_its_maximum():
    """OpenCV reads values of a PGM as they are, whatever maximum the file declares; Netpbm defines it as white."""
    data = b"P5\n3 1\n100\n" + bytes([0, 50, 100])
    assert by_opencv(data)[0, :, 0].tolist() == [0, 50, 100]
    assert by_us(data)[0, :, 0].tolist() == [0, 128, 255]


def test_where_we_differ_sixteen_bit_rounding():
    """Of 16-bit colours OpenCV takes the upper byte in a PPM and rounds value / 257 in a TIFF; here it is the reverse.
    One level apart at most, two after multiplication with an alpha.
    """
    values = sixteen_bits(4)
    ppm = b"P6\n53 37\n65535\n" + values[..., :3].astype(">u2").tobytes()
    for data, levels in ((ppm, 1), (tiff_rgb_16(values[..., :3]), 1), (tiff_rgb_16(values), 2)):
        assert np.abs(by_us(data).astype(int) - by_opencv(data)).max() <= levels


def test_a_cut_jpeg_is_refused_by_both():
    data = encode(scene(), "JPEG")
    cut = data[: len(data) * 2 // 3]
    assert by_opencv(cut) is None
    with pytest.raises(InputImageLoadError, match="truncated"):
        load_image(cut)


def test_where_we_differ_a_jpeg_with_less_data_than_it_declares_is_refused():
    """OpenCV fills the missing rows with grey."""
    data = encode(scene(), "JPEG")
    frame = data.index(b"\xff\xc0")
    taller = data[: frame + 5] + struct.pack(">H", 370) + data[frame + 7 :]
    assert by_opencv(taller).shape == (370, 53, 3)
    with pytest.raises(InputImageLoadError, match="truncated or corrupt"):
        load_image(taller)
