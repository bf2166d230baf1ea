"""The preprocess ops give the bytes of OpenCV, and the network inputs of inference-models and ultralytics, without a
difference."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch
from inference_models.models.common.roboflow.model_packages import ImagePreProcessing, NetworkInputDefinition
from inference_models.models.common.roboflow.pre_processing import pre_process_network_input
from pictures import photograph
from PIL import Image
from PIL import __version__ as PILLOW_VERSION
from ultralytics.data.augment import LetterBox, classify_transforms

from rfkernels import ops

# (height, width): one pixel, one row, one column, strips, exactly the network's size, exactly twice and three times it,
# odd, one more or less, and 77, where 77 * (640 / 77) is a hair below 640 in float64.
AWKWARD_SHAPES = (
    (1, 1), (1, 640), (640, 1), (1, 2), (2, 1), (1, 4000), (4000, 1), (2, 2), (3, 5), (640, 640), (1280, 1280), (1280,
    640), (1920, 1920), (1279, 1281), (639, 640), (641, 640), (480, 641), (721, 1281), (1080, 1920), (361, 719), (51,
    77), (77, 77), (303, 200), (3000, 7),
)  # fmt: skip
SIZES = ((640, 640), (320, 416), (96, 64))
RANDOM_SHAPES = 200


def shapes(rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """The awkward shapes, then random ones, small and large equally likely."""
    yield from AWKWARD_SHAPES
    for height, width in np.exp(rng.uniform(0, np.log(2200), (RANDOM_SHAPES, 2))).astype(int):
        yield max(int(height), 1), max(int(width), 1)


def noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Pixels of no pattern, in rows that are not contiguous."""
    return rng.integers(0, 256, (height, width + 3, 3), dtype=np.uint8)[:, 1 : width + 1]


