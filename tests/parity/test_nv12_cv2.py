"""NV12 through `preprocess` against what it replaces: OpenCV's conversion, and then OpenCV or the packed path."""

import cv2
import numpy as np
import pytest

from rfkernels import ops
from rfkernels.reference import preprocess as definition

CASES = 60


def test_every_colour_equals_cv2(instruction_set):
    u, v = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8), indexing="ij")
    buffer = np.empty((768, 512), dtype=np.uint8)
    buffer[512:] = np.stack([u, v], axis=2).reshape(256, 512)
    placement = ops.plan_placement(512, 512, size=(512, 512))
    for luma in range(256):
        buffer[:512] = luma
        image = ops.NV12.from_buffer(buffer)
        expected = cv2.cvtColor(buffer, cv2.COLOR_YUV2BGR_NV12)
        actual = ops.preprocess([image], [placement], size=(512, 512), dtype="uint8")[0].transpose(1, 2, 0)
        np.testing.assert_array_equal(actual, expected)
        np.testing.assert_array_equal(definition.nv12_to_bgr(image.luma, image.chroma), expected)


def test_converted_and_resized_by_cv2(instruction_set, rng):
    for case in range(CASES):
        height, width = (2 * int(side) for side in rng.integers(1, 30 if case % 4 == 0 else 500, 2))
        size = int(rng.integers(1, 400)), int(rng.integers(1, 400))
        if case % 4 == 1:
            height, width, size = 3 * 128, 3 * 96, (128, 96)
        buffer = rng.integers(0, 256, (height * 3 // 2, width), dtype=np.uint8)
        bgr = cv2.cvtColor(buffer, cv2.COLOR_YUV2BGR_NV12)
        placement = ops.plan_placement(height, width, size=size, mode="stretch")
        actual = ops.preprocess([ops.NV12.from_buffer(buffer)], [placement], size=size, dtype="uint8")[0]
        resized = cv2.resize(bgr, size[::-1], interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(actual.transpose(1, 2, 0), resized)


@pytest.mark.parametrize("interpolation", ["bilinear", "antialiased"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float32"])
def test_the_same_as_preprocess_of_the_converted_picture(instruction_set, rng, interpolation, dtype):
    for mode in ("letterbox", "stretch", "center_crop", "shortest_side_crop"):
        for _ in range(6):
            height, width = (2 * int(side) for side in rng.integers(20, 400, 2))
            buffer = rng.integers(0, 256, (height * 3 // 2, width), dtype=np.uint8)
            bgr = cv2.cvtColor(buffer, cv2.COLOR_YUV2BGR_NV12)
            crop = ops.StaticCrop(float(rng.uniform(0, 40)), 91.0, 7.5, 88.0)
            placement = ops.plan_placement(height, width, size=(120, 120), mode=mode, static_crop=crop)
            arguments = {"size": (120, 120), "dtype": dtype, "interpolation": interpolation, "swap_channels": True}
            np.testing.assert_array_equal(
                ops.preprocess([ops.NV12.from_buffer(buffer)], [placement], **arguments).view(np.uint8),
                ops.preprocess([bgr], [placement], **arguments).view(np.uint8),
            )
