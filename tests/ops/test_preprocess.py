"""The fused kernel against its definition in NumPy: equal bytes, on every instruction set."""

import copy
import pickle
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from placements import draw_placement

from rfkernels import ops, reference
from rfkernels.images import Image
from rfkernels.reference import preprocess as definition

AWKWARD_SHAPES = [
    (1, 1),
    (1, 2),
    (2, 1),
    (1, 4000),
    (4000, 1),
    (2, 16384),
    (16384, 3),
    (37, 91),
    (91, 37),
    (96, 96),
    (192, 192),
    (288, 288),
    (289, 287),
    (480, 641),
    (641, 480),
    (1080, 1920),
]
CANVAS = (96, 128)


def random_image(rng: np.random.Generator, height: int, width: int, channels: int = 3) -> np.ndarray:
    return rng.integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("rounding", ["truncate", "half_to_even"])
@pytest.mark.parametrize(("height", "width"), AWKWARD_SHAPES)
def test_letterbox_equals_the_definition(instruction_set, rng, height, width, rounding):
    image = random_image(rng, height, width)
    expected = reference.letterbox(image, size=CANVAS, rounding=rounding, swap_channels=True)
    actual = ops.letterbox(image, size=CANVAS, rounding=rounding, swap_channels=True)
    np.testing.assert_array_equal(actual, expected)
    assert actual.dtype == np.float32


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (37, 91), (288, 384), (200, 133)])
def test_all_channel_counts_and_dtypes(instruction_set, rng, shape, channels, dtype):
    image = random_image(rng, *shape, channels)
    expected = reference.letterbox(image, size=CANVAS, dtype=dtype, pad_value=7)
    actual = ops.letterbox(image, size=CANVAS, dtype=dtype, pad_value=7)
    assert actual.dtype == (np.uint16 if dtype == "bfloat16" else np.dtype(dtype))
    np.testing.assert_array_equal(actual.view(np.uint8), expected.view(np.uint8))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("scale", [1, 3, 5])
def test_whole_scales_pick_pixels(instruction_set, rng, scale, channels):
    # No pixel is a mixture then. The image ends with its last column, and so does the memory with its last row.
    for width in (*range(1, 36), 47, 48, 49, 63, 64, 65, 100):
        image = random_image(rng, scale * 5, scale * width, channels)
        placement = ops.plan_placement(scale * 5, scale * width, size=(5, width), mode="stretch")
        actual = ops.preprocess([image], [placement], size=(5, width), dtype="uint8")
        expected = image[scale // 2 :: scale, scale // 2 :: scale, :3].repeat(3 if channels == 1 else 1, axis=2)
        np.testing.assert_array_equal(actual[0].transpose(1, 2, 0), expected)


@pytest.mark.parametrize("ratio", [2.9, 2.99, 3.0, 3.1])
def test_pixels_picked_at_uneven_steps(instruction_set, rng, ratio):
    # Past 2^23 a float32 has no fraction: no pixel is a mixture, and the steps from one to the next differ.
    width = 2**24 - 5
    image = random_image(rng, 1, width)
    resized_width = int(width / ratio)
    placement = ops.Placement(
        crop=ops.Rectangle(x=0, y=0, width=width, height=1),
        resized_width=resized_width,
        resized_height=1,
        left=-(resized_width - 60),
        top=0,
        scale_x=1.0,
        scale_y=1.0,
    )
    actual = ops.preprocess([image], [placement], size=(1, 60), dtype="uint8")
    step = 1.0 / (resized_width / width)
    positions = ((np.arange(resized_width - 60, resized_width) + 0.5) * step - 0.5).astype(np.float32)
    picked = np.minimum(np.floor(positions).astype(np.int64), width - 1)
    np.testing.assert_array_equal(actual[0, :, 0].T, image[0, picked])


def test_a_grey_image_may_have_two_axes(rng):
    image = random_image(rng, 50, 41, 1)
    np.testing.assert_array_equal(ops.letterbox(image[:, :, 0], size=CANVAS), ops.letterbox(image, size=CANVAS))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize(
    "normalization",
    [
        {"divisor": 255.0},
        {"divisor": 1.0},
        {"divisor": 254.9999, "std": (2.0, 2.0, 2.0)},
        {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
        {"divisor": 127.5, "mean": (1.0, 1.0, 1.0)},
        {"scale": (1 / 255, 0.017, 3000.0), "offset": (-0.5, 0.0, 1e-7)},
        {"scale": (1e-7, 1e-9, -1e-6)},
        {"scale": (257 / 256, -259 / 256, 3.398e38)},  # in bfloat16: ties to both sides, and what rounds to infinity
    ],
)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (6, 45), (2, 128)])
def test_normalization_is_rounded_like_float32(instruction_set, height, width, normalization, dtype):
    image = np.arange(height * width).astype(np.uint8).repeat(3)  # every byte in every channel, not resized
    image = image.reshape(height, width, 3)
    placement = ops.plan_placement(height, width, size=(height, width + 4), mode="center_crop")
    arguments = {"size": (height, width + 4), "dtype": dtype, "swap_channels": True, **normalization}
    with np.errstate(over="ignore"):
        expected = definition.preprocess([image], [placement], **arguments)
    actual = ops.preprocess([image], [placement], **arguments)
    np.testing.assert_array_equal(actual, expected)
    assert np.unique(actual).size > 200 or dtype != "float32"


