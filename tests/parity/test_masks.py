"""Masks against those who define them: inference-models, ultralytics, OpenCV and pycocotools, on the same values."""

import cv2
import numpy as np
import pytest
import torch
from inference_models.entities import ImageDimensions
from inference_models.models.common.roboflow.model_packages import StaticCropOffset
from inference_models.models.common.roboflow.post_processing import (
    align_instance_segmentation_results,
    crop_masks_to_boxes,
    preprocess_segmentation_masks,
)
from pycocotools import mask as coco_mask
from ultralytics.utils import ops as ultralytics_ops

from rfkernels import ops

# (height, width) of the image, of the network's input.
SIZES = [
    ((1080, 1920), (640, 640)),
    ((480, 640), (640, 640)),
    ((721, 1280), (640, 640)),
    ((333, 517), (320, 416)),
    ((100, 100), (640, 640)),
    ((50, 91), (640, 640)),
    ((160, 160), (640, 640)),
    ((1300, 400), (640, 384)),
    ((480, 320), (320, 320)),
]
COUNT = 20


def objects(placement, network_size, rng):
    """Smooth prototypes, coefficients, and boxes around places of the picture."""
    height, width = network_size[0] // 4, network_size[1] // 4
    noise = rng.standard_normal((32, height, width)).astype(np.float32)
    prototypes = np.stack([8 * cv2.GaussianBlur(plane, (0, 0), 4) for plane in noise])
    coefficients = rng.standard_normal((COUNT, 32)).astype(np.float32)
    centres = np.stack(
        [
            placement.left + rng.uniform(0, placement.resized_width, COUNT),
            placement.top + rng.uniform(0, placement.resized_height, COUNT),
        ],
        axis=1,
    )
    half = rng.uniform(10, 200, (COUNT, 2))
    boxes = np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)
    return prototypes, coefficients, boxes


