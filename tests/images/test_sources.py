"""What `load_image` takes, how it tells one kind of source from another, and what it leaves uncopied."""

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from image_files import encode, grey_rgb, picture, scene
from PIL import Image as PillowImage

from rfkernels.errors import InputImageLoadError, RfkernelsError
from rfkernels.images import Image, ImageOptions, load_image
from rfkernels.schema import InferenceRequestImage

PNG = encode(scene(), "PNG")
TEXT = base64.b64encode(PNG).decode()


@pytest.fixture
def png_file(tmp_path):
    path = tmp_path / "scene.png"
    path.write_bytes(PNG)
    return path


ENCODED_SOURCES = {
    "bytes": PNG,
    "bytearray": bytearray(PNG),
    "memoryview": memoryview(PNG),
    "file object": io.BytesIO(PNG),
    "base64": TEXT,
    "base64 bytes": TEXT.encode(),
    "base64 in lines": base64.encodebytes(PNG),
    "base64 without padding": TEXT.rstrip("="),
    "data URL": "data:image/png;base64," + TEXT,
    "data URL of an odd subtype": "data:image/svg+xml;base64," + TEXT,
    "data URL as bytes": b"data:image/png;base64," + TEXT.encode(),
    "declared base64": {"type": "base64", "value": TEXT},
    "declared base64 bytes": {"type": "base64", "value": TEXT.encode()},
    "declared in capitals": {"type": "BASE64", "value": "data:image/png;base64," + TEXT},
    "declared object": InferenceRequestImage(type="base64", value=TEXT),
    "multipart bytes": {"type": "multipart", "value": PNG},
    "multipart file": InferenceRequestImage(type="multipart", value=io.BytesIO(PNG)),
    "PIL": PillowImage.fromarray(scene()),
    "declared PIL": {"type": "pil", "value": PillowImage.fromarray(scene())},
}


@pytest.mark.parametrize("name", ENCODED_SOURCES)
def test_encoded_sources(name):
    image = load_image(ENCODED_SOURCES[name])
    assert isinstance(image, Image)
    assert image.color_order == "rgb"
    np.testing.assert_array_equal(image.pixels, scene())


@pytest.mark.parametrize(
    "convert", [Path, str, lambda path: {"type": "file", "value": str(path)}, lambda p: p.open("rb")]
)
def test_file_sources(png_file, convert):
    np.testing.assert_array_equal(load_image(convert(png_file)).pixels, scene())


def test_contents_and_not_the_name_decide_the_format(tmp_path):
    path = tmp_path / "scene.jpg"
    path.write_bytes(PNG)
    np.testing.assert_array_equal(load_image(path).pixels, scene())


def test_a_file_object_is_read_from_its_start():
    file = io.BytesIO(PNG)
    file.read()
    np.testing.assert_array_equal(load_image(file).pixels, scene())


def test_text_that_names_a_file_is_the_file_unless_files_are_not_allowed(tmp_path, monkeypatch):
    name = base64.b64encode(encode(np.zeros((1, 1, 3), np.uint8), "PPM")).decode()
    assert "/" not in name
    (tmp_path / name).write_bytes(PNG)
    monkeypatch.chdir(tmp_path)
    assert load_image(name).pixels.shape == scene().shape
    assert load_image(name, options=ImageOptions(allow_file=False)).pixels.shape == (1, 1, 3)


def test_files_can_be_forbidden(png_file):
    forbidden = ImageOptions(allow_file=False)
    for source in (png_file, str(png_file), {"type": "file", "value": str(png_file)}):
        with pytest.raises(InputImageLoadError):
            load_image(source, options=forbidden)
    with pytest.raises(InputImageLoadError, match=r"Cause: Loading images from local filesystem is disabled\."):
        load_image(png_file, options=forbidden)


@pytest.mark.parametrize("scheme", ["https", "http", "HTTPS"])
def test_urls_are_refused_unless_allowed(scheme):
    with pytest.raises(InputImageLoadError, match="URLs is disabled"):
        load_image(f"{scheme}://example.com/a.png")