@pytest.mark.parametrize("divisor", [3.0, 7.0, 255.0, 1023.0, 0.1, 0.3, 254.99998, 1e-30, 1e30, 12345.678, -255.0])
def test_any_divisor_gives_the_true_quotient(instruction_set, divisor):
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 256, 3)
    placement = ops.plan_placement(1, 256, size=(1, 256), mode="stretch")
    actual = ops.preprocess([image], [placement], size=(1, 256), divisor=divisor)
    expected = np.arange(256, dtype=np.float32) / np.float32(divisor)
    np.testing.assert_array_equal(actual[0, 0, 0].view(np.uint32), expected.view(np.uint32))  # the sign of 0 too


@pytest.mark.parametrize("mode", ["letterbox", "letterbox_reflect_edges", "stretch", "center_crop", "fit_longer_edge"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1), (37, 91), (97, 129), (333, 250)])
def test_every_mode_with_a_static_crop(instruction_set, rng, height, width, mode):
    image = random_image(rng, height, width)
    percentages = (0, 100, 0, 100) if min(height, width) < 4 else (29, 88.5, 10, 57)
    crop = definition.plan_static_crop(
        height, width, **dict(zip(("x_min", "x_max", "y_min", "y_max"), percentages, strict=True))
    )
    plan = {
        "stretch": definition.plan_stretch,
        "center_crop": definition.plan_center_crop,
        "fit_longer_edge": definition.plan_fit_longer_edge,
    }.get(mode)
    wanted = plan(crop, *CANVAS) if plan else definition.plan_letterbox(crop, *CANVAS, "truncate")
    planned = ops.plan_placement(height, width, size=CANVAS, mode=mode, static_crop=ops.StaticCrop(*percentages))
    assert_same_placement(planned, wanted)
    size = (wanted.resized_height, wanted.resized_width) if mode == "fit_longer_edge" else CANVAS
    np.testing.assert_array_equal(
        ops.preprocess([image], [planned], size=size, pad_value=0),
        definition.preprocess([image], [wanted], size=size, pad_value=0),
    )


def test_the_middle_of_an_odd_rest_is_cut_as_v2_cuts_it():
    placement = ops.plan_placement(101, 77, size=(64, 64), mode="center_crop")
    assert (placement.top, placement.left) == (-18, -6)  # (101 - 64) // 2 and (77 - 64) // 2 are not seen
    smaller = ops.plan_placement(33, 29, size=(64, 64), mode="center_crop")
    assert (smaller.top, smaller.left) == (15, 17)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_are_swapped_whatever_else_an_image_has(instruction_set, rng, channels):
    image = random_image(rng, 37, 91, channels)
    plain = ops.letterbox(image, size=CANVAS)
    swapped = ops.letterbox(image, size=CANVAS, swap_channels=True)
    np.testing.assert_array_equal(swapped, plain[::-1])
    assert np.array_equal(swapped, plain) == (channels == 1)


