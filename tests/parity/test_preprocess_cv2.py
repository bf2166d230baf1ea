"""The ops against the libraries whose numbers they give: OpenCV, and scikit-image as inference-models calls it."""

import cv2
import numpy as np
import pytest
from skimage import exposure

from rfkernels import ops

CASES = 80


def random_shape(rng: np.random.Generator, case: int) -> tuple[int, int]:
    """Mostly photo-like, some strips, some exact multiples of the network's side."""
    if case % 8 == 0:
        return int(rng.integers(1, 5)), int(rng.integers(1, 5000))
    if case % 8 == 1:
        return int(rng.integers(1, 5000)), int(rng.integers(1, 5))
    if case % 8 == 2:
        return 128 * int(rng.integers(1, 6)), 128 * int(rng.integers(1, 6))
    return int(rng.integers(1, 1300)), int(rng.integers(1, 1300))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_stretch_equals_cv2_resize(instruction_set, rng, channels):
    for case in range(CASES):
        height, width = random_shape(rng, case)
        size = int(rng.integers(1, 900)), int(rng.integers(1, 900))
        image = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
        resized = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR).reshape(*size, channels)
        placement = ops.plan_placement(height, width, size=size, mode="stretch")
        actual = ops.preprocess([image], [placement], size=size, dtype="uint8")[0].transpose(1, 2, 0)
        np.testing.assert_array_equal(actual, np.broadcast_to(resized[:, :, :3], (*size, 3)))


def test_sixteen_thousand_pixels_wide(instruction_set, rng):
    for shape in [(16384, 300), (300, 16384), (16384, 1), (1, 16384)]:
        image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        for size in [(640, 640), (33, 5000)]:
            placement = ops.plan_placement(*shape, size=size, mode="stretch")
            actual = ops.preprocess([image], [placement], size=size, dtype="uint8")[0].transpose(1, 2, 0)
            np.testing.assert_array_equal(actual, cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR))


def test_grayscale_equals_cv2(rng):
    for channels, order, code in [
        (3, "bgr", cv2.COLOR_BGR2GRAY),
        (3, "rgb", cv2.COLOR_RGB2GRAY),
        (4, "bgr", cv2.COLOR_BGRA2GRAY),
    ]:
        image = rng.integers(0, 256, (700, 801, channels), dtype=np.uint8)
        expected = np.repeat(cv2.cvtColor(image, code)[:, :, None], 3, axis=2)
        np.testing.assert_array_equal(ops.grayscale(image, color_order=order), expected)


def contrast_by_skimage(image: np.ndarray, kind: str) -> np.ndarray:
    if kind == "stretching":
        return exposure.rescale_intensity(image, in_range=(np.percentile(image, 2), np.percentile(image, 98)))
    unit = image.astype(np.float32) / 255
    if kind == "histogram_equalization":
        return (exposure.equalize_hist(unit) * 255).astype(np.uint8)
    return (exposure.equalize_adapthist(unit, clip_limit=0.03) * 255).astype(np.uint8)


@pytest.mark.filterwarnings("ignore:This might be a color image")
@pytest.mark.parametrize("kind", ["stretching", "histogram_equalization", "adaptive_equalization"])
def test_contrast_equals_skimage(rng, kind):
    for case in range(60):
        shape = (*rng.integers(1, 160, 2), 3)
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        if case % 4 == 1:
            image = cv2.GaussianBlur(image, (0, 0), 4.0)
        elif case % 4 == 2:
            image = np.where(rng.random((*shape[:2], 1)) < 0.985, np.uint8(rng.integers(256)), image)
        elif case % 4 == 3:
            image = image // 7 + np.uint8(90)
        expected = contrast_by_skimage(image, kind)
        np.testing.assert_array_equal(ops.contrast(image, kind=kind), expected, f"{shape}")
