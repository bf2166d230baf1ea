"""No file that was cut, anywhere, gives pixels other than those of the whole file."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from image_files import encode, png_chunk, run_length_bmp, scene, whole_files
from PIL import ImageFile

from rfkernels.errors import InputImageLoadError
from rfkernels.images import ImageOptions, load_image
from rfkernels.images.orientation import read_orientation

# Pillow warns of odd metadata while it reads or refuses the rest.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

WHOLE = whole_files()


def pixels_or_refusal(data):
    try:
        return load_image(data).pixels
    except InputImageLoadError:
        return None


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_are_read(name):
    assert load_image(WHOLE[name]).pixels.ndim == 3


@pytest.mark.parametrize("name", WHOLE)
def test_a_cut_file_is_refused_or_equal(name):
    data = WHOLE[name]
    whole = load_image(data).pixels
    # Every length near both ends, where headers and trailers are cut, and some 150 between.
    lengths = {*range(min(64, len(data))), *range(max(0, len(data) - 64), len(data))}
    lengths.update(range(0, len(data), max(1, len(data) // 150)))
    for length in sorted(lengths):
        pixels = pixels_or_refusal(data[:length])
        if pixels is not None:
            np.testing.assert_array_equal(pixels, whole, err_msg=f"{name} cut to {length} of {len(data)} bytes")


# Not a progressive one: cut between two scans and ended, it is a whole file by the standard, only coarser.
@pytest.mark.parametrize("name", ["jpeg", "jpeg-grey", "jpeg-cmyk"])
def test_a_cut_jpeg_is_refused_even_with_its_end_marker_put_back(name):
    data = WHOLE[name]
    scan = data.index(b"\xff\xda")
    for length in range(scan + 16, len(data) - 40, 7):
        assert pixels_or_refusal(data[:length] + b"\xff\xd9") is None


@pytest.mark.parametrize("name", ["png", "png-palette", "png-16"])
def test_a_png_with_any_bit_of_its_data_flipped_is_refused(name):
    data = bytearray(WHOLE[name])
    for position in range(8, len(data), 13):
        data[position] ^= 0x10
        assert pixels_or_refusal(bytes(data)) is None
        data[position] ^= 0x10


def test_a_png_with_too_little_data_in_whole_chunks_is_refused():
    data = WHOLE["png"]
    start = data.index(b"IDAT") - 4
    length = int.from_bytes(data[start : start + 4], "big")
    shortened = data[start + 8 : start + 8 + length // 2]
    broken = data[:start] + png_chunk(b"IDAT", shortened) + png_chunk(b"IEND", b"")
    assert pixels_or_refusal(broken) is None


def test_a_jpeg_2000_with_its_tiles_missing_is_refused():
    data = WHOLE["j2k"]
    first_tile = data.index(b"\xff\x90\x00\x0a")
    assert pixels_or_refusal(data[:first_tile] + b"\xff\xd9") is None
    tiled = WHOLE["jp2-tiled"]
    last_tile = tiled.rindex(b"\xff\x90\x00\x0a")
    assert pixels_or_refusal(tiled[:last_tile] + b"\xff\xd9") is None


def test_a_run_length_bmp_without_its_last_rows_is_refused():
    data = run_length_bmp()
    body = data[-(26 * 3 + 2) :]
    assert pixels_or_refusal(data[: -len(body)] + body[:26] + b"\0\1") is None


def test_nothing_but_jpeg_is_read_while_pillow_is_told_to_load_truncated_images(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(InputImageLoadError, match="LOAD_TRUNCATED_IMAGES is set"):
        load_image(WHOLE["gif"])
    assert load_image(WHOLE["jpeg"]).width == scene().shape[1]


@pytest.mark.parametrize("name", ["jpeg", "png", "gif", "bmp", "tiff", "webp", "jp2", "ppm"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_mutated_file_gives_pixels_or_a_refusal(name, data):
    mutated = bytearray(WHOLE[name])
    changes = st.lists(st.tuples(st.integers(0, len(mutated) - 1), st.integers(0, 255)), min_size=1, max_size=4)
    for position, value in data.draw(changes):
        mutated[position] = value
    try:
        pixels = load_image(bytes(mutated), options=ImageOptions(max_pixels=1_000_000)).pixels
    except InputImageLoadError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(b"")
@example(b"GIF89a")
@example(b"RIFF\0\0\0\0WEBP")
def test_any_bytes_give_pixels_or_a_refusal(data):
    pixels_or_refusal(data)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([b"", b"II*\0", b"MM\0*", b"Exif\0\0II*\0\x08\0\0\0"]), st.binary(max_size=64))
def test_any_exif_has_an_orientation(start, rest):
    assert read_orientation(start + rest) in range(1, 9)


def test_a_jpeg_with_harmless_oddities_in_its_header_is_read():
    data = encode(scene(), "JPEG")
    whole = load_image(data).pixels
    scan = data.index(b"\xff\xda")
    length = int.from_bytes(data[scan + 2 : scan + 4], "big")
    odd = bytearray(data)
    odd[scan + 2 + length - 2] = 0  # the last coefficient, 63 in a sequential file; several cameras write 0
    np.testing.assert_array_equal(load_image(bytes(odd)).pixels, whole)
    assert pixels_or_refusal(bytes(odd[: len(odd) * 2 // 3])) is None
    odd[11] = 9  # the major version of JFIF
    np.testing.assert_array_equal(load_image(bytes(odd)).pixels, whole)
    assert pixels_or_refusal(bytes(odd[: len(odd) * 2 // 3]) + b"\xff\xd9") is None
