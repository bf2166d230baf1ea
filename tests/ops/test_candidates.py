"""Selection and decoding in two steps, against the definition and against both at once, on every instruction set."""

from dataclasses import replace

import numpy as np
import pytest
from heads import (
    CROPPED,
    DEFAULTS,
    LETTERBOXED,
    Placed,
    anchor_by_anchor,
    assert_close,
    assert_same,
    make_heads,
)

from rfkernels import ops
from rfkernels.reference import detection as reference
from rfkernels.reference.bfloat16 import from_bfloat16

pytestmark = pytest.mark.usefixtures("instruction_set")

STRIDES = (8, 16, 32)
SELECTION = ("confidence", "class_confidences", "wanted_classes", "class_filter_stage", "convention")
DECODING = ("iou_threshold", "class_agnostic", "max_detections", "wanted_classes", "convention")


def chosen(options, names):
    return {name: options[name] for name in names}


def boxes_at(candidates, heads, image, spare=0):
    """The bins of an image's candidates, a row each, and rows behind them that nobody may read."""
    boxes, start, first_anchor = [], 0, 0
    for (box, _), count in zip(heads, candidates.level_counts, strict=True):
        pixels = candidates.anchor_indices[start : start + count] - first_anchor
        rows = box[image].reshape(box.shape[1], -1).T[pixels]
        boxes.append(np.concatenate([rows, np.full((spare, box.shape[1]), np.nan, box.dtype)]))
        start += count
        first_anchor += box.shape[2] * box.shape[3]
    return boxes


def detect_in_two_steps(heads, placements, image_sizes, options, spare=0, layout=np.ascontiguousarray):
    candidates = ops.select_candidates([layout(classes) for _, classes in heads], **chosen(options, SELECTION))
    boxes = [boxes_at(found, heads, image, spare) for image, found in enumerate(candidates)]
    grids = [classes.shape[2:] for _, classes in heads]
    return ops.detect_from_candidates(
        candidates, boxes, placements, image_sizes, grids=grids, strides=STRIDES, **chosen(options, DECODING)
    )


@pytest.mark.parametrize("class_count", [1, 2, 17, 80])
@pytest.mark.parametrize("size", [(32, 32), (96, 64), (160, 544)])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, anchor_by_anchor])
def test_selection_equals_the_definition(class_count, size, layout, rng):
    classes = [level for _, level in make_heads(rng, class_count=class_count, size=size, batch=2)]
    classes[0][1, 0, 1, 2] = np.nan
    expected = reference.select_candidates(classes, options=reference.Options(**DEFAULTS))
    actual = ops.select_candidates([layout(level) for level in classes], **chosen(DEFAULTS, SELECTION))
    assert sum(map(len, actual)) > 0
    for found, (anchors, scores, class_ids, counts) in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(found.anchor_indices, anchors)
        np.testing.assert_array_equal(found.class_ids, class_ids)
        np.testing.assert_allclose(found.scores, scores, rtol=4 * 2**-23, atol=0)
        assert found.level_counts == counts
        assert len(found) == sum(counts)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"convention": "ultralytics", "class_agnostic": True},
        {"class_confidences": np.array([0.1, 0.9, 0.3, 0.2, 1.0], np.float32)},
        {"wanted_classes": [1, 3], "class_filter_stage": "before_suppression"},
        {"wanted_classes": [1, 3], "class_filter_stage": "after_cut", "max_detections": 7},
        {"wanted_classes": []},
        {"confidence": 0.0, "iou_threshold": 1.0, "max_detections": 10_000},
        {"confidence": 1.0},
    ],
)
@pytest.mark.parametrize("spare", [0, 5])
def test_two_steps_are_one(changes, spare, rng):
    options = DEFAULTS | changes
    heads = make_heads(rng, class_count=5, batch=2)
    heads[0][0].reshape(2, 64, -1)[1, 17, 5] = np.nan
    heads[1][0].reshape(2, 64, -1)[0, 33, 2] = np.inf
    arguments = ([LETTERBOXED, CROPPED], [(1080, 1920), (400, 500)])
    expected = ops.detect_from_heads(heads, *arguments, strides=STRIDES, **options)
    assert_same(detect_in_two_steps(heads, *arguments, options, spare), expected)
    assert_same(detect_in_two_steps(heads, *arguments, options, spare, anchor_by_anchor), expected)
    if options["iou_threshold"] < 1.0:  # where nothing is suppressed, the definition takes its time
        definition = reference.detect_from_heads(
            heads, *arguments, strides=STRIDES, options=reference.Options(**options)
        )
        assert_close(expected, definition)


