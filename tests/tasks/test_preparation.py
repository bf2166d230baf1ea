"""Images into the network's input: each preprocessing step, in its order, against the definitions."""

from __future__ import annotations

import numpy as np
import pytest

from rfkernels.errors import InputImageLoadError
from rfkernels.images import Image
from rfkernels.model_metadata import ModelMetadata, Preprocessing, Source
from rfkernels.reference import preprocess as definition
from rfkernels.reference.contrast_enhancement import contrast as contrast_definition
from rfkernels.tasks.convention import ULTRALYTICS, V2
from rfkernels.tasks.preparation import Preparation

SIZE = (64, 96)


def preparation(image_size=SIZE, **steps):
    metadata = ModelMetadata(
        task="object-detection",
        family="yolov8",
        scale="n",
        class_names=("thing",),
        image_size=image_size,
        stride=32,
        batch=1,
        output_format="raw_heads",
        source=Source("weights.pt", "0" * 64),
        preprocessing=Preprocessing(**steps),
    )
    return Preparation(metadata)


def written(prepared, images, convention=V2):
    destination = np.full((len(images), 3, *SIZE), np.nan, np.float32)
    placements = prepared.write(images, destination, convention)
    return destination, placements


@pytest.fixture
def bgr(rng):
    return rng.integers(0, 256, (101, 77, 3), dtype=np.uint8)


@pytest.mark.parametrize("convention", [V2, ULTRALYTICS])
def test_letterbox_rounds_as_the_convention_says(bgr, convention):
    destination, _ = written(preparation(), [Image(bgr, "bgr")], convention)
    expected = definition.letterbox(bgr, size=SIZE, rounding=convention.size_rounding, swap_channels=True)
    np.testing.assert_array_equal(destination[0], expected)


def test_both_orders_of_channels_in_one_batch(bgr):
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    images = [Image(bgr, "bgr"), Image(rgb, "rgb"), Image(rgb, "rgb"), Image(bgr, "bgr")]
    destination, placements = written(preparation(), images)
    assert len(placements) == 4
    for other in destination[1:]:
        np.testing.assert_array_equal(other, destination[0])


def test_a_bgr_network_gets_bgr(bgr):
    destination, _ = written(preparation(color_order="bgr"), [Image(bgr, "bgr")])
    np.testing.assert_array_equal(destination[0], definition.letterbox(bgr, size=SIZE))


def test_crop_then_grayscale_then_contrast_then_resize(bgr):
    steps = {"static_crop": (10, 90, 25, 75), "grayscale": True, "contrast": "stretching", "resize_mode": "stretch"}
    destination, (placement,) = written(preparation(**steps), [Image(bgr, "bgr")])
    cropped = bgr[25:75, 7:69]
    assert (placement.crop.x, placement.crop.y, placement.crop.width, placement.crop.height) == (7, 25, 62, 50)
    enhanced = contrast_definition(definition.grayscale(cropped), kind="stretching")
    whole = definition.Rectangle(0, 0, 62, 50)
    expected = definition.preprocess([enhanced], [definition.plan_stretch(whole, *SIZE)], size=SIZE, swap_channels=True)
    np.testing.assert_array_equal(destination, expected)


def test_steps_can_be_switched_off(bgr):
    plain, _ = written(preparation(), [Image(bgr, "bgr")])
    everything = preparation(static_crop=(10, 90, 25, 75), grayscale=True, contrast="stretching")
    switched_off = everything.without(static_crop=True, grayscale=True, contrast=True)
    np.testing.assert_array_equal(written(switched_off, [Image(bgr, "bgr")])[0], plain)
    only_gray = everything.without(static_crop=True, grayscale=False, contrast=True)
    gray = definition.letterbox(definition.grayscale(bgr), size=SIZE)
    np.testing.assert_array_equal(written(only_gray, [Image(bgr, "bgr")])[0][0], gray)
    assert everything.without(static_crop=False, grayscale=False, contrast=False) is everything


def test_mean_and_deviation(bgr):
    steps = {"divisor": 255.0, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "pad_value": 0}
    destination, (placement,) = written(preparation(**steps), [Image(bgr, "bgr")])
    expected = definition.preprocess(
        [bgr], [placement], size=SIZE, swap_channels=True, pad_value=0, mean=steps["mean"], std=steps["std"]
    )
    np.testing.assert_array_equal(destination, expected)


def test_a_centre_crop_is_black_around_a_small_image(rng):
    small = rng.integers(1, 256, (10, 20, 3), dtype=np.uint8)
    destination, (placement,) = written(preparation(resize_mode="center_crop", pad_value=114), [Image(small, "bgr")])
    expected = definition.preprocess([small], [placement], size=SIZE, swap_channels=True, pad_value=0)
    np.testing.assert_array_equal(destination, expected)
    assert destination[0, 0, 0, 0] == 0