def letterbox_of_opencv(image: np.ndarray, size: tuple[int, int], rounding: str, pad_value: int) -> np.ndarray:
    """cv2.resize and a border, of the sizes that inference-models ("truncate") or ultralytics ("half_to_even") have."""
    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    if rounding == "truncate":
        new_width, new_height = max(int(width * scale), 1), max(int(height * scale), 1)
        left, top = int((size[1] - new_width) / 2), int((size[0] - new_height) / 2)
    else:
        new_width, new_height = max(round(width * scale), 1), max(round(height * scale), 1)
        left, top = round((size[1] - new_width) / 2 - 0.1), round((size[0] - new_height) / 2 - 0.1)
    resized = cv2.resize(np.ascontiguousarray(image), (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    bottom, right = size[0] - new_height - top, size[1] - new_width - left
    return cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(pad_value,) * 3)


@pytest.mark.parametrize("rounding", ["truncate", "half_to_even"])
@pytest.mark.parametrize("size", SIZES)
def test_letterbox_equals_opencv(instruction_set, size, rounding, rng, figure):
    compared = 0
    for height, width in shapes(rng):
        image = noise(rng, height, width)
        expected = letterbox_of_opencv(image, size, rounding, pad_value=114)
        actual = ops.letterbox(image, size=size, rounding=rounding, pad_value=114, dtype="uint8")
        np.testing.assert_array_equal(actual, expected.transpose(2, 0, 1), err_msg=f"{width}x{height} to {size}")
        as_float = ops.letterbox(image, size=size, rounding=rounding, pad_value=114, swap_channels=True)
        np.testing.assert_array_equal(
            as_float, expected[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        )
        compared += 1
    figure(
        f"letterbox {size[1]}x{size[0]} {rounding}: {compared} shapes, 0 bytes differ "
        f"from cv2.resize (OpenCV {cv2.__version__})"
    )


def peer_definition(
    mode: str, size: tuple[int, int], pad_value: int = 127, color_mode: str = "rgb"
) -> NetworkInputDefinition:
    return NetworkInputDefinition(
        training_input_size={"height": size[0], "width": size[1]},
        dynamic_spatial_size_supported=False,
        color_mode=color_mode,
        resize_mode=mode,
        padding_value=pad_value,
        input_channels=3,
        scaling_factor=255,
    )


def peer_input(image: np.ndarray, definition: NetworkInputDefinition, preprocessing: dict | None = None):
    """Network input float32 [3, h, w] of inference-models, and where it says the image lies."""
    tensor, (placement,) = pre_process_network_input(
        images=image,
        image_pre_processing=ImagePreProcessing.model_validate(preprocessing or {}),
        network_input=definition,
        target_device=torch.device("cpu"),
    )
    return tensor[0].numpy(), placement


def peer_can(mode: str, size: tuple[int, int], height: int, width: int) -> bool:
    """inference-models fails where a side of the resized image is rounded to 0; rfkernels gives it one pixel."""
    scale = min(size[0] / height, size[1] / width)
    if mode == "fit-longer-edge":
        return min(round(height * scale), round(width * scale)) >= 1
    return mode in ("stretch", "center-crop") or min(int(height * scale), int(width * scale)) >= 1


@pytest.mark.parametrize("mode", ["letterbox", "letterbox-reflect-edges", "stretch", "center-crop", "fit-longer-edge"])
def test_network_input_equals_that_of_inference_models(mode, rng, figure):
    compared = 0
    for index, (height, width) in enumerate(shapes(rng)):
        size = SIZES[index % len(SIZES)]
        if not peer_can(mode, size, height, width):
            continue
        image = noise(rng, height, width)
        expected, peer_placement = peer_input(image, peer_definition(mode, size))
        placement = ops.plan_placement(height, width, size=size, mode=mode.replace("-", "_"))
        pad_value = 0 if mode == "center-crop" else 127  # The peer's centre crop ignores its padding value.
        canvas = expected.shape[1:]
        actual = ops.preprocess([image], [placement], size=canvas, swap_channels=True, pad_value=pad_value)[0]
        np.testing.assert_array_equal(actual, expected, err_msg=f"{width}x{height} to {size}")
        assert (placement.left, placement.top) == (peer_placement.pad_left, peer_placement.pad_top)
        assert (placement.scale_x, placement.scale_y) == (peer_placement.scale_width, peer_placement.scale_height)
        compared += 1
    assert compared >= 200
    figure(f"network input {mode}: {compared} shapes, 0 values and 0 placements differ from inference-models")


def test_network_input_equals_that_of_ultralytics(rng, figure):
    peer = LetterBox((640, 640), auto=False, scaleup=True)
    compared = 0
    for height, width in shapes(rng):
        image = noise(rng, height, width)
        expected = peer(image=np.ascontiguousarray(image))
        actual = ops.letterbox(image, size=(640, 640), rounding="half_to_even", pad_value=114, dtype="uint8")
        np.testing.assert_array_equal(actual, expected.transpose(2, 0, 1), err_msg=f"{width}x{height}")
        compared += 1
    figure(f"letterbox half_to_even: {compared} shapes, 0 bytes differ from ultralytics' LetterBox")


@pytest.mark.parametrize("size", [(224, 224), (64, 64), (96, 160)])
def test_classification_input_equals_that_of_ultralytics(size, rng, figure):
    """torchvision's Resize, CenterCrop, ToTensor and Normalize of a Pillow image. Every value is equal: a byte divided
    by 255 in float32 has one right rounding, and mean 0 and deviation 1 change nothing."""
    peer = classify_transforms(size)
    compared = 0
    for height, width in shapes(rng):
        if max(height, width) > 8 * min(height, width):  # the peer resizes all of it, to strips of gigabytes
            continue
        image = noise(rng, height, width)
        expected = peer(Image.fromarray(np.ascontiguousarray(image[:, :, ::-1]))).numpy()
        placement = ops.plan_placement(height, width, size=size, mode="shortest_side_crop")
        actual = ops.preprocess([image], [placement], size=size, swap_channels=True, interpolation="antialiased")[0]
        np.testing.assert_array_equal(actual, expected, err_msg=f"{width}x{height} to {size}")
        compared += 1
    assert compared >= 90
    figure(
        f"classification input {size[1]}x{size[0]}: {compared} shapes, 0 values differ from ultralytics' transforms "
        f"(Pillow {PILLOW_VERSION})"
    )


def test_static_crop_equals_that_of_inference_models(rng, figure):
    compared = 0
    for height, width in shapes(rng):
        x_min, y_min = (int(value) for value in rng.integers(0, 60, 2))
        x_max, y_max = (int(value) for value in rng.integers(61, 101, 2))
        columns = int(x_max / 100 * width) - int(x_min / 100 * width)
        rows = int(y_max / 100 * height) - int(y_min / 100 * height)
        if columns < 1 or rows < 1 or not peer_can("letterbox", (320, 416), rows, columns):
            continue
        image = noise(rng, height, width)
        crop = {"enabled": True, "x_min": x_min, "x_max": x_max, "y_min": y_min, "y_max": y_max}
        expected, peer_placement = peer_input(image, peer_definition("letterbox", (320, 416)), {"static-crop": crop})
        placement = ops.plan_placement(
            height,
            width,
            size=(320, 416),
            static_crop=ops.StaticCrop(x_min=x_min, x_max=x_max, y_min=y_min, y_max=y_max),
        )
        actual = ops.preprocess([image], [placement], size=(320, 416), swap_channels=True, pad_value=127)[0]
        np.testing.assert_array_equal(actual, expected, err_msg=f"{width}x{height} cropped by {crop}")
        offset = peer_placement.static_crop_offset
        assert tuple(getattr(placement.crop, name) for name in ("x", "y", "width", "height")) == tuple(offset)
        compared += 1
    assert compared >= 150
    figure(f"static crop: {compared} shapes, 0 values differ from inference-models")


def unresized(image: np.ndarray, preprocessing: dict) -> np.ndarray:
    """What grayscale and contrast of inference-models make of an image: stretched to the size that it has."""
    definition = peer_definition("stretch", image.shape[:2], color_mode="bgr")
    tensor, _ = peer_input(image, definition.model_copy(update={"scaling_factor": None}), preprocessing)
    return tensor.transpose(1, 2, 0)


def test_grayscale_equals_that_of_inference_models(figure):
    levels = np.arange(0, 256, 5)
    colors = (
        np.stack(np.meshgrid(np.arange(256), np.arange(256), levels, indexing="ij"), -1)
        .reshape(256, -1, 3)
        .astype(np.uint8)
    )
    np.testing.assert_array_equal(ops.grayscale(colors), unresized(colors, {"grayscale": {"enabled": True}}))
    figure(f"grayscale: {colors.size // 3} colours, 0 bytes differ from inference-models")


@pytest.mark.parametrize(
    ("kind", "peer_name"),
    [
        ("stretching", "Contrast Stretching"),
        ("histogram_equalization", "Histogram Equalization"),
        ("adaptive_equalization", "Adaptive Equalization"),
    ],
)
def test_contrast_equals_that_of_inference_models(kind, peer_name, rng, figure):
    astronaut, coffee = photograph("skimage/astronaut.png"), photograph("skimage/coffee.png")
    images = {
        "photograph": astronaut,
        "dark photograph": astronaut[:201, :333] // 4 + 10,
        "grey photograph": ops.grayscale(coffee),
        "noise": noise(rng, 73, 91),
        "constant": np.full((9, 7, 3), 77, np.uint8),
        "one pixel": noise(rng, 1, 1),
        "one row": noise(rng, 1, 57),
        "black and white": np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8),
    }
    for name, image in images.items():
        expected = unresized(image, {"contrast": {"enabled": True, "type": peer_name}})
        np.testing.assert_array_equal(ops.contrast(image, kind=kind), expected, err_msg=name)
    figure(f"contrast {kind}: {len(images)} images, 0 bytes differ from inference-models")