@pytest.mark.parametrize("crop", [(-1, 0, 3, 3), (0, -1, 3, 3), (7, 0, 3, 3), (0, 6, 3, 3), (0, 0, 0, 3), (0, 0, 3, 9)])
def test_a_placement_of_another_image_is_refused(crop):
    rectangle = ops.Rectangle(**dict(zip(("x", "y", "width", "height"), crop, strict=True)))
    placement = ops.Placement(
        crop=rectangle, resized_width=4, resized_height=4, left=0, top=0, scale_x=1.0, scale_y=1.0
    )
    with pytest.raises(ValueError, match=r"placements\[0\] has the crop .* not inside its image"):
        ops.preprocess([IMAGE], [placement], size=(4, 4))


def assert_same_placement(actual, expected):
    for field in ("resized_width", "resized_height", "left", "top", "scale_x", "scale_y"):
        assert getattr(actual, field) == getattr(expected, field), field
    for field in ("x", "y", "width", "height"):
        assert getattr(actual.crop, field) == getattr(expected.crop, field), field


@settings(max_examples=400, deadline=None)
@given(
    height=st.integers(1, 20000),
    width=st.integers(1, 20000),
    canvas_height=st.integers(1, 2000),
    canvas_width=st.integers(1, 2000),
    rounding=st.sampled_from(["truncate", "half_to_even"]),
)
def test_letterbox_plans_equal_the_definition(height, width, canvas_height, canvas_width, rounding):
    crop = definition.Rectangle(0, 0, width, height)
    assert_same_placement(
        ops.plan_placement(height, width, size=(canvas_height, canvas_width), rounding=rounding),
        definition.plan_letterbox(crop, canvas_height, canvas_width, rounding),
    )


def test_truncation_keeps_the_order_of_operations():
    # int(77 * (640 / 77)) is 639 in double precision, and V2's placement has it so.
    placement = ops.plan_placement(50, 77, size=(640, 640))
    assert (placement.resized_width, placement.left) == (639, 0)
    assert repr(placement).startswith("Placement(crop=Rectangle(x=0, y=0, width=77, height=50), resized_width=639")


def test_half_to_even_is_python_s_round():
    placement = ops.plan_placement(721, 1280, size=(640, 640), rounding="half_to_even")
    assert (placement.resized_height, placement.top) == (360, 140)  # 721 / 2 = 360.5; away from zero it were 361
    placement = ops.plan_placement(723, 1280, size=(640, 640), rounding="half_to_even")
    assert (placement.resized_height, placement.top) == (362, 139)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_placement_of_any_view(instruction_set, data):
    height, width = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    channels = data.draw(st.sampled_from([1, 3, 4]))
    seed, slack = data.draw(st.integers(0, 1000)), data.draw(st.integers(0, 9))
    wide = random_image(np.random.default_rng(seed), height, width + slack, channels)
    image = wide[:, slack // 2 : slack // 2 + width]
    native, plain = draw_placement(data, height, width)
    size = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70))
    # Of what is far outside the canvas the definition shows nothing, and nor does the kernel.
    np.testing.assert_array_equal(
        ops.preprocess([image], [native], size=size, dtype="uint8"),
        definition.preprocess([image], [plain], size=size, dtype="uint8"),
    )


@pytest.mark.parametrize(("shape", "size"), [((3, 8000), (3, 8001)), ((8000, 3), (8001, 3)), ((9000, 2), (8999, 2))])
def test_a_fraction_that_rounds_to_a_whole_pixel(instruction_set, rng, shape, size):
    # A weight of 2048 of 2048 on the second pixel: the first is then not read, and the second is the only one.
    image = random_image(rng, *shape)
    placement = ops.plan_placement(*shape, size=size, mode="stretch")
    np.testing.assert_array_equal(
        ops.preprocess([image], [placement], size=size, dtype="uint8"),
        definition.preprocess([image], [placement], size=size, dtype="uint8"),
    )


