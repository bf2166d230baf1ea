"""Detection, suppression and keypoints of arrays on a device, in one call: bit for bit what the host gives."""

from __future__ import annotations

import numpy as np
import pytest
from heads import CROPPED, LETTERBOXED, anchor_by_anchor, assert_same, make_heads, make_prediction

from rfkernels import ops
from rfkernels.errors import InvalidArgumentError
from rfkernels.interop import as_device_array
from rfkernels.reference.bfloat16 import to_bfloat16

pytestmark = [pytest.mark.emulated, pytest.mark.usefixtures("watched")]

PLACED, SIZES = [LETTERBOXED, CROPPED], [(1080, 1920), (61, 97)]


def on(device, stream, array, **arguments):
    """On the device, in the layout that the array has."""
    if array.flags.c_contiguous:
        return device.upload(array, stream, **arguments)
    channels_last = np.moveaxis(array, 1, -1)
    memory = device.upload(channels_last, stream, **arguments)
    strides = (memory.strides[0], memory.strides[-1], *memory.strides[1:-1])
    return _Interface(memory, array.shape, strides)


class _Interface:
    """As another library hands it out: other strides over the same memory."""

    def __init__(self, memory, shape, strides, **entries):
        self.memory = memory
        typestr = {"float32": "<f4", "float16": "<f2", "bfloat16": "<V2", "int32": "<i4"}[memory.dtype]
        self.__cuda_array_interface__ = {
            "version": 3,
            "data": (memory.address, False),
            "shape": shape,
            "strides": strides,
            "typestr": typestr,
            **entries,
        }


def heads_on(device, stream, heads, **arguments):
    return [tuple(on(device, stream, array, **arguments) for array in level) for level in heads]


@pytest.mark.parametrize("convention", ["v2", "ultralytics"])
@pytest.mark.parametrize("layout", ["planes", "anchors"])
@pytest.mark.parametrize("size", [(96, 64), (32, 32), (160, 32)])
def test_heads(device, stream, rng, size, layout, convention):
    heads = make_heads(rng, class_count=5, size=size, batch=2)
    options = {"confidence": 0.2, "convention": convention}
    expected = ops.detect_from_heads(heads, PLACED, SIZES, **options)
    assert sum(map(len, expected)) > 0
    given = heads if layout == "planes" else [tuple(map(anchor_by_anchor, level)) for level in heads]
    found = ops.detect_from_heads(
        heads_on(device, stream, given), PLACED, SIZES, **options, device=device, stream=stream
    )
    anchors = sum((size[0] // stride) * (size[1] // stride) for stride in (8, 16, 32))
    assert found.boxes.shape == found.network_boxes.shape == (2, min(300, anchors), 4)
    assert found.counts.shape == found.flags.shape == (2,)
    assert_same(found.download(stream), expected)
    # The arrays themselves, for whoever goes on on the device.
    for image, one in enumerate(expected):
        assert int(found.counts.numpy(stream)[image]) == len(one)
        np.testing.assert_array_equal(found.boxes.numpy(stream)[image, : len(one)], one.boxes)
        assert not found.boxes.numpy(stream)[image, len(one) :].any()
        assert (found.anchor_indices.numpy(stream)[image, len(one) :] == -1).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_heads_of_half_the_width(device, stream, rng, dtype):
    heads = make_heads(rng, class_count=5, batch=2)
    if dtype == "bfloat16":
        heads = [tuple(map(to_bfloat16, level)) for level in heads]
        expected = ops.detect_from_heads(heads, PLACED, SIZES, confidence=0.2)
        given = heads_on(device, stream, heads, dtype="bfloat16")
    else:
        heads = [tuple(array.astype(np.float16) for array in level) for level in heads]
        wide = [tuple(array.astype(np.float32) for array in level) for level in heads]
        expected = ops.detect_from_heads(wide, PLACED, SIZES, confidence=0.2)
        given = heads_on(device, stream, heads)
    assert_same(ops.detect_from_heads(given, PLACED, SIZES, confidence=0.2, stream=stream).download(stream), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"max_detections": 3},
        {"max_detections": 0},
        {"max_detections": 2**31 - 1, "iou_threshold": 1.0},
        {"class_confidences": [0.1, 0.9, 0.2, 0.5, 0.3]},
        {"wanted_classes": [1, 3]},
        {"wanted_classes": [1, 3], "class_filter_stage": "before_suppression", "class_agnostic": True},
    ],
)
def test_options(device, stream, rng, options):
    heads = make_heads(rng, class_count=5, batch=2)
    prediction = make_prediction(rng, class_count=5, anchors=77, batch=2)
    calls = (
        (ops.detect_from_heads, heads, heads_on(device, stream, heads)),
        (ops.detect_from_decoded, prediction, device.upload(prediction, stream)),
    )
    for op, given, there in calls:
        expected = op(given, PLACED, SIZES, confidence=0.2, **options)
        found = op(there, PLACED, SIZES, confidence=0.2, **options)
        assert_same(found.download(stream), expected)


