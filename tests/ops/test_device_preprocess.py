"""Images on a device to network input there, in one call: byte for byte what the host draws."""

from __future__ import annotations

import numpy as np
import pytest

from rfkernels import ops
from rfkernels.errors import InvalidArgumentError
from rfkernels.reference.bfloat16 import to_bfloat16

pytestmark = [pytest.mark.emulated, pytest.mark.usefixtures("watched")]

SIZES = [(1, 1), (37, 91), (480, 641), (1, 300), (200, 3)]


def picture(rng, height, width, channels=3):
    shape = (height, width) if channels is None else (height, width, channels)
    return rng.integers(0, 256, shape, dtype=np.uint8)


def bits_of(array, stream):
    values = array.numpy(stream)
    return values if values.dtype != np.float32 else values.view(np.uint32)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_letterbox(device, stream, rng, height, width, dtype):
    image = picture(rng, height, width)
    options = {"size": (64, 96), "dtype": dtype, "swap_channels": True}
    expected = ops.letterbox(image, **options)
    actual = ops.letterbox(device.upload(image, stream), **options, stream=stream)
    assert (actual.dtype, actual.shape) == (dtype, (3, 64, 96))
    np.testing.assert_array_equal(actual.numpy(stream), expected)


@pytest.mark.parametrize("channels", [None, 1, 3, 4])
@pytest.mark.parametrize("interpolation", ["bilinear", "antialiased"])
def test_images_of_every_kind_in_one_batch(device, stream, rng, channels, interpolation):
    images = [picture(rng, *size, channels) for size in ((61, 97), (5, 3), (130, 75))]
    placements = [ops.plan_placement(*image.shape[:2], size=(33, 47)) for image in images]
    options = {"size": (33, 47), "interpolation": interpolation, "mean": (0.1, 0.2, 0.3), "std": (1.5, 2.0, 0.5)}
    expected = ops.preprocess(images, placements, **options)
    actual = ops.preprocess([device.upload(image, stream) for image in images], placements, **options, stream=stream)
    np.testing.assert_array_equal(bits_of(actual, stream), expected.view(np.uint32))


def test_pinned_images_are_read_where_they_are(device, stream, rng):
    image = picture(rng, 61, 97)
    pinned = device.pinned(image.nbytes).reshape(image.shape)
    pinned[:] = image
    placement = ops.plan_placement(61, 97, size=(64, 96))
    before = device.counters()["bytes_to_device"]
    actual = ops.preprocess([pinned], [placement], size=(64, 96), device=device, stream=stream)
    # What is copied is what the kernel is told.
    assert device.counters()["bytes_to_device"] - before < 1024
    np.testing.assert_array_equal(actual.numpy(stream)[0], ops.letterbox(image, size=(64, 96)))


def test_into_memory_of_the_caller(device, stream, rng):
    images = [picture(rng, 61, 97), picture(rng, 30, 20)]
    there = [device.upload(image, stream) for image in images]
    placements = [ops.plan_placement(*image.shape[:2], size=(64, 96)) for image in images]
    expected = ops.preprocess(images, placements, size=(64, 96))
    out = device.empty((2, 3, 64, 96), "float32")
    assert ops.preprocess_into(out, there, placements, stream=stream) is None
    np.testing.assert_array_equal(bits_of(out, stream), expected.view(np.uint32))
    # Padding that is there already is left as it is.
    marked = device.upload(np.full((2, 3, 64, 96), 7, np.float32), stream)
    ops.preprocess_into(marked, there, placements, keep_padding=True, stream=stream)
    kept = np.full((2, 3, 64, 96), 7, np.float32)
    ops.preprocess_into(kept, images, placements, keep_padding=True)
    np.testing.assert_array_equal(marked.numpy(stream), kept)


def test_no_images(device, stream):
    assert ops.preprocess([], [], size=(4, 6), device=device, stream=stream).shape == (0, 3, 4, 6)


def test_bfloat16_is_a_dtype_there(device, stream, rng):
    image = picture(rng, 61, 97)
    actual = ops.letterbox(device.upload(image, stream), size=(64, 96), dtype="bfloat16", stream=stream)
    expected = to_bfloat16(ops.letterbox(image, size=(64, 96)))
    np.testing.assert_array_equal(actual.numpy(stream), expected)