@pytest.mark.parametrize("declared", [False, True])
def test_arrays_are_bgr_and_shared(declared):
    bgr = scene()
    image = load_image({"type": "numpy_object", "value": bgr} if declared else bgr)
    assert image.color_order == "bgr"
    assert np.shares_memory(image.pixels, bgr)
    np.testing.assert_array_equal(image.pixels, bgr)


def test_a_crop_keeps_its_row_pitch_and_is_not_copied():
    frame = scene()
    crop = frame[3:20, 5:31]
    image = load_image(crop)
    assert np.shares_memory(image.pixels, frame)
    assert image.pixels.strides == frame.strides
    assert (image.height, image.width) == (17, 26)


def test_a_read_only_array_is_not_copied():
    frame = scene()
    frame.flags.writeable = False
    assert np.shares_memory(load_image(frame).pixels, frame)


COPIED = {
    "mirrored": lambda frame: frame[:, ::-1],
    "upside down": lambda frame: frame[::-1],
    "channels reversed": lambda frame: frame[..., ::-1],
    "every other column": lambda frame: frame[:, ::2],
    "planar": lambda frame: np.ascontiguousarray(frame.transpose(2, 0, 1)).transpose(1, 2, 0),
    "one row repeated": lambda frame: np.broadcast_to(frame[:1], frame.shape),
}


@pytest.mark.parametrize("name", COPIED)
def test_other_layouts_are_copied_to_contiguous_rows(name):
    array = COPIED[name](scene())
    image = load_image(array)
    np.testing.assert_array_equal(image.pixels, array)
    assert image.pixels.flags.c_contiguous


def test_grey_and_bgra_arrays():
    grey, bgra = scene()[..., 0], np.asarray(picture("RGBA"))
    np.testing.assert_array_equal(load_image(grey).pixels, grey_rgb(grey))
    np.testing.assert_array_equal(load_image(grey[..., None]).pixels, grey_rgb(grey))
    np.testing.assert_array_equal(load_image(bgra).pixels, bgra[..., :3])
    np.testing.assert_array_equal(load_image(bgra[2:9, 4::3]).pixels, bgra[2:9, 4::3, :3])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P", "I;16"])
def test_pil_modes_give_what_their_png_gives(mode):
    pil = picture(mode)
    image = load_image(pil)
    np.testing.assert_array_equal(image.pixels, load_image(encode(pil, "PNG")).pixels)
    assert image.color_order == "rgb"


def test_pil_orientation_is_not_applied():
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    file = io.BytesIO(encode(scene(), "PNG", exif=exif.tobytes()))
    with PillowImage.open(file) as pil:
        assert load_image(pil).pixels.shape == scene().shape


def test_a_pil_picture_is_left_as_it_was():
    pil = picture("P")
    pil.info["transparency"] = 3
    load_image(pil)
    assert pil.mode == "P"
    assert pil.info == {"transparency": 3}


def test_image_options_and_images_are_frozen():
    with pytest.raises(AttributeError):
        ImageOptions().max_pixels = 1
    with pytest.raises(AttributeError):
        load_image(scene()).color_order = "rgb"


def test_the_limit_of_pixels_is_inclusive():
    array = np.zeros((10, 20, 3), np.uint8)
    for source in (array, encode(array, "PNG"), encode(array, "JPEG"), PillowImage.fromarray(array)):
        assert load_image(source, options=ImageOptions(max_pixels=200)).width == 20
        with pytest.raises(InputImageLoadError, match=r"20 x 10 pixels, more than the 199 allowed"):
            load_image(source, options=ImageOptions(max_pixels=199))


def test_a_limit_above_the_one_of_pillow_holds(monkeypatch):
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 10)
    assert load_image(PNG).width == scene().shape[1]


def test_the_limit_of_encoded_bytes(png_file):
    exact, short = ImageOptions(max_encoded_bytes=len(PNG)), ImageOptions(max_encoded_bytes=len(PNG) - 1)
    for source in (PNG, TEXT, png_file, io.BytesIO(PNG)):
        assert load_image(source, options=exact).height == scene().shape[0]
        with pytest.raises(InputImageLoadError, match="max_encoded_bytes"):
            load_image(source, options=short)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(InputImageLoadError, match="not a regular file"):
        load_image(path)


def test_the_error_is_one_of_the_library():
    assert issubclass(InputImageLoadError, RfkernelsError)