def test_a_batch_of_different_sizes_equals_one_by_one(instruction_set, rng):
    images = [random_image(rng, *shape, channels) for shape in AWKWARD_SHAPES[:12] for channels in (1, 3, 4)]
    placements = [ops.plan_placement(*image.shape[:2], size=CANVAS) for image in images]
    batch = ops.preprocess(images, placements, size=CANVAS)
    for result, image in zip(batch, images, strict=True):
        np.testing.assert_array_equal(result, reference.letterbox(image, size=CANVAS))


def test_no_images_give_an_empty_batch():
    assert ops.preprocess([], [], size=CANVAS).shape == (0, 3, *CANVAS)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_views_with_any_strides(instruction_set, rng, channels):
    whole = random_image(rng, 120, 150, channels)
    views = {
        "rows apart": whole[:, 20:101],
        "every second row": whole[::2],
        "every second column": whole[:, ::2],
        "mirrored": whole[:, ::-1],
        "upside down": whole[::-1],
        "transposed": whole.transpose(1, 0, 2),
        "channels reversed": whole[:, :, ::-1],
        "one row repeated": np.broadcast_to(whole[:1], whole.shape),
        "read-only": whole.view(),
    }
    views["read-only"].flags.writeable = False
    for name, view in views.items():
        np.testing.assert_array_equal(
            ops.letterbox(view, size=CANVAS), reference.letterbox(np.ascontiguousarray(view), size=CANVAS), name
        )