@pytest.mark.parametrize("convention", [V2, ULTRALYTICS])
@pytest.mark.parametrize("size", [(64, 64), SIZE])
def test_classification_sees_what_pillow_makes_of_an_image(bgr, convention, size):
    destination = np.full((1, 3, *size), np.nan, np.float32)
    prepared = preparation(size, resize_mode="shortest_side_crop", static_crop=(10, 90, 25, 75))
    prepared.write([Image(bgr, "bgr")], destination, convention)
    planned = definition.plan_shortest_side_crop(definition.Rectangle(7, 25, 62, 50), *size)
    expected = definition.preprocess([bgr], [planned], size=size, interpolation="antialiased", swap_channels=True)
    np.testing.assert_array_equal(destination, expected)


def test_grayscale_knows_which_channel_is_red(bgr):
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    destination, _ = written(preparation(grayscale=True), [Image(bgr, "bgr"), Image(rgb, "rgb")])
    np.testing.assert_array_equal(destination[0], destination[1])
    np.testing.assert_array_equal(destination[0], definition.letterbox(definition.grayscale(bgr), size=SIZE))


# Where padding may be taken for drawn that is not: each second image is drawn after the first, and as if alone.
SUCCESSORS = {
    "another size at the same corner": ((64, 96), (63, 96), {}),
    "another divisor": ((40, 96), (40, 96), {"divisor": 128.0}),
    "another mean": ((40, 96), (40, 96), {"mean": (0.5, 0.5, 0.5)}),
    "another deviation": ((40, 96), (40, 96), {"std": (0.5, 0.5, 0.5)}),
    "another padding": ((40, 96), (40, 96), {"pad_value": 0}),
}


@pytest.mark.parametrize("name", SUCCESSORS)
def test_padding_of_one_image_is_not_taken_for_that_of_another(name, rng):
    first_size, second_size, steps = SUCCESSORS[name]
    first, second = (Image(rng.integers(0, 256, (*s, 3), dtype=np.uint8), "bgr") for s in (first_size, second_size))
    destination, drawn = np.full((1, 3, *SIZE), np.nan, np.float32), {}
    preparation().write([first], destination, V2, drawn)
    preparation(**steps).write([second], destination, V2, drawn)
    np.testing.assert_array_equal(destination, written(preparation(**steps), [second])[0])


def test_padding_is_noted_for_each_place_of_a_batch(rng):
    wide, high = (Image(rng.integers(0, 256, (*size, 3), dtype=np.uint8), "bgr") for size in ((30, 96), (64, 20)))
    destination, drawn = np.full((2, 3, *SIZE), np.nan, np.float32), {}
    for images in ([wide, high], [wide, wide], [high, wide], [high, high]):
        preparation().write(images, destination, V2, drawn)
        np.testing.assert_array_equal(destination, written(preparation(), images)[0])


def test_nothing_is_noted_of_what_failed(rng):
    image = Image(rng.integers(0, 256, (30, 96, 3), dtype=np.uint8), "bgr")
    destination, drawn = np.full((1, 3, *SIZE), np.nan, np.float32), {}
    preparation().write([image], destination, V2, drawn)
    assert list(drawn) == [0]
    destination.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        preparation().write([image], destination, V2, drawn)
    assert drawn == {}


def test_an_image_that_the_models_crop_leaves_nothing_of_is_refused():
    prepared = preparation(static_crop=(40.0, 60.0, 0.0, 100.0))
    thin = Image(np.zeros((5, 1, 3), np.uint8), "bgr")
    with pytest.raises(InputImageLoadError, match=r"Could not load input image.*preprocessing does not fit it"):
        prepared.write([thin], np.zeros((1, 3, *SIZE), np.float32), V2)


def test_padding_is_drawn_again_only_where_it_changes(rng):
    sizes = [(101, 77), (101, 77), (40, 200), (101, 77), (202, 154)]
    images = [Image(rng.integers(0, 256, (*size, 3), dtype=np.uint8), "bgr") for size in sizes]
    prepared, drawn = preparation(), {}
    destination = np.full((1, 3, *SIZE), np.nan, np.float32)
    for image in images:
        prepared.write([image], destination, V2, drawn)
        np.testing.assert_array_equal(destination[0], definition.letterbox(image.pixels, size=SIZE, swap_channels=True))
    # Whoever finds the note of another padding draws its own.
    black = preparation(pad_value=0)
    black.write([images[-1]], destination, V2, drawn)
    assert destination[0, 0, 0, 0] == 0
    # And it is really left alone: a mark in it survives.
    destination[0, 0, 0, 0] = -1
    black.write([images[-1]], destination, V2, drawn)
    assert destination[0, 0, 0, 0] == -1
