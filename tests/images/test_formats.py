"""Decoded pixels against pixels that are known because the file was made from them."""

import io

import numpy as np
import pytest
from image_files import (
    HEIGHT,
    WIDTH,
    alpha,
    encode,
    exif_block,
    grey_rgb,
    oriented,
    picture,
    png,
    png_chunk,
    scene,
    sixteen_bits,
    tiff_rgb_16,
    upright,
    with_app1,
)
from PIL import Image as PillowImage

from rfkernels.errors import InputImageLoadError
from rfkernels.images import ImageOptions, load_image
from rfkernels.images.orientation import read_orientation

LOSSLESS = [
    ("PNG", {}),
    ("BMP", {}),
    ("WEBP", {"lossless": True, "exact": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", {"compression": "packbits"}),
    ("JPEG2000", {}),
    ("PPM", {}),
]
UNSUPPORTED = {("BMP", "LA"), ("PPM", "LA"), ("PPM", "P"), ("JPEG2000", "P"), ("JPEG2000", "1")}


def expected_rgb(mode):
    rgb = scene()
    if mode in ("RGB", "RGBA"):
        return rgb
    if mode in ("L", "LA"):
        return grey_rgb(rgb[..., 0])
    if mode == "1":
        return grey_rgb(np.where(rgb[..., 0] > 100, 255, 0).astype(np.uint8))
    indexed = picture("P")
    colours = np.array(indexed.getpalette(), np.uint8).reshape(-1, 3)
    return colours[np.asarray(indexed)]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P"])
@pytest.mark.parametrize(("format_name", "parameters"), LOSSLESS)
def test_lossless_formats_give_the_pixels_they_were_made_from(format_name, parameters, mode):
    if (format_name, mode) in UNSUPPORTED:
        # Pillow has no such file to write; the same pixels are read in the neighbouring mode.
        mode = {"LA": "L", "P": "RGB", "1": "L"}[mode]
    image = load_image(encode(picture(mode), format_name, **parameters))
    expected = expected_rgb(mode)
    if format_name == "TIFF" and mode == "RGBA":
        expected = premultiplied(expected, alpha())
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.color_order == "rgb"
    assert (image.height, image.width) == (HEIGHT, WIDTH)
    assert image.pixels.dtype == np.uint8
    assert image.pixels.flags.c_contiguous


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (299, 1), (3, 7), (480, 641)])
@pytest.mark.parametrize("format_name", ["PNG", "BMP", "TIFF", "PPM", "JPEG"])
def test_sizes_at_the_edge(format_name, height, width):
    flat = np.full((height, width, 3), (200, 100, 50), np.uint8)
    parameters = {"quality": 100, "subsampling": 0} if format_name == "JPEG" else {}
    pixels = load_image(encode(flat, format_name, **parameters)).pixels
    assert pixels.shape == (height, width, 3)
    assert np.abs(pixels.astype(int) - flat).max() <= (1 if format_name == "JPEG" else 0)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpeg_equals_the_decoder_of_pillow(subsampling, progressive):
    data = encode(scene(121, 187), "JPEG", quality=90, subsampling=subsampling, progressive=progressive)
    with PillowImage.open(io.BytesIO(data)) as peer:
        expected = np.asarray(peer)
    np.testing.assert_array_equal(load_image(data).pixels, expected)


def test_jpeg_at_full_quality_is_the_scene():
    pixels = load_image(encode(scene(), "JPEG", quality=100, subsampling=0)).pixels
    assert np.abs(pixels.astype(int) - scene()).max() <= 5


def test_grey_jpeg():
    channel = scene()[..., 1]
    pixels = load_image(encode(channel, "JPEG", quality=100)).pixels
    assert np.abs(pixels.astype(int) - grey_rgb(channel)).max() <= 2
    assert (pixels[..., 0] == pixels[..., 1]).all()