@pytest.mark.parametrize("reg_max", [1, 7, 32])
def test_any_number_of_bins(reg_max, rng):
    heads = make_heads(rng, class_count=3, reg_max=reg_max)
    arguments = ([Placed()], [(96, 64)])
    assert_same(detect_in_two_steps(heads, *arguments, DEFAULTS), ops.detect_from_heads(heads, *arguments, **DEFAULTS))


def test_boxes_may_be_bfloat16(rng):
    heads = make_heads(rng, class_count=3)
    bits = [((box.view(np.uint32) >> 16).astype(np.uint16), classes) for box, classes in heads]
    values = [(from_bfloat16(box), classes) for box, classes in bits]
    arguments = ([Placed()], [(96, 64)])
    assert_same(detect_in_two_steps(bits, *arguments, DEFAULTS), ops.detect_from_heads(values, *arguments, **DEFAULTS))


CLASSES = np.zeros((1, 3, 4, 4), np.float32)
FOUND = ops.Candidates(np.array([2, 9], np.int32), np.array([0.9, 0.8], np.float32), np.array([0, 2], np.int32), (2,))
ROWS = np.zeros((2, 64), np.float32)


def decode(**changes):
    arguments = {
        "candidates": [FOUND],
        "boxes": [[ROWS]],
        "placements": [Placed()],
        "image_sizes": [(32, 32)],
        "grids": [(4, 4)],
        "strides": [8],
    }
    return ops.detect_from_candidates(**arguments | changes)