@pytest.mark.parametrize("anchors", [1, 31, 300])
def test_decoded(device, stream, rng, anchors):
    prediction = make_prediction(rng, class_count=3, anchors=anchors, batch=2)
    expected = ops.detect_from_decoded(prediction, PLACED, SIZES)
    found = ops.detect_from_decoded(device.upload(prediction, stream), PLACED, SIZES, stream=stream)
    assert_same(found.download(stream), expected)
    turned = np.ascontiguousarray(prediction.transpose(0, 2, 1))
    memory = device.upload(turned, stream)
    step = memory.strides
    seen = _Interface(memory, prediction.shape, (step[0], step[2], step[1]))
    again = ops.detect_from_decoded(seen, PLACED, SIZES, device=device, stream=stream)
    assert_same(again.download(stream), expected)


def test_heads_that_are_refused(device, stream, rng):
    heads = heads_on(device, stream, make_heads(rng, class_count=5, batch=2))
    box, classes = heads[0]
    whole = device.upload(np.zeros((2, 5, 12, 8), np.int32), stream)
    for given, placed, options, told in (
        (heads, PLACED[:1], {}, r"placements has 1 entries, heads\[0\] classes is of 2 images"),
        ([(box, whole), *heads[1:]], PLACED, {}, r"heads\[0\] classes is int32 \[2, 5, 12, 8\]; give float32"),
        ([(box.part(0, 1), classes), *heads[1:]], PLACED, {}, r"heads\[0\] has shapes"),
        ([], PLACED, {"device": device}, "heads is empty"),
        (heads, PLACED, {"confidence": 2.0}, "confidence"),
        (heads, PLACED, {"wanted_classes": [5]}, "wanted_classes has 5; the network has classes 0 to 4"),
        (heads, PLACED, {"convention": "v3"}, "convention is 'v3'"),
        (heads, PLACED, {"strides": (8, 16)}, "strides has 2 entries"),
        (
            [(box, np.zeros((2, 5, 12, 8), np.float32)), *heads[1:]],
            PLACED,
            {},
            r"heads\[0\] classes is in memory of the",
        ),
    ):
        with pytest.raises(ValueError, match=told):
            ops.detect_from_heads(given, placed, SIZES[: len(placed)], **options)
    for shape in ((4, 0, 3), (2, 4, 7), (0, 9, 7), (2, 9)):
        with pytest.raises(InvalidArgumentError, match="prediction"):
            ops.detect_from_decoded(device.empty(shape, "float32"), PLACED[: shape[0]], SIZES[: shape[0]])


def boxes_of(rng, count, spread=100.0):
    corners = rng.uniform(0, spread, (count, 2))
    sides = rng.uniform(1, 40, (count, 2))
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


@pytest.mark.parametrize("max_detections", [0, 3, 300])
@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("count", [0, 1, 31, 257, 1500])
def test_nms(device, stream, rng, count, class_agnostic, max_detections):
    boxes, scores = boxes_of(rng, count), rng.integers(0, 50, count).astype(np.float32) / 50  # with ties
    class_ids = rng.integers(-2, 3, count).astype(np.int32)
    options = {"iou_threshold": 0.4, "class_agnostic": class_agnostic, "max_detections": max_detections}
    there = [device.upload(array, stream) for array in (boxes, scores, class_ids)]
    for given, arrays in (((boxes, scores, class_ids), there), ((boxes, scores), there[:2])):
        expected = ops.nms(*given, **options)
        kept = ops.nms(*arrays, **options, stream=stream)
        assert kept.indices.shape == (min(count, max_detections),)
        actual = kept.download(stream)
        np.testing.assert_array_equal(actual.indices, expected.indices)
        assert actual.overflowed is expected.overflowed


def test_nms_of_a_nan(device, stream, rng):
    boxes, scores = boxes_of(rng, 9), rng.uniform(0, 1, 9).astype(np.float32)
    boxes[4, 2] = np.nan
    kept = ops.nms(device.upload(boxes, stream), device.upload(scores, stream))
    assert 4 not in kept.indices.numpy(stream)
    with pytest.raises(InvalidArgumentError, match="boxes or scores hold a NaN"):
        kept.download(stream)