class SharedThroughDlpack:
    """What an array of another library looks like."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **keywords):
        return self._array.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


def test_arrays_of_other_libraries(rng):
    image = random_image(rng, 50, 60)
    interface = type("Foreign", (), {"__array_interface__": image.__array_interface__})()
    expected = reference.letterbox(image, size=CANVAS)
    np.testing.assert_array_equal(ops.letterbox(SharedThroughDlpack(image), size=CANVAS), expected)
    np.testing.assert_array_equal(ops.letterbox(interface, size=CANVAS), expected)


def test_arrays_that_were_pickled(rng):
    image = random_image(rng, 50, 60)
    received = pickle.loads(pickle.dumps(image))
    assert received.dtype is not image.dtype  # which is why dtypes are compared by value
    np.testing.assert_array_equal(ops.letterbox(received, size=CANVAS), reference.letterbox(image, size=CANVAS))
    np.testing.assert_array_equal(ops.grayscale(received), ops.grayscale(image))
    out = pickle.loads(pickle.dumps(np.empty((1, 3, *CANVAS), dtype=np.float16)))
    placement = ops.plan_placement(50, 60, size=CANVAS)
    ops.preprocess_into(out, [image], [placement])
    np.testing.assert_array_equal(out, ops.preprocess([image], [placement], size=CANVAS, dtype="float16"))


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float32"])
def test_into_writes_the_whole_of_your_array_and_nothing_else(instruction_set, rng, dtype):
    images = [random_image(rng, 37, 91), random_image(rng, 300, 20, 4)]
    placements = [ops.plan_placement(*image.shape[:2], size=(33, 35)) for image in images]
    memory = np.full((4, 3, 33, 35), 99, dtype="uint16" if dtype == "bfloat16" else dtype)
    assert ops.preprocess_into(memory[1:3], images, placements) is None
    np.testing.assert_array_equal(memory[1:3], definition.preprocess(images, placements, size=(33, 35), dtype=dtype))
    assert (memory[[0, 3]] == 99).all()


def test_threads_share_nothing(rng):
    images = [random_image(rng, 200 + n, 301) for n in range(4)]
    expected = [reference.letterbox(image, size=CANVAS) for image in images]
    wrong = []

    def work(n):
        for _ in range(20):
            if not np.array_equal(ops.letterbox(images[n], size=CANVAS), expected[n]):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


IMAGE = np.zeros((8, 9, 3), dtype=np.uint8)
PLACEMENT = ops.plan_placement(8, 9, size=(4, 4))
OUT = np.zeros((1, 3, 4, 4), dtype=np.float32)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (IMAGE.astype(np.float32), "images.0. has dtype float32; give uint8"),
        (np.zeros((8, 9, 2), dtype=np.uint8), r"shape \(8, 9, 2\); give 1 \(grey\), 3 or 4"),
        (np.zeros((8, 9, 3, 1), dtype=np.uint8), r"shape \(8, 9, 3, 1\); give \[height, width\]"),
        (np.zeros(8, dtype=np.uint8), r"shape \(8,\); give \[height, width\]"),
        (np.zeros((0, 9, 3), dtype=np.uint8), "sides must be 1 to"),
        (np.zeros((7, 9, 3), dtype=np.uint8), "crop x=0, y=0, width=9, height=8, which is not inside"),
    ],
)
def test_wrong_images_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        ops.preprocess([image], [PLACEMENT], size=(4, 4))


@pytest.mark.parametrize("size", [640, "64", b"ab", (64.0, 64.0), (64, "a"), (10**30, 3), (1, 2, 3), None, (0, 4)])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match="size"):
        ops.letterbox(IMAGE, size=size)


def test_a_size_may_be_an_array():
    assert ops.letterbox(IMAGE, size=np.array([4, 5])).shape == (3, 4, 5)


def test_an_unknown_dtype():
    with pytest.raises(ValueError, match="dtype is 'nonsense'"):
        ops.letterbox(IMAGE, size=(4, 4), dtype="nonsense")


@pytest.mark.parametrize("dtype", ["uint16", np.uint16, np.dtype("uint16")])
def test_bfloat16_is_asked_for_by_its_name(dtype):
    with pytest.raises(ValueError, match='dtype is uint16; give "bfloat16" for its bits'):
        ops.letterbox(IMAGE, size=(4, 4), dtype=dtype)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (OUT[0], r"out has shape \(3, 4, 4\)"),
        (OUT[:, :2], r"destination has shape \[1, 2, 4, 4\]; it must be \[1, 3, height, width\]"),
        (np.zeros((2, 3, 4, 4), dtype=np.float32), r"must be \[1, 3, height, width\]"),
        (OUT.astype(np.float64), "dtype is float64; give uint8, float16, float32, or uint16 for bfloat16"),
        (OUT.astype(">f4"), "dtype is >f4; give uint8, float16, float32, or uint16 for bfloat16"),
        (np.zeros((1, 3, 4, 8), dtype=np.float32)[..., ::2], "out is not C-contiguous"),
        (np.zeros((1, 3, 0, 4), dtype=np.float32), "destination is 0 x 4"),
    ],
)
def test_wrong_outputs_are_refused(out, message):
    with pytest.raises(ValueError, match=message):
        ops.preprocess_into(out, [IMAGE], [PLACEMENT])


def test_an_image_that_cannot_be_copied():
    everywhere = np.broadcast_to(np.uint8(7), (1 << 24, 1 << 24, 3))  # one byte that would be copied to 768 TiB
    for op in (ops.grayscale, lambda image: ops.letterbox(image, size=CANVAS)):
        with pytest.raises(MemoryError):
            op(everywhere)


def test_a_read_only_output_is_refused():
    out = OUT.copy()
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        ops.preprocess_into(out, [IMAGE], [PLACEMENT])


def test_an_output_that_shares_memory_with_an_image_is_refused():
    memory = np.zeros(1000, dtype=np.uint8)
    out = memory[:48].reshape(1, 3, 4, 4)
    image = memory[40 : 40 + 216].reshape(8, 9, 3)
    with pytest.raises(ValueError, match=r"destination overlaps images\[0\]"):
        ops.preprocess_into(out, [image], [PLACEMENT])
    ops.preprocess_into(out, [memory[48 : 48 + 216].reshape(8, 9, 3)], [PLACEMENT])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pad_value": 256}, "pad_value is 256; give 0 to 255"),
        ({"pad_value": -1}, "pad_value is -1; give 0 to 255"),
        ({"divisor": 0.0}, "divisor is 0"),
        ({"divisor": float("nan")}, "divisor is nan"),
        ({"std": (1.0, 0.0, 1.0)}, "std holds 0"),
        ({"mean": (1.0, float("inf"), 1.0)}, "mean holds inf"),
        ({"mean": (1.0, 1.0)}, "mean holds 2 numbers"),
        ({"scale": (1.0,) * 4}, "scale holds 4 numbers"),
        ({"scale": 1.0, "divisor": 255.0}, "one kind of normalization"),
        ({"dtype": "uint8", "divisor": 255.0}, "output is uint8"),
        ({"dtype": "int32"}, "dtype is int32"),
        ({"size": (0, 4)}, r"size is \(0, 4\)"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ops.preprocess([IMAGE], [PLACEMENT], **{"size": (4, 4), **arguments})


def test_placements_and_rectangles_are_values():
    placements = [ops.plan_placement(480, 641, size=(320, 320), mode=mode) for mode in ("letterbox", "stretch")]
    for value in [*placements, placements[0].crop]:
        same = copy.deepcopy(pickle.loads(pickle.dumps(value)))
        assert same is not value
        assert same == value
        assert hash(same) == hash(value)
        assert value not in (None, (0, 0, 641, 480), "value")
    assert placements[0] != placements[1]
    assert placements[0].crop == placements[1].crop


@pytest.mark.parametrize("scale", [np.float32(0.5), np.array(0.5), 0.5])
def test_one_number_for_all_channels_may_be_numpy_s(scale):
    np.testing.assert_array_equal(
        ops.letterbox(IMAGE, size=(32, 32), scale=scale), ops.letterbox(IMAGE, size=(32, 32), scale=[0.5] * 3)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"placements": [None]}, r"placements\[0\] is None; give a Placement"),
        ({"pad_value": 1.5}, "pad_value is 1.5; give a whole number"),
        ({"pad_value": 2**40}, "pad_value is 1099511627776; give 0 to 255"),
    ],
)
def test_arguments_of_other_types_are_named(changes, message):
    arguments = {"placements": [ops.plan_placement(*IMAGE.shape[:2], size=(32, 32))], "size": (32, 32)} | changes
    with pytest.raises(ValueError, match=message):
        ops.preprocess([IMAGE], **arguments)
    with pytest.raises(ValueError, match=r"height is 1\.0; give a whole number"):
        ops.plan_placement(1.0, 2, size=(32, 32))


def test_one_placement_for_each_image():
    with pytest.raises(ValueError, match="images holds 1 and placements 2"):
        ops.preprocess([IMAGE], [PLACEMENT, PLACEMENT], size=(4, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "fill"}, "mode is 'fill'"),
        ({"rounding": "up"}, 'rounding is "up"'),
        ({"size": (0, 5)}, "size is 0 x 5"),
        ({"size": (1 << 25, 5)}, "sides must be 1 to"),
        ({"height": 0}, "the image is 0 x 9"),
        (
            {"width": (1 << 63) - 1, "static_crop": ops.StaticCrop(50, 100, 0, 100)},
            "the image is 8 x 9223372036854775807 .* sides must be 1 to",
        ),
        ({"static_crop": ops.StaticCrop(0, 101, 0, 100)}, "x_max of the static crop is 101"),
        ({"static_crop": ops.StaticCrop(0, 100, float("nan"), 100)}, "y_min of the static crop is nan"),
        ({"static_crop": ops.StaticCrop(50, 50, 0, 100)}, "the static crop leaves nothing of an image of 8 x 9"),
    ],
)
def test_wrong_plans_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ops.plan_placement(**{"height": 8, "width": 9, "size": (4, 4), **arguments})


@pytest.mark.parametrize("color_order", ["bgr", "rgb"])
def test_grayscale_equals_the_definition(rng, color_order):
    for shape in [(37, 91, 3), (1, 1, 3), (20, 31, 4), (20, 31, 1), (9, 8)]:
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        np.testing.assert_array_equal(
            ops.grayscale(image, color_order=color_order), reference.grayscale(image, color_order=color_order)
        )


CONTRAST_KINDS = ["stretching", "histogram_equalization", "adaptive_equalization"]


def pictures(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    noise = rng.integers(0, 256, shape, dtype=np.uint8)
    ramp = np.linspace(20, 200, noise.size).reshape(shape).astype(np.uint8)
    return {
        "noise": noise,
        "dull": noise // 5 + 100,
        "constant": np.full(shape, 77, dtype=np.uint8),
        "black": np.zeros(shape, dtype=np.uint8),
        "almost constant": np.where(rng.random(shape) < 0.99, np.uint8(77), noise),
        "ramp": ramp,
        "two values": (noise & 1) * np.uint8(200) + np.uint8(3),
    }


@pytest.mark.parametrize("kind", CONTRAST_KINDS)
@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (1, 2, 3), (3, 1, 3), (7, 9, 3), (8, 8, 4), (15, 17, 3), (40, 100, 3), (37, 91, 1), (33, 64)]
)
def test_contrast_equals_the_definition(rng, kind, shape):
    for name, image in pictures(rng, shape).items():
        np.testing.assert_array_equal(ops.contrast(image, kind=kind), reference.contrast(image, kind=kind), name)


def test_adaptive_equalization_of_regions_with_more_pixels_than_bins(rng):
    for name, image in pictures(rng, (330, 410, 3)).items():
        smooth = np.sort(image.reshape(-1)).reshape(image.shape) if name == "noise" else image
        expected = reference.contrast(smooth, kind="adaptive_equalization")
        np.testing.assert_array_equal(ops.contrast(smooth, kind="adaptive_equalization"), expected, name)


def test_contrast_and_grayscale_take_views(rng):
    image = random_image(rng, 50, 80)[::2, 5:66]
    packed = np.ascontiguousarray(image)
    np.testing.assert_array_equal(ops.grayscale(image), ops.grayscale(packed))
    for kind in CONTRAST_KINDS:
        np.testing.assert_array_equal(ops.contrast(image, kind=kind), ops.contrast(packed, kind=kind))


def test_wrong_contrast_and_grayscale_arguments_are_refused():
    with pytest.raises(ValueError, match='kind is "sharpen"'):
        ops.contrast(IMAGE, kind="sharpen")
    with pytest.raises(ValueError, match='color_order is "gbr"'):
        ops.grayscale(IMAGE, color_order="gbr")
    with pytest.raises(ValueError, match="image has dtype float32"):
        ops.grayscale(IMAGE.astype(np.float32))
    with pytest.raises(ValueError, match="sides must be 1 to"):
        ops.contrast(IMAGE[:0], kind="stretching")
    with pytest.raises(ValueError, match="sides must be 1 to"):
        ops.grayscale(np.zeros((0, 1 << 62), dtype=np.uint8))


@pytest.mark.parametrize("image", ["street.jpg", b"bytes", Image(np.zeros((4, 4, 3), np.uint8), "bgr"), None])
def test_what_is_no_array_is_named(image):
    for call in (lambda: ops.letterbox(image, size=(8, 8)), lambda: ops.grayscale(image)):
        with pytest.raises(ValueError, match=f"an image is a {type(image).__name__}; give an array, uint8"):
            call()


def test_one_array_of_several_images_is_a_list_of_them(rng):
    batch = rng.integers(0, 256, (2, 31, 47, 3), dtype=np.uint8)
    placements = [ops.plan_placement(31, 47, size=(32, 32))] * 2
    expected = ops.preprocess(list(batch), placements, size=(32, 32))
    np.testing.assert_array_equal(ops.preprocess(batch, placements, size=(32, 32)), expected)
    with pytest.raises(ValueError, match="images is one ndarray; give a list of"):
        ops.preprocess(batch[0], placements[:1], size=(32, 32))
