"""The antialiased resize against its definition and Pillow itself: equal bytes, on every instruction set."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from placements import draw_placement

from rfkernels import ops, reference
from rfkernels.reference import preprocess as definition

#: Shape of the image, and the size that it is resized to.
RESIZES = [
    ((1, 1), (1, 1)),
    ((1, 1), (5, 7)),
    ((1, 300), (20, 31)),
    ((300, 1), (20, 31)),
    ((1, 37), (1, 224)),
    ((37, 91), (224, 551)),
    ((32, 48), (224, 336)),
    ((2, 3), (63, 2)),
    ((96, 130), (48, 65)),  # exactly half
    ((90, 60), (30, 20)),  # exactly a third
    ((61, 47), (61, 47)),  # as it is: Pillow copies
    ((61, 47), (61, 30)),  # one pass alone
    ((61, 47), (30, 47)),
    ((91, 37), (23, 80)),  # smaller one way, larger the other
    ((37, 91), (80, 23)),
    ((480, 641), (17, 33)),
    ((3000, 5), (7, 5)),  # more rows in a window than are held
    ((2001, 4), (2, 3)),
    ((4, 3000), (3, 7)),
    ((1080, 1920), (224, 398)),
]


def random_image(rng: np.random.Generator, height: int, width: int, channels: int = 3) -> np.ndarray:
    return rng.integers(0, 256, (height, width, channels), dtype=np.uint8)


def resized_by_pillow(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Both passes by Pillow, columns before rows: asked for at once, version 13 chooses the order itself."""
    height, channels = image.shape[0], image.shape[2]
    picture = Image.fromarray(image[:, :, 0] if channels == 1 else np.ascontiguousarray(image[:, :, :3]))
    columns_resized = picture.resize((size[1], height), Image.Resampling.BILINEAR)
    result = np.asarray(columns_resized.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return np.broadcast_to(result.reshape(*size, -1), (*size, 3))


def stretched(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [height, width, 3] by the op."""
    placement = ops.plan_placement(*image.shape[:2], size=size, mode="stretch")
    planes = ops.preprocess([image], [placement], size=size, dtype="uint8", interpolation="antialiased")
    return planes[0].transpose(1, 2, 0)


def classified(image: np.ndarray, side: int) -> np.ndarray:
    """uint8 [side, side, 3] by the op: what a classification network of that side sees."""
    placement = ops.plan_placement(*image.shape[:2], size=(side, side), mode="shortest_side_crop")
    planes = ops.preprocess([image], [placement], size=(side, side), dtype="uint8", interpolation="antialiased")
    return planes[0].transpose(1, 2, 0)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("shape", "size"), RESIZES)
def test_the_op_its_definition_and_pillow_agree(instruction_set, rng, shape, size, channels):
    image = random_image(rng, *shape, channels)
    expected = resized_by_pillow(image, size)
    np.testing.assert_array_equal(definition.resize_antialiased(definition.three_channels(image), size), expected)
    np.testing.assert_array_equal(stretched(image, size), expected)


def test_black_and_white(instruction_set, rng):
    image = random_image(rng, 83, 151) // 128 * 255  # the largest sums
    for size in [(20, 31), (200, 310), (83, 151)]:
        np.testing.assert_array_equal(stretched(image, size), resized_by_pillow(image, size))
    white = np.full((301, 457, 3), 255, dtype=np.uint8)
    assert (stretched(white, (30, 41)) == 255).all()


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    channels=st.sampled_from([1, 3, 4]),
    seed=st.integers(0, 1000),
)
def test_any_size_to_any_size(instruction_set, shape, size, channels, seed):
    image = random_image(np.random.default_rng(seed), *shape, channels)
    np.testing.assert_array_equal(stretched(image, size), resized_by_pillow(image, size))


@pytest.mark.parametrize(
    ("shape", "size"), [((1, (1 << 23) - 1), (1, 3)), ((1, 5_500_000), (1, 1)), ((5_500_000, 1), (1, 1))]
)
def test_weights_that_are_hardly_above_0(instruction_set, rng, shape, size):
    # Rounded to one 2^-22nd each, weights of this many pixels add up to less than 1, or to more.
    image = random_image(rng, *shape, 1) // 32 + np.uint8(200)
    expected = resized_by_pillow(image, size)
    np.testing.assert_array_equal(stretched(image, size), expected)
    assert abs(float(expected.mean()) - float(image.mean())) > 5


@pytest.mark.parametrize("side", [1, 32, 63, 224])
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 9), (9, 1), (37, 91), (32, 48), (48, 32), (224, 224), (448, 448), (301, 225), (10, 4000)]
)
def test_the_middle_of_the_resized_image(instruction_set, rng, shape, side):
    image = random_image(rng, *shape)
    short = min(shape)
    height, width = side * shape[0] // short, side * shape[1] // short
    resized = resized_by_pillow(image, (height, width))
    top, left = round((height - side) / 2), round((width - side) / 2)
    np.testing.assert_array_equal(classified(image, side), resized[top : top + side, left : left + side])


@pytest.mark.parametrize("shape", [(1080, 1920), (1920, 1080), (1201, 1003)])
def test_pictures_as_large_as_those_of_cameras(instruction_set, rng, shape):
    image = random_image(rng, *shape)
    placement = ops.plan_placement(*shape, size=(224, 224), mode="shortest_side_crop")
    resized = resized_by_pillow(image, (placement.resized_height, placement.resized_width))
    middle = resized[-placement.top :, -placement.left :][:224, :224]
    np.testing.assert_array_equal(classified(image, 224), middle)


@settings(max_examples=400, deadline=None)
@given(height=st.integers(1, 20000), width=st.integers(1, 20000), side=st.integers(1, 800), other=st.integers(1, 800))
def test_plans_equal_the_definition(height, width, side, other):
    for size in [(side, side), (side, other)]:
        planned = ops.plan_placement(height, width, size=size, mode="shortest_side_crop")
        wanted = definition.plan_shortest_side_crop(definition.Rectangle(0, 0, width, height), *size)
        for field in ("resized_width", "resized_height", "left", "top", "scale_x", "scale_y"):
            assert getattr(planned, field) == getattr(wanted, field), field


def test_half_a_pixel_is_cut_off_as_python_rounds_it():
    plans = [ops.plan_placement(100, width, size=(100, 100), mode="shortest_side_crop") for width in (101, 103, 105)]
    assert [plan.left for plan in plans] == [0, -2, -2]  # 0.5, 1.5 and 2.5


def test_a_canvas_that_is_not_square_is_stretched_to():
    for shape in [(300, 500), (64, 96), (5, 4)]:
        planned = ops.plan_placement(*shape, size=(64, 96), mode="shortest_side_crop")
        assert planned == ops.plan_placement(*shape, size=(64, 96), mode="stretch")


def test_a_strip_whose_longer_side_would_be_too_large():
    longest = 16 * (1 << 20)
    assert ops.plan_placement(1, longest // 16, size=(16, 16), mode="shortest_side_crop").resized_width == longest
    with pytest.raises(ValueError, match=r"the resized image is 16777232 x 16 .* sides must be 1 to 2\^24 pixels"):
        ops.plan_placement(longest // 16 + 1, 1, size=(16, 16), mode="shortest_side_crop")


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (37, 91), (288, 384), (200, 133)])
def test_everything_else_is_as_without_antialiasing(instruction_set, rng, shape, channels, dtype):
    image = random_image(rng, *shape, channels)
    arguments = {"size": (96, 128), "dtype": dtype, "pad_value": 7, "swap_channels": True}
    expected = reference.letterbox(image, interpolation="antialiased", **arguments)
    actual = ops.letterbox(image, interpolation="antialiased", **arguments)
    np.testing.assert_array_equal(actual.view(np.uint8), expected.view(np.uint8))


def test_a_batch_with_static_crops_mean_and_deviation(instruction_set, rng):
    images = [random_image(rng, *shape, channels) for shape in [(37, 91), (300, 40), (9, 8)] for channels in (1, 3, 4)]
    crop = ops.StaticCrop(20, 95, 5, 77)
    placements, wanted = [], []
    for image in images:
        height, width = image.shape[:2]
        placements.append(ops.plan_placement(height, width, size=(32, 32), mode="shortest_side_crop", static_crop=crop))
        rectangle = definition.plan_static_crop(height, width, x_min=20, x_max=95, y_min=5, y_max=77)
        wanted.append(definition.plan_shortest_side_crop(rectangle, 32, 32))
    normalization = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "interpolation": "antialiased"}
    np.testing.assert_array_equal(
        ops.preprocess(images, placements, size=(32, 32), **normalization),
        definition.preprocess(images, wanted, size=(32, 32), **normalization),
    )


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
    arguments = {"size": size, "dtype": "uint8", "interpolation": "antialiased"}
    np.testing.assert_array_equal(
        ops.preprocess([image], [native], **arguments), definition.preprocess([image], [plain], **arguments)
    )


def test_views_with_any_strides(instruction_set, rng):
    whole = random_image(rng, 120, 150)
    views = [whole[:, 20:101], whole[::2], whole[:, ::2], whole[::-1], whole.transpose(1, 0, 2), whole[:, :, ::-1]]
    views.append(np.broadcast_to(whole[:1], whole.shape))
    for view in views:
        np.testing.assert_array_equal(
            stretched(view, (33, 47)), resized_by_pillow(np.ascontiguousarray(view), (33, 47))
        )


def test_padding_that_is_kept_and_an_array_of_yours(instruction_set, rng):
    images = [random_image(rng, 37, 91), random_image(rng, 300, 20, 4)]
    placements = [ops.plan_placement(*image.shape[:2], size=(33, 35)) for image in images]
    memory = np.full((4, 3, 33, 35), 99, dtype=np.float32)
    ops.preprocess_into(memory[1:3], images, placements, interpolation="antialiased")
    expected = definition.preprocess(images, placements, size=(33, 35), interpolation="antialiased")
    np.testing.assert_array_equal(memory[1:3], expected)
    assert (memory[[0, 3]] == 99).all()
    outside = definition.preprocess([image * 0 for image in images], placements, size=(33, 35)) != 0
    kept = np.full_like(expected, -1)
    ops.preprocess_into(kept, images, placements, interpolation="antialiased", keep_padding=True)
    np.testing.assert_array_equal(kept, np.where(outside, np.float32(-1), expected))


def test_an_unknown_interpolation_is_refused():
    image = np.zeros((8, 9, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match='interpolation is "lanczos"; give "bilinear" or "antialiased"'):
        ops.letterbox(image, size=(4, 4), interpolation="lanczos")


def test_an_output_that_shares_memory_with_an_image_is_refused():
    memory = np.zeros(1000, dtype=np.uint8)
    image = memory[40 : 40 + 216].reshape(8, 9, 3)
    placement = ops.plan_placement(8, 9, size=(4, 4), mode="shortest_side_crop")
    with pytest.raises(ValueError, match=r"destination overlaps images\[0\]"):
        ops.preprocess_into(memory[:48].reshape(1, 3, 4, 4), [image], [placement], interpolation="antialiased")