def test_boxes_that_are_refused(device, stream, rng):
    boxes = device.upload(boxes_of(rng, 8), stream)
    scores = device.upload(np.zeros(8, np.float32), stream)
    half = device.upload(np.zeros(8, np.float16), stream)
    every_second = _Interface(boxes, (4, 4), (32, 4))
    beside = as_device_array(
        _Interface(boxes, (7, 4), (16, 4), data=(boxes.address + 4, False)), name="b", device=device, stream=None
    )
    for arrays, told in (
        ((boxes, half), r"scores is float16 \[8\]; give float32 \[8\], which on a device is not converted"),
        ((boxes, scores.part(0, 7)), r"scores is float32 \[7\]; give float32 \[8\]"),
        ((scores, scores), r"boxes is float32 \[8\]; give float32 \[n, 4\]"),
        ((boxes, scores, scores), r"class_ids is float32 \[8\]; give int32 \[8\]"),
        ((every_second, scores.part(0, 4)), r"boxes has shape \[4, 4\] and strides \[32, 4\].*not C-contiguous"),
        ((beside, scores.part(0, 7)), "boxes is not 16-byte aligned"),
    ):
        with pytest.raises(ValueError, match=told):
            ops.nms(*arrays, device=device)
    for options in ({"iou_threshold": 2.0}, {"max_detections": -1}, {"iou_threshold": "a"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            ops.nms(boxes, scores, **options)


@pytest.mark.parametrize("convention", ["v2", "ultralytics"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_keypoints_of_what_was_found(device, stream, rng, dimensions, convention):
    heads = make_heads(rng, class_count=5, batch=2)
    points = [rng.normal(0, 3, (2, 7 * dimensions, *box.shape[2:])).astype(np.float32) for box, _ in heads]
    options = {"dimensions": dimensions, "keypoint_confidence": 0.4, "convention": convention}
    expected_boxes = ops.detect_from_heads(heads, PLACED, SIZES, confidence=0.2)
    chosen = [one.anchor_indices for one in expected_boxes]
    expected = ops.keypoints_from_heads(points, chosen, PLACED, SIZES, **options)
    found = ops.detect_from_heads(heads_on(device, stream, heads), PLACED, SIZES, confidence=0.2, stream=stream)
    there = [device.upload(level, stream) for level in points]
    actual = ops.keypoints_from_heads(
        there, found.anchor_indices, PLACED, SIZES, counts=found.counts, stream=stream, **options
    )
    assert actual.shape == (2, found.boxes.shape[1], 7, 3)
    values = actual.numpy(stream)
    for image, one in enumerate(expected):
        np.testing.assert_array_equal(values[image, : len(one)].view(np.uint32), one.view(np.uint32))
        assert not values[image, len(one) :].any()
    # Of fewer than were found.
    fewer = ops.keypoints_from_heads(
        there,
        found.anchor_indices,
        PLACED,
        SIZES,
        counts=device.upload(np.array([2, 1], np.int32), stream),
        stream=stream,
        **options,
    ).numpy(stream)
    for image, count in enumerate((2, 1)):
        np.testing.assert_array_equal(fewer[image, :count], values[image, :count])
        assert not fewer[image, count:].any()
    # Without counts all, of which those from the count on are no anchors.
    again = ops.keypoints_from_heads(there, found.anchor_indices, PLACED, SIZES, stream=stream, **options)
    np.testing.assert_array_equal(again.numpy(stream), values)


def test_keypoints_of_no_anchors(device, stream):
    level = device.upload(np.zeros((1, 6, 2, 3), np.float32), stream)
    points = ops.keypoints_from_heads([level], device.empty((1, 0), "int32"), PLACED[:1], SIZES[:1], strides=[8])
    assert points.shape == (1, 0, 2, 3)


def test_keypoints_that_are_refused(device, stream):
    level = device.upload(np.zeros((1, 6, 2, 3), np.float32), stream)
    anchors = device.upload(np.zeros((1, 4), np.int32), stream)
    one = (PLACED[:1], SIZES[:1])
    for heads, chosen, rest, options, told in (
        ([level], [anchors], one, {}, "anchor_indices is a list; on a device give one array int32"),
        ([level], level, one, {}, r"anchor_indices is float32 \[1, 6, 2, 3\]; give int32 \[1, n\]"),
        ([level], anchors, (PLACED, SIZES), {}, "placements has 2 entries"),
        ([level], anchors, one, {"counts": anchors}, r"counts is int32 \[1, 4\]; give int32 \[1\]"),
        ([level], anchors, one, {"dimensions": 4}, "dimensions is 4"),
        ([anchors], anchors, one, {}, r"heads\[0\] is int32"),
        ([np.zeros((1, 6, 2, 3), np.float32)], anchors, one, {}, r"heads\[0\] is in memory of the host's"),
    ):
        with pytest.raises(ValueError, match=told):
            ops.keypoints_from_heads(heads, chosen, *rest, strides=[8], **options)
    with pytest.raises(ValueError, match="counts is given; on the host"):
        ops.keypoints_from_heads([np.zeros((1, 6, 2, 3), np.float32)], [[0]], *one, strides=[8], counts=[1])