def grid_for(placement, image_size, network_size, convention, factor=1.0):
    return ops.plan_mask_grid(
        placement,
        image_size=image_size,
        network_size=network_size,
        prototype_size=(network_size[0] // 4, network_size[1] // 4),
        convention=convention,
        resolution_factor=factor,
    )


def v2_masks(values, image_size, network_size, placement, *, factor=1.0, crop=None):
    prototypes, coefficients, boxes = (torch.from_numpy(array) for array in values)
    probabilities = torch.sigmoid(preprocess_segmentation_masks(prototypes, coefficients))
    cut = crop_masks_to_boxes(boxes, probabilities)
    right = network_size[1] - placement.left - placement.resized_width
    bottom = network_size[0] - placement.top - placement.resized_height
    crop = crop or StaticCropOffset(offset_x=0, offset_y=0, crop_width=image_size[1], crop_height=image_size[0])
    _, masks = align_instance_segmentation_results(
        boxes.clone(),
        cut,
        (placement.left, placement.top, right, bottom),
        placement.scale_x,
        placement.scale_y,
        ImageDimensions(height=image_size[0], width=image_size[1]),
        ImageDimensions(height=crop.crop_height, width=crop.crop_width),
        ImageDimensions(height=network_size[0], width=network_size[1]),
        crop,
        binarization_threshold=0.5,
        masks_resolution_factor=factor,
    )
    return masks.numpy()


def assert_nearly_all_equal(actual, expected, what):
    """So few pixels differ that only ties can be the reason; how many is printed."""
    assert actual.shape == expected.shape
    differ = int((actual != expected).sum())
    print(f"{what}: {differ} of {int(expected.sum())} mask pixels differ")
    assert expected.any()
    assert differ <= 2 + 1e-5 * expected.sum()


@pytest.mark.parametrize(("image_size", "network_size"), SIZES)
@pytest.mark.parametrize("factor", [1.0, 0.5, 0.0])
def test_v2(image_size, network_size, factor, rng):
    placement = ops.plan_placement(*image_size, size=network_size)
    values = objects(placement, network_size, rng)
    expected = v2_masks(values, image_size, network_size, placement, factor=factor)
    grid = grid_for(placement, image_size, network_size, "v2", factor)
    actual = ops.masks_to_dense(values[0][None], *values[1:], grid)
    assert_nearly_all_equal(actual, expected, f"v2 {image_size} {factor}")


@pytest.mark.parametrize("mode", ["letterbox", "stretch", "center_crop"])
@pytest.mark.parametrize("factor", [1.0, 0.4])
def test_v2_with_a_static_crop(mode, factor, rng):
    image_size, network_size = (481, 641), (320, 416)
    crop = ops.StaticCrop(x_min=12, x_max=81, y_min=7, y_max=90)
    placement = ops.plan_placement(*image_size, size=network_size, mode=mode, static_crop=crop)
    values = objects(placement, network_size, rng)
    offset = StaticCropOffset(
        offset_x=placement.crop.x,
        offset_y=placement.crop.y,
        crop_width=placement.crop.width,
        crop_height=placement.crop.height,
    )
    expected = v2_masks(values, image_size, network_size, placement, factor=factor, crop=offset)
    grid = grid_for(placement, image_size, network_size, "v2", factor)
    assert_nearly_all_equal(ops.masks_to_dense(values[0][None], *values[1:], grid), expected, f"{mode} {factor}")


@pytest.mark.parametrize(("image_size", "network_size"), SIZES)
def test_ultralytics(image_size, network_size, rng):
    placement = ops.plan_placement(*image_size, size=network_size, rounding="half_to_even")
    values = objects(placement, network_size, rng)
    prototypes, coefficients, boxes = (torch.from_numpy(array) for array in values)
    expected = ultralytics_ops.process_mask(prototypes, coefficients, boxes, network_size, upsample=True)
    grid = grid_for(placement, image_size, network_size, "ultralytics")
    actual = ops.masks_to_dense(values[0][None], *values[1:], grid)
    assert_nearly_all_equal(actual, expected.numpy().astype(bool), f"process_mask {image_size}")
    scaled = ultralytics_ops.scale_boxes(network_size, boxes.clone(), image_size)
    expected = ultralytics_ops.process_mask_native(prototypes, coefficients, scaled, image_size)
    grid = grid_for(placement, image_size, network_size, "ultralytics_native")
    actual = ops.masks_to_dense(values[0][None], *values[1:], grid)
    assert_nearly_all_equal(actual, expected.numpy().astype(bool), f"process_mask_native {image_size}")


def random_masks():
    """600 masks: noise of all densities, blobs, and the special ones."""
    rng = np.random.default_rng(3)
    for _ in range(400):
        yield rng.random(tuple(rng.integers(1, 70, 2))) < rng.choice([0.05, 0.3, 0.5, 0.7, 0.95])
    for _ in range(150):
        noise = rng.standard_normal(tuple(rng.integers(30, 300, 2))).astype(np.float32)
        blobs = cv2.GaussianBlur(noise, (0, 0), float(rng.uniform(1, 12)))
        yield blobs > blobs.std() * rng.uniform(-1, 1)
    for height, width in [(1, 1), (1, 64), (64, 1), (64, 64), (65, 63), (480, 640)]:
        empty = np.zeros((height, width), bool)
        one, border = empty.copy(), ~empty
        one[height // 2, width // 3] = True
        border[1:-1, 1:-1] = False
        yield from (empty, ~empty, one, ~one, border, ~border, np.indices((height, width)).sum(axis=0) % 2 == 0)


def test_outlines_equal_those_of_opencv():
    for mask in random_masks():
        contours = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
        actual = ops.find_contours(mask)
        assert len(actual) == len(contours)
        for ours, theirs in zip(actual, contours, strict=True):
            np.testing.assert_array_equal(ours, theirs.reshape(-1, 2))
        if contours:
            best = max(contours, key=len)  # the first on a tie
            (ours,) = ops.find_contours(mask, contours="most_points")
            np.testing.assert_array_equal(ours, best.reshape(-1, 2))


def test_run_lengths_equal_those_of_pycocotools():
    count = 0
    for mask in random_masks():
        expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert ops.encode_rle(mask) == expected["counts"].decode()
        np.testing.assert_array_equal(ops.decode_rle(expected["counts"], expected["size"]), mask)
        count += 1
    print(f"{count} masks")
    assert count >= 300
