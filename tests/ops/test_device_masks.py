"""Masks, connected components and cleaned logits of arrays on a device, in one call: what the host gives."""

from __future__ import annotations

import numpy as np
import pytest
from test_masks import CONVENTIONS, objects, plan

from rfkernels import ops
from rfkernels.device import DeviceArray
from rfkernels.errors import InvalidArgumentError
from rfkernels.reference.bfloat16 import to_bfloat16

pytestmark = [pytest.mark.emulated, pytest.mark.usefixtures("watched")]

SIZES = [((48, 64), (64, 64)), ((97, 61), (96, 64)), ((9, 13), (64, 64)), ((1, 1), (32, 32)), ((70, 203), (64, 96))]


def make(device, stream, rng, image_size, network_size, convention, count=7, **uploading):
    grid = plan(image_size, network_size, convention)[1]
    prototypes, coefficients, boxes = objects(rng, network_size, count)
    there = [device.upload(array, stream) for array in (prototypes[None], coefficients, boxes)]
    return (prototypes[None], coefficients, boxes, grid), (*there, grid)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(("image_size", "network_size"), SIZES)
def test_every_form(device, stream, rng, image_size, network_size, convention):
    given, there = make(device, stream, rng, image_size, network_size, convention)
    dense = ops.masks_to_dense(*there, stream=stream)
    assert (dense.dtype, dense.shape) == ("bool", (7, given[3].height, given[3].width))
    np.testing.assert_array_equal(dense.numpy(stream), ops.masks_to_dense(*given))
    np.testing.assert_array_equal(ops.masks_to_bits(*there, stream=stream), ops.masks_to_bits(*given))
    expected, actual = ops.masks_to_rle(*given), ops.masks_to_rle(*there, stream=stream)
    assert (actual.counts, actual.size) == (expected.counts, expected.size)
    np.testing.assert_array_equal(actual.areas, expected.areas)
    for contours in ("most_points", "all"):
        outlines = ops.masks_to_polygons(*given, contours=contours)
        for one, other in zip(ops.masks_to_polygons(*there, contours=contours, stream=stream), outlines, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_values_of_half_the_width(device, stream, rng, dtype):
    (prototypes, coefficients, boxes, grid), _ = make(device, stream, rng, (97, 61), (96, 64), "v2")
    rows = coefficients.astype(np.float16)
    if dtype == "bfloat16":
        bits = to_bfloat16(prototypes)
        expected = ops.masks_to_dense(bits, rows.astype(np.float32), boxes, grid)
        planes = device.upload(bits, stream, dtype="bfloat16")
    else:
        half = prototypes.astype(np.float16)
        expected = ops.masks_to_dense(half.astype(np.float32), rows.astype(np.float32), boxes, grid)
        planes = device.upload(half, stream)
    actual = ops.masks_to_dense(planes, device.upload(rows, stream), device.upload(boxes, stream), grid, stream=stream)
    np.testing.assert_array_equal(actual.numpy(stream), expected)


def test_more_room_is_made_for_large_masks(device, stream, rng, monkeypatch):
    monkeypatch.setattr("rfkernels.ops.masks_of_device_arrays._USUAL_ARENA_BYTES", 64)
    given, there = make(device, stream, rng, (70, 203), (64, 96), "v2")
    np.testing.assert_array_equal(ops.masks_to_bits(*there, stream=stream), ops.masks_to_bits(*given))
    assert ops.masks_to_rle(*there, stream=stream).counts == ops.masks_to_rle(*given).counts


def test_no_masks(device, stream, rng):
    _, there = make(device, stream, rng, (48, 64), (64, 64), "v2", count=0)
    assert ops.masks_to_dense(*there).shape == (0, 48, 64)
    assert ops.masks_to_bits(*there).shape == (0, 48, 8)
    assert ops.masks_to_rle(*there).counts == []
    outlines = ops.masks_to_polygons(*there)
    assert (len(outlines.points), outlines.first_contours.tolist()) == (0, [0])


@pytest.mark.parametrize("dtype", ["bool", "uint8"])
def test_masks_into_memory_of_the_caller(device, stream, rng, dtype):
    given, there = make(device, stream, rng, (97, 61), (96, 64), "ultralytics_native")
    out = device.upload(np.ones((7, 97, 61), dtype), stream)
    ops.masks_to_dense_into(out, *there, stream=stream)
    assert out.numpy(stream).dtype == dtype
    np.testing.assert_array_equal(out.numpy(stream), ops.masks_to_dense(*given))
    for wrong, told in (
        (device.empty((7, 97, 60), dtype), r"out is .* \[7, 97, 60\]; give bool or uint8 \[7, 97, 61\]"),
        (device.empty((7, 97, 61), "float32"), "out is float32"),
        (out.part(0, 6), r"out is .* \[6, 97, 61\]"),
        (device.empty((8, 97, 61), dtype).part(1, 8), "multiple of 16 bytes"),
        (np.empty((7, 97, 61), dtype), "out is in memory of the host's"),
    ):
        with pytest.raises(InvalidArgumentError, match=told):
            ops.masks_to_dense_into(wrong, *there)


def test_sources_that_are_refused(device, stream, rng):
    _, (prototypes, coefficients, boxes, grid) = make(device, stream, rng, (48, 64), (64, 64), "v2")
    other_grid = plan((48, 64), (96, 64), "v2")[1]
    for arguments, told in (
        ((prototypes, coefficients.part(0, 6), boxes, grid), r"boxes is float32 \[7, 4\]; give float32 \[6, 4\]"),
        ((prototypes, boxes, boxes, grid), r"prototypes is \[1, 32, 16, 16\], coefficients \[7, 4\]"),
        ((coefficients, coefficients, boxes, grid), "prototypes is float32 "),
        ((prototypes, prototypes, boxes, grid), "coefficients is float32 "),
        ((prototypes, coefficients, boxes, other_grid), "grids.0. is planned for prototypes of 24 x 16"),
        ((prototypes, coefficients, np.zeros((7, 4), np.float32), grid), "boxes is in memory of the host's"),
    ):
        for op in (ops.masks_to_dense, ops.masks_to_bits, ops.masks_to_rle, ops.masks_to_polygons):
            with pytest.raises(ValueError, match=told):
                op(*arguments)


@pytest.mark.parametrize("dtype", ["bool", "uint8"])
@pytest.mark.parametrize("shape", [(1, 1), (0, 5, 9), (3, 37, 91), (2, 255, 257), (1, 300, 70)])
def test_connected_components(device, stream, rng, shape, dtype):
    masks = (rng.random(shape) < 0.41).astype(dtype)
    expected = ops.connected_components(masks)
    actual = ops.connected_components(device.upload(masks, stream), stream=stream)
    assert actual.labels.shape == actual.areas.shape == shape
    np.testing.assert_array_equal(actual.labels.numpy(stream), expected.labels)
    np.testing.assert_array_equal(actual.areas.numpy(stream), expected.areas)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("shape", [(1, 1), (0, 5, 9), (3, 37, 91), (1, 300, 70)])
def test_cleaned_logits(device, stream, rng, shape, dtype):
    logits = rng.normal(0, 1, shape).astype(dtype)
    options = {"max_hole_area": 3, "max_sprinkle_area": 4, "threshold": 0.125}
    expected = ops.clean_mask_logits(logits.astype(np.float32), **options).astype(dtype)
    there = device.upload(logits, stream)
    cleaned = ops.clean_mask_logits(there, **options, stream=stream)
    assert cleaned.dtype == dtype
    np.testing.assert_array_equal(cleaned.numpy(stream), expected)
    np.testing.assert_array_equal(there.numpy(stream), logits)
    out = device.empty(shape, dtype)
    ops.clean_mask_logits_into(out, there, **options, stream=stream)
    np.testing.assert_array_equal(out.numpy(stream), expected)
    ops.clean_mask_logits_into(there, there, **options, stream=stream)
    np.testing.assert_array_equal(there.numpy(stream), expected)


def test_planes_that_are_refused(device, stream):
    logits = device.upload(np.zeros((2, 8, 8), np.float32), stream)
    bits = device.empty((2, 8, 8), "bfloat16")
    for call, told in (
        (lambda: ops.connected_components(logits), "masks has dtype float32"),
        (lambda: ops.connected_components(device.empty((8,), "bool")), r"masks has dtype bool and shape \(8,\)"),
        (lambda: ops.connected_components(device.empty((2, 0, 8), "bool")), "masks are 0 x 8 pixels"),
        (lambda: ops.clean_mask_logits(bits), "logits has dtype bfloat16"),
        (lambda: ops.clean_mask_logits(logits, max_hole_area=-1), "max_hole_area is -1"),
        (lambda: ops.clean_mask_logits(logits, threshold=float("nan")), "threshold is nan"),
        (lambda: ops.clean_mask_logits_into(logits.part(0, 1), logits), r"out has dtype float32 and shape \(1, 8, 8\)"),
        (lambda: ops.clean_mask_logits_into(np.zeros((2, 8, 8), np.float32), logits), "out is in memory of the host"),
        (lambda: ops.clean_mask_logits_into(logits, np.zeros((2, 8, 8), np.float32)), "logits is in memory of the"),
    ):
        with pytest.raises(ValueError, match=told):
            call()


def test_masks_over_what_they_are_made_of_are_refused(device, stream, rng):
    (prototypes, coefficients, boxes, grid), _ = make(device, stream, rng, (9, 13), (64, 64), "v2")
    size = 7 * grid.height * grid.width
    parts = [array.view(np.uint8).reshape(-1) for array in (prototypes, coefficients, boxes)]
    begins = np.cumsum([-(-size // 256) * 256, *(-(-len(part) // 256) * 256 for part in parts)])
    host = np.zeros(begins[-1] + size, np.uint8)
    for part, begin in zip(parts, begins, strict=False):
        host[begin : begin + len(part)] = part
    memory = device.upload(host, stream)

    def at(begin, shape, dtype):
        return DeviceArray(device, memory.address + int(begin), shape, dtype, owner=memory)

    there = [
        at(begin, array.shape, "float32")
        for begin, array in zip(begins, (prototypes, coefficients, boxes), strict=False)
    ]
    for index, name in enumerate(("prototypes", "coefficients", "boxes")):
        last = begins[index] + len(parts[index]) - 1
        for begin in {int(begins[index]), int(last // 16 * 16)}:
            with pytest.raises(InvalidArgumentError, match=f"^out overlaps {name}; give it memory of its own"):
                ops.masks_to_dense_into(at(begin, (7, grid.height, grid.width), "bool"), *there, grid, stream=stream)
    before = (begins[0] - size) // 16 * 16 + 16
    with pytest.raises(InvalidArgumentError, match=r"^out overlaps prototypes"):
        ops.masks_to_dense_into(at(before, (7, grid.height, grid.width), "bool"), *there, grid, stream=stream)
    expected = ops.masks_to_dense(prototypes, coefficients, boxes, grid)
    for begin in (0, begins[-1]):  # beside them is fine
        out = at(begin, (7, grid.height, grid.width), "bool")
        ops.masks_to_dense_into(out, *there, grid, stream=stream)
        np.testing.assert_array_equal(out.numpy(stream), expected)
