"""NV12 images through `preprocess`, on every instruction set and on a device: equal bytes with the definition."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from placements import draw_placement

from rfkernels import ops
from rfkernels.device import Device, open_device
from rfkernels.device_blocks import ParameterBlock
from rfkernels.errors import InvalidArgumentError
from rfkernels.ops.preprocess_on_device import PreprocessOnDevice
from rfkernels.reference import preprocess as definition

SHAPES = [(2, 2), (2, 4), (4, 2), (2, 4000), (4000, 2), (38, 92), (96, 96), (288, 384), (480, 642), (1080, 1920)]
CANVAS = (96, 128)


def noise(rng: np.random.Generator, height: int, width: int) -> ops.NV12:
    return ops.NV12(
        rng.integers(0, 256, (height, width), dtype=np.uint8),
        rng.integers(0, 256, (height // 2, width // 2, 2), dtype=np.uint8),
    )


def test_the_definition_of_colours():
    # BT.601 by hand: black, white, what is darker than black and brighter than white, the two extremes of chroma.
    luma = np.repeat(np.array([[16, 235, 0, 255, 81, 41]], dtype=np.uint8).repeat(2, axis=1), 2, axis=0)
    chroma = np.array([[[128, 128], [128, 128], [128, 128], [128, 128], [90, 240], [240, 110]]], dtype=np.uint8)
    bgr = definition.nv12_to_bgr(luma, chroma)[0, ::2]
    np.testing.assert_array_equal(bgr, [[0] * 3, [255] * 3, [0] * 3, [255] * 3, [0, 0, 254], [255, 0, 0]])


@pytest.mark.parametrize("interpolation", ["bilinear", "antialiased"])
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_letterbox_equals_the_definition(instruction_set, rng, height, width, interpolation):
    image = noise(rng, height, width)
    placement = ops.plan_placement(height, width, size=CANVAS)
    arguments = {"size": CANVAS, "interpolation": interpolation, "swap_channels": True}
    expected = definition.preprocess([image], [placement], **arguments)[0]
    np.testing.assert_array_equal(ops.letterbox(image, **arguments), expected)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float32"])
@pytest.mark.parametrize("interpolation", ["bilinear", "antialiased"])
@pytest.mark.parametrize("swap_channels", [False, True])
def test_every_dtype(instruction_set, rng, dtype, interpolation, swap_channels):
    image = noise(rng, 62, 94)
    placement = ops.plan_placement(62, 94, size=(30, 41), mode="stretch")
    arguments = {
        "size": (30, 41),
        "dtype": dtype,
        "interpolation": interpolation,
        "swap_channels": swap_channels,
        **({} if dtype == "uint8" else {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}),
    }
    actual = ops.preprocess([image], [placement], **arguments)
    expected = definition.preprocess([image], [placement], **arguments)
    np.testing.assert_array_equal(actual.view(np.uint8), expected.view(np.uint8))


def test_every_pair_of_chroma_with_every_luma(instruction_set, rng):
    # 256 * 256 pairs, each with all of luma's 256 values somewhere: 64 pictures, not resized.
    u, v = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8), indexing="ij")
    chroma = np.stack([u, v], axis=2)
    placement = ops.plan_placement(512, 512, size=(512, 512))
    for start in range(64):
        values = (4 * start + np.arange(4, dtype=np.uint8)).reshape(2, 2)
        image = ops.NV12(np.tile(values, (256, 256)), chroma)
        actual = ops.preprocess([image], [placement], size=(512, 512), dtype="uint8")[0]
        np.testing.assert_array_equal(actual.transpose(1, 2, 0), definition.nv12_to_bgr(image.luma, image.chroma))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_placement_of_any_planes(instruction_set, data):
    height, width = 2 * data.draw(st.integers(1, 40)), 2 * data.draw(st.integers(1, 150))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    # Planes cut out of wider ones, of odd pitches and addresses.
    slack = data.draw(st.integers(0, 5))
    luma = rng.integers(0, 256, (height, width + slack), dtype=np.uint8)[:, slack // 2 :][:, :width]
    chroma = rng.integers(0, 256, (height // 2, width + 3 * slack), dtype=np.uint8)[:, slack:][:, :width]
    image = ops.NV12(luma, chroma.reshape(height // 2, width // 2, 2))
    native, plain = draw_placement(data, height, width)
    arguments = {
        "size": (data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70))),
        "dtype": "uint8",
        "interpolation": data.draw(st.sampled_from(["bilinear", "antialiased"])),
    }
    np.testing.assert_array_equal(
        ops.preprocess([image], [native], **arguments), definition.preprocess([image], [plain], **arguments)
    )


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5, 6, 9, 17])
@pytest.mark.parametrize("width", [2, 14, 34, 66])
def test_whole_scales(instruction_set, rng, scale, width):
    image = noise(rng, 4 * scale, width * scale)
    placement = ops.plan_placement(4 * scale, width * scale, size=(4, width), mode="stretch")
    arguments = {"size": (4, width), "dtype": "uint8"}
    np.testing.assert_array_equal(
        ops.preprocess([image], [placement], **arguments), definition.preprocess([image], [placement], **arguments)
    )


def test_a_batch_of_packed_and_nv12_images(instruction_set, rng):
    images = [
        noise(rng, 62, 94),
        rng.integers(0, 256, (37, 91, 3), dtype=np.uint8),
        noise(rng, 2, 2000),
        rng.integers(0, 256, (50, 60), dtype=np.uint8),
        noise(rng, 300, 20),
    ]
    shapes = [image.luma.shape if isinstance(image, ops.NV12) else image.shape[:2] for image in images]
    placements = [ops.plan_placement(*shape, size=CANVAS) for shape in shapes]
    for interpolation in ("bilinear", "antialiased"):
        arguments = {"size": CANVAS, "dtype": "float16", "interpolation": interpolation}
        np.testing.assert_array_equal(
            ops.preprocess(images, placements, **arguments), definition.preprocess(images, placements, **arguments)
        )


def test_planes_with_any_strides(instruction_set, rng):
    whole = noise(rng, 120, 160)
    luma, chroma = whole.luma, whole.chroma
    views = {
        "rows apart": ops.NV12(luma[:, 20:100], chroma[:, 10:50]),
        "every second row": ops.NV12(luma[::2], chroma[::2]),
        "every second column": ops.NV12(luma[:, ::2], chroma[:, ::2]),
        "upside down": ops.NV12(luma[::-1], chroma[::-1]),
        "v before u": ops.NV12(luma, chroma[:, :, ::-1]),
        "one row repeated": ops.NV12(np.broadcast_to(luma[:1], luma.shape), np.broadcast_to(chroma[:1], chroma.shape)),
    }
    for name, view in views.items():
        placement = ops.plan_placement(*view.luma.shape, size=CANVAS)
        plain = ops.NV12(np.ascontiguousarray(view.luma), np.ascontiguousarray(view.chroma))
        expected = definition.preprocess([plain], [placement], size=CANVAS)[0]
        np.testing.assert_array_equal(ops.letterbox(view, size=CANVAS), expected, name)


def test_a_buffer_is_two_planes_that_share_its_memory(rng):
    buffer = rng.integers(0, 256, (60 * 3 // 2, 50), dtype=np.uint8)
    image = ops.NV12.from_buffer(buffer)
    assert image.luma.shape == (60, 50)
    assert image.chroma.shape == (30, 25, 2)
    assert np.shares_memory(image.luma, buffer)
    assert np.shares_memory(image.chroma, buffer)
    np.testing.assert_array_equal(image.luma, buffer[:60])
    np.testing.assert_array_equal(image.chroma.reshape(30, 50), buffer[60:])
    # A decoder's rows are often longer than the picture.
    wide = np.full((60 * 3 // 2, 64), 7, dtype=np.uint8)
    wide[:, :50] = buffer
    same = ops.NV12.from_buffer(wide[:, :50])
    assert np.shares_memory(same.chroma, wide)
    np.testing.assert_array_equal(ops.letterbox(same, size=CANVAS), ops.letterbox(image, size=CANVAS))


@pytest.mark.parametrize(
    "buffer",
    [
        np.zeros((61 * 3 // 2, 50), dtype=np.uint8),
        np.zeros((90, 49), dtype=np.uint8),
        np.zeros((90, 50, 1), dtype=np.uint8),
        np.zeros((90, 50), dtype=np.int8),
        np.zeros(90, dtype=np.uint8),
    ],
)
def test_buffers_that_are_none(buffer):
    with pytest.raises(ValueError, match=r"buffer is u?int8 of shape .*; give uint8 \[height \* 3 / 2, width\]"):
        ops.NV12.from_buffer(buffer)


def test_a_value_that_stays_as_it_is():
    image = ops.NV12.from_buffer(np.zeros((3, 2), dtype=np.uint8))
    with pytest.raises(AttributeError):
        image.luma = None


LUMA = np.zeros((8, 10), dtype=np.uint8)
CHROMA = np.zeros((4, 5, 2), dtype=np.uint8)


@pytest.mark.parametrize(
    ("luma", "chroma", "message"),
    [
        (LUMA[:7], CHROMA, r"images.0..luma has shape \(7, 10\); height and width must be even"),
        (LUMA[:, :9], CHROMA, r"images.0..luma has shape \(8, 9\); height and width must be even"),
        (
            LUMA,
            CHROMA[:3],
            r"images.0..chroma has shape \(3, 5, 2\) and its luma \(8, 10\); give chroma of \(4, 5, 2\)",
        ),
        (LUMA, CHROMA[:, :, 0], r"images.0..chroma has shape \(4, 5\)"),
        (LUMA, CHROMA.reshape(4, 10), r"images.0..chroma has shape \(4, 10\)"),
        (LUMA[..., None], CHROMA, r"images.0..luma has shape \(8, 10, 1\); give \[height, width\]"),
        (LUMA[:0], CHROMA[:0], r"luma has shape \(0, 10\); sides must be 2 to 2\^24"),
        (LUMA.astype(np.float32), CHROMA, "images.0..luma is of dtype float32; give an array of uint8"),
        (LUMA, CHROMA.astype(np.int8), "images.0..chroma is of dtype int8; give an array of uint8"),
        ("nothing", CHROMA, r"luma of an NV12 image is a str; give an array, uint8 \[height, width\]"),
        (LUMA, None, r"chroma of an NV12 image is a NoneType; give an array, uint8 \[height / 2, width / 2, 2\]"),
    ],
)
def test_wrong_planes_are_refused(luma, chroma, message):
    placement = ops.plan_placement(8, 10, size=(4, 4))
    with pytest.raises(ValueError, match=message):
        ops.preprocess([ops.NV12(luma, chroma)], [placement], size=(4, 4))


def test_out_may_not_share_memory_with_either_plane():
    memory = np.zeros(4096, dtype=np.uint8)
    out = memory[:48].reshape(1, 3, 4, 4)
    placement = ops.plan_placement(8, 10, size=(4, 4))
    for image in (
        ops.NV12(memory[40:120].reshape(8, 10), CHROMA),
        ops.NV12(LUMA, memory[47:87].reshape(4, 5, 2)),
    ):
        with pytest.raises(ValueError, match=r"destination overlaps images\[0\]"):
            ops.preprocess_into(out, [image], [placement])


def test_only_preprocess_takes_it():
    image = ops.NV12(LUMA, CHROMA)
    for op in (ops.grayscale, lambda given: ops.contrast(given, kind="stretching")):
        with pytest.raises(ValueError, match="an image is a NV12; give an array"):
            op(image)


def described(device: Device, images: list[object], placements: list[ops.Placement], **arguments: object) -> np.ndarray:
    """Drawn on the device, one launch."""
    stream = device.stream()
    out = device.empty((len(images), 3, *CANVAS), "float16", purpose="canvas")
    parameters = ParameterBlock(device, 1 << 18)
    interpolation = arguments.pop("interpolation")
    drawing = PreprocessOnDevice(out, parameters, interpolation=interpolation, descriptor_bytes=1 << 17)
    drawing.describe(images, placements, **arguments)
    parameters.upload(stream)
    drawing.enqueue(stream)
    return out.numpy(stream)


@pytest.mark.emulated
@pytest.mark.parametrize("interpolation", ["bilinear", "antialiased"])
def test_on_a_device(rng, interpolation):
    device = open_device("emulated")
    stream = device.stream()
    pictures = [noise(rng, 62, 94), noise(rng, 124, 20)]
    on_device = [device.upload(plane, stream) for plane in (pictures[0].luma, pictures[0].chroma)]
    # The second one lies in pinned memory of the host, its rows apart.
    pinned = device.pinned(124 * 3 // 2 * 33).reshape(-1, 33)[:, 1:21]
    pinned[:124] = pictures[1].luma
    pinned[124:] = pictures[1].chroma.reshape(62, 20)
    planes = ops.NV12.from_buffer(pinned)
    packed = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    packed_on_device = device.upload(packed, stream)
    stream.synchronize()
    views = [
        ops.NV12(on_device[0].view(), on_device[1].view()),
        packed_on_device.view(),
        ops.NV12(*((plane.ctypes.data, "uint8", plane.shape, plane.strides) for plane in (planes.luma, planes.chroma))),
    ]
    placements = [
        ops.plan_placement(62, 94, size=CANVAS, static_crop=ops.StaticCrop(4, 93, 9, 88)),
        ops.plan_placement(40, 50, size=CANVAS),
        ops.plan_placement(124, 20, size=CANVAS),
    ]
    arguments = {"swap_channels": True, "interpolation": interpolation}
    actual = described(device, views, placements, **arguments)
    expected = definition.preprocess(
        [pictures[0], packed, pictures[1]], placements, size=CANVAS, dtype="float16", **arguments
    )
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.emulated
@pytest.mark.parametrize(
    ("luma", "chroma", "message"),
    [
        ((16, "uint8", (7, 10), (10, 1)), (16, "uint8", (4, 5, 2), (10, 2, 1)), "luma has shape .7, 10.; height and"),
        ((16, "uint8", (8, 10), (10, 1)), (16, "uint8", (4, 4, 2), (10, 2, 1)), r"chroma has shape \(4, 4, 2\)"),
        ((16, "float16", (8, 10), (20, 2)), (16, "uint8", (4, 5, 2), (10, 2, 1)), "luma has strides .* dtype float16"),
        (
            (16, "uint8", (8, 10), (10, 1)),
            (16, "uint8", (4, 5, 2), (20, 4, 1)),
            "chroma has strides .* rows are packed",
        ),
        ((16, "uint8", (8, 10), (9, 1)), (16, "uint8", (4, 5, 2), (10, 2, 1)), "luma has strides"),
        (LUMA, CHROMA, "luma of an NV12 image is a ndarray; give a view"),
    ],
)
def test_wrong_planes_on_a_device_are_refused(luma, chroma, message):
    placement = ops.plan_placement(8, 10, size=CANVAS)
    with pytest.raises((ValueError, InvalidArgumentError), match=message):
        described(open_device("emulated"), [ops.NV12(luma, chroma)], [placement], interpolation="bilinear")


def test_the_definition_needs_only_the_names_of_planes(rng):
    image = noise(rng, 8, 10)
    placement = ops.plan_placement(8, 10, size=(4, 4))
    other = SimpleNamespace(luma=image.luma, chroma=image.chroma)
    np.testing.assert_array_equal(
        definition.preprocess([other], [placement], size=(4, 4)), ops.preprocess([image], [placement], size=(4, 4))
    )
