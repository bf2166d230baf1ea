"""Connected components and cleaned logits against OpenCV and scikit-image, which number components each in its way."""

import cv2
import numpy as np
import pytest
from skimage import measure

from rfkernels import ops

SIZES = [(1, 1), (1, 200), (200, 1), (37, 91), (255, 257), (256, 256), (721, 1280), (1080, 1920)]
DENSITIES = [0.002, 0.2, 0.41, 0.5, 0.59, 0.95]


def blobs(rng, height, width):
    """Smooth values with specks, as networks give them; about half of them are above 0."""
    noise = rng.standard_normal((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 9).reshape(height, width)
    return smooth / max(float(smooth.std()), 1e-6) + 0.4 * noise


def masks(rng, height, width):
    yield from (rng.random((height, width)) < density for density in DENSITIES)
    yield blobs(rng, height, width) > 0


def named_by_first_pixels(numbers):
    """A peer's numbers of components, 0 in the background, as ours."""
    _, firsts, numbers_from_0 = np.unique(numbers, return_index=True, return_inverse=True)
    return np.where(numbers == 0, 0, 1 + firsts[numbers_from_0].reshape(numbers.shape))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_opencv(height, width, rng, figure):
    count = 0
    for mask in masks(rng, height, width):
        actual = ops.connected_components(mask)
        found, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
        np.testing.assert_array_equal(actual.labels, named_by_first_pixels(numbers))
        areas = stats[:, cv2.CC_STAT_AREA]
        areas[0] = 0  # the background
        np.testing.assert_array_equal(actual.areas, areas[numbers])
        count += found - 1
    figure(f"connected components, {height} x {width}: {count} components, 0 differ from OpenCV {cv2.__version__}")


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_scikit_image(height, width, rng):
    for mask in masks(rng, height, width):
        actual = ops.connected_components(mask)
        numbers = measure.label(mask, connectivity=2)
        np.testing.assert_array_equal(actual.labels, named_by_first_pixels(numbers))


def cleaned_by_opencv(logits, max_hole_area, max_sprinkle_area, threshold):
    """What SAM2's `postprocess_masks` does before it enlarges, with OpenCV's components."""
    cleaned = logits
    for side, max_area, value in (
        (logits <= threshold, max_hole_area, threshold + 10),
        (logits > threshold, max_sprinkle_area, threshold - 10),
    ):
        _, numbers, stats, _ = cv2.connectedComponentsWithStats(side.astype(np.uint8), connectivity=8)
        areas = stats[:, cv2.CC_STAT_AREA][numbers]
        cleaned = np.where((numbers > 0) & (areas <= max_area), np.float32(value), cleaned)
    return cleaned


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_cleaning_with_opencv(height, width, threshold, rng):
    logits = np.stack([blobs(rng, height, width).astype(np.float32) for _ in range(3)])
    for max_hole_area, max_sprinkle_area in ((0, 0), (8, 0), (0, 8), (1, 100), (100, 40)):
        actual = ops.clean_mask_logits(
            logits, max_hole_area=max_hole_area, max_sprinkle_area=max_sprinkle_area, threshold=threshold
        )
        for ours, given in zip(actual, logits, strict=True):
            expected = cleaned_by_opencv(given, max_hole_area, max_sprinkle_area, threshold)
            np.testing.assert_array_equal(ours, expected)