def test_no_candidates():
    (none,) = ops.select_candidates([CLASSES - 20])
    assert (len(none), none.level_counts, none.anchor_indices.dtype) == (0, (0,), np.int32)
    (found,) = decode(candidates=[none], boxes=[[np.empty((0, 64), np.float32)]])
    assert len(found) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": []}, "classes is empty"),
        ({"classes": [CLASSES[0]]}, r"classes\[0\] has 3 axes"),
        ({"classes": [CLASSES.astype(np.float64)]}, r"classes\[0\] has dtype float64"),
        ({"classes": [CLASSES[:, :, :, ::2]]}, r"classes\[0\] .* copy it with numpy"),
        ({"classes": [CLASSES, CLASSES[:, :2]]}, r"classes\[1\] has shape \[1, 2, 4, 4\], classes\[0\] has"),
        ({"confidence": -0.1}, "confidence is -0.1"),
        ({"class_confidences": [0.5]}, "class_confidences has 1 entries"),
        ({"wanted_classes": [3]}, "wanted_classes has 3"),
        ({"convention": "v3"}, "convention is 'v3'"),
    ],
)
def test_selections_are_refused(changes, message):
    assert len(ops.select_candidates([CLASSES])) == 1
    with pytest.raises(ValueError, match=message):
        ops.select_candidates(**{"classes": [CLASSES]} | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidates": []}, "candidates has 0 entries, boxes 1, placements 1"),
        ({"boxes": []}, "candidates has 1 entries, boxes 0, placements 1"),
        ({"boxes": [[]]}, r"boxes\[0\] has 0 levels, grids has 1"),
        ({"boxes": [[ROWS[:1]]]}, r"boxes\[0\]\[0\] has shape \[1, 64\]; give \[2 or more candidates"),
        ({"boxes": [[ROWS[:, :63]]]}, r"boxes\[0\]\[0\] has shape \[2, 63\]"),
        ({"boxes": [[ROWS[:, :0]]]}, r"boxes\[0\]\[0\] has shape \[2, 0\]"),
        ({"boxes": [[ROWS[0]]]}, r"boxes\[0\]\[0\] has 1 axes"),
        ({"boxes": [[ROWS.astype(int)]]}, r"boxes\[0\]\[0\] has dtype int64"),
        ({"boxes": [[np.zeros((2, 256), np.float32)[:, ::4]]]}, r"boxes\[0\]\[0\] .* copy it with numpy"),
        ({"grids": [], "strides": [], "boxes": [[]]}, "grids is empty"),
        ({"grids": [(4, 4), (2, 2)]}, "grids has 2 levels, strides has 1"),
        ({"grids": [(0, 4)]}, r"grids\[0\] is 0 x 4"),
        ({"grids": [(1 << 40, 1 << 40)]}, r"grids\[0\] is 1099511627776 x"),
        ({"grids": [(2, 4)]}, r"candidates\[0\] anchor_indices\[1\] is 9; the grids end before it"),
        ({"strides": [0]}, r"strides\[0\] is 0"),
        (
            {"candidates": [replace(FOUND, anchor_indices=np.array([9, 2], np.int32))]},
            r"candidates\[0\] anchor_indices\[1\] is 2; give anchors .* in ascending order",
        ),
        (
            {"candidates": [replace(FOUND, anchor_indices=np.array([-1, 2], np.int32))]},
            r"candidates\[0\] anchor_indices\[0\] is -1",
        ),
        (
            {"candidates": [replace(FOUND, anchor_indices=np.array([2, 2], np.int32))]},
            r"candidates\[0\] anchor_indices\[1\] is 2",
        ),
        (
            {"candidates": [replace(FOUND, scores=np.array([0.5, np.nan], np.float32))]},
            r"candidates\[0\] scores\[1\] is nan",
        ),
        ({"candidates": [replace(FOUND, scores=FOUND.scores[:1])]}, r"candidates\[0\] has arrays of different"),
        ({"image_sizes": []}, "placements has 1 entries, image_sizes 0"),
        ({"placements": [Placed(scale_x=0.0)]}, r"placements\[0\] has scale 0"),
        ({"iou_threshold": 2}, "iou_threshold is 2"),
        ({"max_detections": -1}, "max_detections is -1"),
        ({"max_detections": 2.0}, "max_detections is 2.0; give a whole number"),
        ({"max_detections": 2**70}, "max_detections is 1180591620717411303424; give"),
        ({"strides": [8.0]}, r"strides\[0\] is 8.0"),
        ({"grids": [(4, 4, 4)]}, r"grids\[0\] is \(4, 4, 4\); give two"),
        ({"grids": [(4, 4.0)]}, r"grids\[0\]\[1\] is 4.0"),
        ({"grids": [(65536, 65536)]}, "the levels have more than 2147483647 anchors"),
        (
            {"candidates": [replace(FOUND, anchor_indices=np.array([2.0, 9.5]))]},
            r"candidates\[0\] anchor_indices of dtype float64 are not all whole numbers",
        ),
        ({"boxes": [[np.broadcast_to(np.float32(0), (2, 1 << 33))]]}, r"has shape \[2, 8589934592\]"),
        ({"wanted_classes": [-1]}, "wanted_classes has -1"),
        ({"convention": "v3"}, "convention is 'v3'"),
    ],
)
def test_candidates_are_refused(changes, message):
    assert len(decode()[0]) == 2
    with pytest.raises(ValueError, match=message):
        decode(**changes)


def test_no_memory_is_asked_for_boxes_of_no_candidate():
    (none,) = ops.select_candidates([CLASSES - 20])
    with pytest.raises(ValueError, match=r"boxes\[0\]\[0\] has shape \[0, 35184372088832\]"):
        decode(candidates=[none], boxes=[[np.empty((0, 1 << 45), np.float32)]])


def test_candidates_of_any_number_type_and_alignment():
    def moved(array):
        memory = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype)
        memory[...] = array
        assert not memory.flags.aligned
        return memory

    (expected,) = decode()
    unaligned = replace(
        FOUND, **{name: moved(getattr(FOUND, name)) for name in ("anchor_indices", "scores", "class_ids")}
    )
    wide = ops.Candidates(np.array([2, 9]), np.array([0.9, 0.8], np.float32), np.array([0, 2]), (2,))
    for given in (unaligned, wide):
        assert_same(decode(candidates=[given]), [expected])


def test_a_class_beyond_the_wanted_ones_is_not_wanted():
    assert decode(wanted_classes=[2, 2**40])[0].class_ids.tolist() == [2]
    assert decode(wanted_classes=[0])[0].class_ids.tolist() == [0]
    assert decode(wanted_classes=[])[0].class_ids.tolist() == []
    negative = replace(FOUND, class_ids=np.array([-5, 2], np.int32))
    assert decode(candidates=[negative], wanted_classes=[2])[0].class_ids.tolist() == [2]