def test_cmyk_jpeg_of_the_inverted_kind_that_adobe_writes():
    cmyk = np.zeros((16, 16, 4), np.uint8)
    cmyk[:, :8] = (0, 255, 255, 0)
    cmyk[:, 8:] = (255, 0, 0, 64)
    data = encode(PillowImage.fromarray(cmyk, "CMYK"), "JPEG", quality=100)
    assert b"Adobe" in data
    pixels = load_image(data).pixels.astype(int)
    assert np.abs(pixels[:, :8] - (255, 0, 0)).max() <= 2
    assert np.abs(pixels[:, 8:] - (0, 191, 191)).max() <= 2


@pytest.mark.parametrize(
    ("color_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["grey", "rgb", "grey-alpha", "rgba"]
)
def test_sixteen_bit_png_keeps_the_upper_byte(color_type, channels):
    values = sixteen_bits(channels)
    upper = (values >> 8).astype(np.uint8)
    expected = upper[..., :3] if channels >= 3 else grey_rgb(upper[..., 0])
    np.testing.assert_array_equal(load_image(png(values, color_type, 16)).pixels, expected)


@pytest.mark.parametrize("format_name", ["TIFF", "JPEG2000", "PPM"])
def test_sixteen_bit_grey_keeps_the_upper_byte(format_name):
    values = sixteen_bits(1)[..., 0]
    expected = grey_rgb((values >> 8).astype(np.uint8))
    np.testing.assert_array_equal(load_image(encode(values, format_name)).pixels, expected)


def premultiplied(rgb, opacity):
    return ((rgb.astype(int) * opacity[..., None] + 127) // 255).astype(np.uint8)


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_rgb_tiff_keeps_the_upper_byte(channels):
    upper = (sixteen_bits(channels) >> 8).astype(np.uint8)
    expected = upper if channels == 3 else premultiplied(upper[..., :3], upper[..., 3])
    np.testing.assert_array_equal(load_image(tiff_rgb_16(sixteen_bits(channels))).pixels, expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_png(bits):
    indexed = PillowImage.fromarray(scene()).quantize(2**bits)
    expected = np.array(indexed.getpalette(), np.uint8).reshape(-1, 3)[np.asarray(indexed)]
    np.testing.assert_array_equal(load_image(encode(indexed, "PNG", bits=bits)).pixels, expected)


@pytest.mark.parametrize("transparency", [3, bytes(range(64))], ids=["one colour", "table"])
def test_transparency_of_a_palette_png_is_dropped(transparency):
    indexed = picture("P")
    expected = np.array(indexed.getpalette(), np.uint8).reshape(-1, 3)[np.asarray(indexed)]
    np.testing.assert_array_equal(load_image(encode(indexed, "PNG", transparency=transparency)).pixels, expected)


def test_transparent_pixels_of_a_gif_have_the_background_colour():
    indices = np.arange(16, dtype=np.uint8).reshape(4, 4) % 4
    indexed = PillowImage.fromarray(indices, "P")
    indexed.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    data = encode(indexed, "GIF", transparency=2, background=1)
    expected = np.array([[10, 20, 30], [40, 50, 60], [40, 50, 60], [100, 110, 120]], np.uint8)[indices]
    np.testing.assert_array_equal(load_image(data).pixels, expected)


def test_single_colour_transparency_of_a_png_is_dropped():
    data = png(scene(), 2, 8, png_chunk(b"tRNS", bytes(6)))
    np.testing.assert_array_equal(load_image(data).pixels, scene())


def test_cmyk_tiff():
    cmyk = np.zeros((4, 6, 4), np.uint8)
    cmyk[:2] = (255, 0, 255, 0)
    cmyk[2:] = (0, 0, 0, 255)
    pixels = load_image(encode(PillowImage.fromarray(cmyk, "CMYK"), "TIFF")).pixels
    assert (pixels[:2] == (0, 255, 0)).all()
    assert (pixels[2:] == 0).all()


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_the_first_of_several_frames_is_read(format_name):
    frames = [PillowImage.new("RGB", (32, 24), colour) for colour in ("red", "lime", "blue")]
    data = encode(frames[0], format_name, save_all=True, append_images=frames[1:])
    pixels = load_image(data).pixels.astype(int)
    assert pixels.shape == (24, 32, 3)
    assert np.abs(pixels - (255, 0, 0)).max() <= 6


def test_text_and_scaled_netpbm():
    assert load_image(b"P2\n3 1\n100\n0 50 100\n").pixels[0, :, 0].tolist() == [0, 128, 255]
    assert load_image(b"P1\n4 1\n1 0 0 1\n").pixels[0, :, 0].tolist() == [0, 255, 255, 0]
    assert load_image(b"P3\n1 1\n255\n1 2 3\n").pixels[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("values", ["float", "int32"])
def test_pixels_without_an_eight_bit_meaning_are_refused(values):
    samples = scene()[..., 0].astype(np.float32 if values == "float" else np.int32)
    with pytest.raises(InputImageLoadError, match="no 8-bit RGB meaning"):
        load_image(encode(samples, "TIFF"))


@pytest.mark.parametrize("byte_order", ["II", "MM"])
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(format_name, orientation, byte_order):
    data = oriented(format_name, orientation, byte_order)
    stored = load_image(data, options=ImageOptions(auto_orient=False)).pixels
    assert np.abs(stored.astype(int) - scene()).max() <= (40 if format_name == "JPEG" else 0)
    seen = load_image(data)
    np.testing.assert_array_equal(seen.pixels, upright(stored, orientation))
    assert seen.pixels.flags.c_contiguous
    assert (seen.height, seen.width) == ((WIDTH, HEIGHT) if orientation >= 5 else (HEIGHT, WIDTH))


@pytest.mark.parametrize("auto_orient", [True, False])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_tiff_is_part_of_its_format(orientation, auto_orient):
    image = load_image(oriented("TIFF", orientation), options=ImageOptions(auto_orient=auto_orient))
    np.testing.assert_array_equal(image.pixels, upright(scene(), orientation))


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_of_an_avif_is_not_applied(orientation):
    pixels = load_image(oriented("AVIF", orientation)).pixels
    np.testing.assert_array_equal(pixels, load_image(oriented("AVIF", 1)).pixels)


JPEG_EXIF_CASES = {
    "a 32-bit field": (b"Exif\0\0" + exif_block(6, field_type=4), 6),
    "no values": (b"Exif\0\0" + exif_block(6, count=0), 6),
    "after other entries": (b"Exif\0\0" + exif_block(6, entries_before=5), 6),
    "orientation 0": (b"Exif\0\0" + exif_block(0), 1),
    "orientation 9": (b"Exif\0\0" + exif_block(9), 1),
    "not a TIFF structure": (b"Exif\0\0" + b"XX*\0" + exif_block(6)[4:], 1),
    "a directory past the end": (b"Exif\0\0II*\0\xff\xff\xff\xff" + exif_block(6)[8:], 1),
    "nothing": (b"Exif\0\0", 1),
    "cut in the header": (b"Exif\0\0II*\0\x08", 1),
    "another name": (b"Exef\0\0" + exif_block(6), 1),
}


@pytest.mark.parametrize("case", JPEG_EXIF_CASES)
def test_odd_exif_of_a_jpeg(case):
    payload, orientation = JPEG_EXIF_CASES[case]
    plain = encode(scene(), "JPEG")
    expected = upright(load_image(plain).pixels, orientation)
    np.testing.assert_array_equal(load_image(with_app1(plain, payload)).pixels, expected)


def test_the_first_orientation_in_range_counts():
    assert read_orientation(exif_block(9)) == 1
    assert read_orientation(exif_block(0)) == 1
    # A directory of two entries: the one out of range is passed over.
    two_entries = exif_block(9)[:8] + b"\2\0" + exif_block(9)[10:22] + exif_block(6)[10:]
    assert read_orientation(two_entries) == 6


def test_cut_exif_gives_an_orientation_only_where_its_value_is_there():
    block = exif_block(6)
    assert [read_orientation(block[:length]) for length in range(len(block))] == [1] * 20 + [6] * (len(block) - 20)


def test_exif_after_other_app1_segments_counts_and_a_second_one_does_not():
    plain = encode(scene(), "JPEG")
    expected = upright(load_image(plain).pixels, 6)
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"
    data = with_app1(plain, xmp, b"Exif\0\0" + exif_block(6), b"Exif\0\0" + exif_block(3))
    np.testing.assert_array_equal(load_image(data).pixels, expected)