def test_what_is_refused(device, stream, rng):
    image = device.upload(picture(rng, 61, 97), stream)
    placement = ops.plan_placement(61, 97, size=(64, 96))
    out = device.empty((1, 3, 64, 96), "float32")
    for arguments, options, told in (
        ((out, [device.empty((61, 97, 3), "float32")], [placement]), {}, r"images\[0\] has dtype float32; give uint8"),
        ((out, [device.empty((61, 97, 3), "bool")], [placement]), {}, r"images\[0\] has dtype bool"),
        ((out, [device.empty((61, 97, 2), "uint8")], [placement]), {}, r"images\[0\].*1 \(grey\), 3 or 4"),
        ((out, [device.empty((0, 97, 3), "uint8")], [placement]), {}, r"images\[0\] has shape \(0, 97, 3\)"),
        ((out, [image], [ops.plan_placement(62, 97, size=(64, 96))]), {}, "not inside its image"),
        ((out, [image, image], [placement]), {}, "images holds 2, placements 1 and out 1"),
        ((device.empty((1, 3, 64, 96), "int32"), [image], [placement]), {}, "out is int32"),
        ((device.empty((3, 64, 96), "float32"), [image], [placement]), {}, r"out is float32 \[3, 64, 96\]"),
        ((device.empty((1, 4, 64, 96), "float32"), [image], [placement]), {}, "destination|out"),
        ((device.empty((1, 3, 64, 96), "uint8"), [image], [placement]), {"divisor": 2.0}, "the output is uint8"),
        ((out, [image], ["here"]), {}, r"placements\[0\] is 'here'"),
        ((out, [image], [placement]), {"pad_value": 256}, "pad_value is 256"),
        ((out, [image], [placement]), {"interpolation": "cubic"}, 'interpolation is "cubic"'),
        ((out, [np.zeros((61, 97, 3), np.uint8)], [placement]), {}, r"images\[0\] is in memory of the host's"),
        ((np.empty((1, 3, 64, 96), np.float32), [image], [placement]), {}, "out is in memory of the host's"),
    ):
        with pytest.raises(ValueError, match=told):
            ops.preprocess_into(*arguments, **options)
    with pytest.raises(ValueError, match="image has shape"):
        ops.letterbox(device.empty((7,), "uint8"), size=(4, 4))
    for call in (lambda: ops.contrast(image, kind="stretching"), lambda: ops.grayscale(image)):
        with pytest.raises(
            InvalidArgumentError, match=r"image is on a device, and (contrast|grayscale) runs on the host"
        ):
            call()


@pytest.mark.parametrize("interpolation", ["bilinear", "antialiased"])
def test_planes_of_a_video_decoder_beside_packed_pixels(device, stream, rng, interpolation):
    buffer = rng.integers(0, 256, (90, 84), dtype=np.uint8)
    image, packed = ops.NV12.from_buffer(buffer), picture(rng, 31, 47)
    placements = [ops.plan_placement(60, 84, size=(32, 48)), ops.plan_placement(31, 47, size=(32, 48))]
    options = {"size": (32, 48), "interpolation": interpolation, "swap_channels": True}
    expected = ops.preprocess([image, packed], placements, **options)
    there = ops.NV12(device.upload(image.luma, stream), device.upload(image.chroma, stream))
    actual = ops.preprocess([there, device.upload(packed, stream)], placements, **options)
    del there
    np.testing.assert_array_equal(bits_of(actual, stream), expected.view(np.uint32))
    luma, chroma = device.upload(image.luma, stream), device.upload(image.chroma, stream)
    canvas = ops.letterbox(ops.NV12(luma, chroma), size=(32, 48), stream=stream)
    np.testing.assert_array_equal(bits_of(canvas, stream), ops.letterbox(image, size=(32, 48)).view(np.uint32))


def test_planes_that_do_not_fit(device, stream, rng):
    luma = device.upload(rng.integers(0, 256, (60, 84), dtype=np.uint8), stream)
    chroma = device.upload(rng.integers(0, 256, (30, 42, 2), dtype=np.uint8), stream)
    with pytest.raises(ValueError, match="chroma"):
        ops.letterbox(ops.NV12(luma, device.upload(np.zeros((29, 42, 2), np.uint8), stream)), size=(32, 48))
    with pytest.raises(InvalidArgumentError, match=r"chroma of images\[0\] has dtype int32"):
        ops.letterbox(ops.NV12(luma, device.empty((30, 42, 2), "int32")), size=(32, 48))
    with pytest.raises(InvalidArgumentError, match=r"chroma of images\[0\]"):
        ops.letterbox(ops.NV12(luma, np.zeros((30, 42, 2), np.uint8)), size=(32, 48))
    with pytest.raises(InvalidArgumentError, match="buffer is on a device"):
        ops.NV12.from_buffer(luma)
    with pytest.raises(ValueError, match="NV12"):
        ops.grayscale(ops.NV12(luma, chroma))
