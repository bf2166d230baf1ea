"""Keypoints of chosen anchors: bit for bit against the definition, on every instruction set."""

import numpy as np
import pytest
from heads import CROPPED, LETTERBOXED, Corner, Placed, anchor_by_anchor

from rfkernels import ops
from rfkernels.reference import keypoints as definition
from rfkernels.reference.bfloat16 import from_bfloat16, to_bfloat16

PLACED = [LETTERBOXED, CROPPED, Placed()]
SIZES = [(1080, 1920), (61, 97), (1, 1)]
STRIDES = (8, 16, 32)
GRIDS = {
    "one anchor": [(1, 1)],
    "one row and one column": [(1, 7), (5, 1)],
    "not square": [(12, 8), (6, 4), (3, 2)],
    "four levels": [(9, 11), (5, 6), (3, 3), (2, 2)],
}
OPTIONS = {"dimensions": 3, "keypoint_confidence": 0.0, "convention": "v2"}


def make_heads(rng, grids, *, points, dimensions=3, batch=1):
    shapes = [(batch, points * dimensions, *grid) for grid in grids]
    return [rng.normal(0, 3, shape).astype(np.float32) for shape in shapes]


def choose(rng, grids, counts):
    """For each image so many anchors, in any order and some of them twice."""
    total = sum(height * width for height, width in grids)
    return [rng.integers(0, total, count).astype(np.int32) for count in counts]


def rows_of(heads, anchor_indices):
    batch, channels = heads[0].shape[:2]
    flat = np.concatenate([level.reshape(batch, channels, -1) for level in heads], axis=2)
    return [np.ascontiguousarray(flat[image][:, chosen].T) for image, chosen in enumerate(anchor_indices)]


def strides_of(grids):
    return (8, 16, 32, 64)[: len(grids)]


def assert_same(actual, expected):
    """Bit for bit, the signs of zeros too."""
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype == np.float32
        assert one.shape == other.shape
        np.testing.assert_array_equal(one.view(np.uint32), other.view(np.uint32))


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("points", [1, 5, 17, 133])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.usefixtures("instruction_set")
def test_both_forms_equal_the_definition(name, points, dimensions, batch, rng):
    grids = GRIDS[name]
    heads = make_heads(rng, grids, points=points, dimensions=dimensions, batch=batch)
    chosen = choose(rng, grids, [23, 0, 1][:batch])
    strides, placed, sizes = strides_of(grids), PLACED[:batch], SIZES[:batch]
    for convention in ("v2", "ultralytics"):
        for keypoint_confidence in (0.0, 0.5):
            options = {
                "dimensions": dimensions,
                "keypoint_confidence": keypoint_confidence,
                "convention": convention,
                "strides": strides,
            }
            expected = definition.keypoints_from_heads(heads, chosen, placed, sizes, **options)
            assert [array.shape for array in expected] == [(len(anchors), points, 3) for anchors in chosen]
            assert_same(ops.keypoints_from_heads(heads, chosen, placed, sizes, **options), expected)
            rows = rows_of(heads, chosen)
            assert_same(definition.keypoints_from_rows(rows, chosen, placed, sizes, grids=grids, **options), expected)
            assert_same(ops.keypoints_from_rows(rows, chosen, placed, sizes, grids=grids, **options), expected)


@pytest.mark.parametrize("form", ["planes", "anchors", "slice of anchors", "slice of planes"])
@pytest.mark.parametrize("as_bfloat16", [False, True])
@pytest.mark.usefixtures("instruction_set")
def test_values_lie_in_memory_as_they_may(form, as_bfloat16, rng):
    grids = GRIDS["not square"]
    heads = [from_bfloat16(to_bfloat16(level)) for level in make_heads(rng, grids, points=17, batch=2)]
    chosen = choose(rng, grids, [30, 11])
    expected = ops.keypoints_from_heads(heads, chosen, PLACED[:2], SIZES[:2])

    def laid_out(level):
        values = to_bfloat16(level) if as_bfloat16 else level
        if form == "planes":
            return values
        if form == "anchors":
            return anchor_by_anchor(values)
        wider = np.concatenate([values[:, :5], values, values[:, :7]], axis=1)
        return (anchor_by_anchor(wider) if form == "slice of anchors" else wider)[:, 5:-7]

    assert_same(ops.keypoints_from_heads([laid_out(level) for level in heads], chosen, PLACED[:2], SIZES[:2]), expected)
    rows = [to_bfloat16(matrix) if as_bfloat16 else matrix for matrix in rows_of(heads, chosen)]
    if form != "planes":
        # Rows that are not used, and memory column by column.
        rows = [np.asfortranarray(np.concatenate([matrix, matrix])) for matrix in rows]
    assert_same(ops.keypoints_from_rows(rows, chosen, PLACED[:2], SIZES[:2], grids=grids), expected)


def test_a_point_written_out():
    level = np.zeros((1, 6, 3, 4), np.float32)
    level[0, :, 2, 1] = [0.25, -0.5, 0.0, 10.0, 7.0, 20.0]
    placement = Placed(left=4, top=-2, scale_x=0.5, scale_y=2.0, crop=Corner(100, 0))

    def points(**options):
        call = ops.keypoints_from_heads([level], [[9]], [placement], [(50, 120)], strides=[8], **options)
        return call[0][0].tolist()

    # (2 * 0.25 + 1) * 8 = 12, (12 - 4) / 0.5 + 100 = 116; (-1 + 2) * 8 = 8, (8 + 2) / 2 = 5
    # (20 + 1) * 8 = 168, (168 - 4) / 0.5 + 100 = 428;     (14 + 2) * 8 = 128, (128 + 2) / 2 = 65
    assert points() == [[116.0, 5.0, 0.5], [428.0, 65.0, 1.0]]
    assert points(convention="ultralytics") == [[116.0, 5.0, 0.5], [120.0, 50.0, 1.0]]
    # The threshold is strict: a confidence of exactly so much stays.
    assert points(keypoint_confidence=0.5) == [[116.0, 5.0, 0.5], [428.0, 65.0, 1.0]]
    assert points(keypoint_confidence=0.51) == [[0.0, 0.0, 0.0], [428.0, 65.0, 1.0]]
    assert points(dimensions=2) == [[116.0, 5.0, 1.0], [108.0, 89.0, 1.0], [332.0, 169.0, 1.0]]


def test_whole_pixels_are_rounded_half_to_even_and_never_minus_zero():
    values = np.array([[0.5, 1.5, 2.5, -0.5, -0.25, -1.5]], np.float32) / 2
    heads = [np.stack([values, values], axis=1).reshape(1, 2, 1, 6)]
    columns = np.arange(6)
    (whole,) = ops.keypoints_from_heads(heads, [columns], [Placed()], [(9, 9)], strides=[1], dimensions=2)
    assert whole[:, 0, 1].tolist() == [0.0, 2.0, 2.0, 0.0, 0.0, -2.0]
    (clamped,) = ops.keypoints_from_heads(
        heads, [columns], [Placed()], [(1, 9)], strides=[1], dimensions=2, convention="ultralytics"
    )
    assert clamped[:, 0, 1].tolist() == [0.5, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert not np.signbit(whole[:5]).any()
    assert not np.signbit(clamped).any()


@pytest.mark.parametrize("convention", ["v2", "ultralytics"])
@pytest.mark.usefixtures("instruction_set")
def test_no_result_is_nan_or_infinite(convention, rng):
    special = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, -0.0, 0.5, 200.0, -200.0], np.float32)
    heads = [rng.choice(special, (2, 51, *grid)) for grid in GRIDS["not square"]]
    chosen = [np.arange(126, dtype=np.int32)] * 2
    options = {"strides": STRIDES, **OPTIONS, "convention": convention}
    for keypoint_confidence in (0.0, 0.3):
        options["keypoint_confidence"] = keypoint_confidence
        actual = ops.keypoints_from_heads(heads, chosen, PLACED[:2], SIZES[:2], **options)
        assert_same(actual, definition.keypoints_from_heads(heads, chosen, PLACED[:2], SIZES[:2], **options))
        assert np.isfinite(actual).all()
        assert (np.array(actual)[..., 2] >= 0).all()

    def point(x, y, logit):
        level = np.array([x, y, logit], np.float32).reshape(1, 3, 1, 1)
        call = ops.keypoints_from_heads([level], [[0]], [Placed()], [(99, 99)], strides=[8], convention=convention)
        return call[0][0, 0].tolist()

    assert point(np.nan, 1, 5) == point(1, np.inf, 5) == point(-np.inf, np.nan, 5) == point(3e38, 1, 5) == [0, 0, 0]
    assert point(1, 2, np.nan) == point(1, 2, -np.inf) == [16, 32, 0]
    assert point(1, 2, np.inf) == [16, 32, 1]


@pytest.mark.usefixtures("instruction_set")
def test_confidences_are_those_of_the_definition_in_double_and_the_scores_of_detection():
    logits = np.concatenate([np.linspace(-90, 40, 40_001), np.linspace(-2, 2, 10_001)]).astype(np.float32)
    heads = [np.zeros((1, 3, 1, len(logits)), np.float32)]
    heads[0][0, 2, 0] = logits
    anchors = np.arange(len(logits))
    (points,) = ops.keypoints_from_heads(heads, [anchors], [Placed()], [(1, 1)], strides=[1])
    confidences = points[:, 0, 2]
    with np.errstate(over="ignore"):
        nearest = (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
    normal = logits > -87
    floats_between = np.abs(confidences.view(np.int32) - nearest.view(np.int32))
    assert floats_between[normal].max() <= 2
    assert (confidences[logits < -88.8] == 0).all()
    (found,) = ops.select_candidates([heads[0][:, 2:]], confidence=0.0)
    np.testing.assert_array_equal(confidences[found.anchor_indices], found.scores)
    assert len(found) == np.count_nonzero(confidences)


def test_keypoints_of_what_detection_found(rng):
    grids = [(12, 8), (6, 4), (3, 2)]
    points = make_heads(rng, grids, points=4, batch=2)
    boxes = [rng.normal(0, 2, (2, 64, *grid)).astype(np.float32) for grid in grids]
    classes = [rng.normal(-1, 2, (2, 1, *grid)).astype(np.float32) for grid in grids]
    found = ops.detect_from_heads(list(zip(boxes, classes, strict=True)), PLACED[:2], SIZES[:2])
    assert all(len(detections) > 3 for detections in found)
    chosen = [detections.anchor_indices for detections in found]
    actual = ops.keypoints_from_heads(points, chosen, PLACED[:2], SIZES[:2])
    assert_same(
        actual, definition.keypoints_from_heads(points, chosen, PLACED[:2], SIZES[:2], strides=STRIDES, **OPTIONS)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anchor_indices": [[0, 126]]}, r"anchor_indices\[0\]\[1\] is 126; give anchors from 0 to 125"),
        ({"anchor_indices": [[-1]]}, r"anchor_indices\[0\]\[0\] is -1; give anchors from 0 to 125"),
        ({"anchor_indices": [[0.5]]}, r"anchor_indices\[0\] of dtype float64"),
        ({"anchor_indices": [[np.nan]]}, r"anchor_indices\[0\] of dtype float64"),
        ({"anchor_indices": [None]}, r"anchor_indices\[0\] of dtype object"),
        ({"anchor_indices": [["0"]]}, r"anchor_indices\[0\] of dtype <U1"),
        ({"anchor_indices": [[2**32]]}, r"anchor_indices\[0\] of dtype int64"),
        ({"anchor_indices": [[[0]]]}, r"anchor_indices\[0\] has 2 axes; give \[n\]"),
        ({"anchor_indices": [[0], [0]]}, "anchor_indices has 2 entries, placements 1"),
        ({"placements": [], "image_sizes": []}, "anchor_indices has 1 entries, placements 0"),
        ({"image_sizes": []}, "placements has 1 entries, image_sizes 0"),
        ({"image_sizes": [(0, 9)]}, r"image_sizes\[0\] is 0 x 9"),
        ({"placements": [Placed(scale_x=0.0)]}, r"placements\[0\] has scale 0\.0"),
        ({"strides": (8, 16)}, r"strides has 2 entries"),
        ({"strides": (8, 16, 0)}, r"strides\[2\] is 0; give at least 1"),
        ({"strides": (8, 16, 0.5)}, r"strides\[2\] is 0.5"),
        ({"dimensions": 4}, "dimensions is 4; give 2 for x and y, 3 where"),
        ({"dimensions": 0}, "dimensions is 0"),
        ({"dimensions": 1.5}, "dimensions is 1.5; give a whole number"),
        ({"keypoint_confidence": -0.1}, "keypoint_confidence is -0.1"),
        ({"keypoint_confidence": 1.1}, "keypoint_confidence is 1.1"),
        ({"keypoint_confidence": float("nan")}, "keypoint_confidence is nan"),
        ({"keypoint_confidence": "0.5"}, "keypoint_confidence is '0.5'; give a number"),
        ({"keypoint_confidence": None}, "keypoint_confidence is None; give a number"),
        ({"keypoint_confidence": 10**400}, "keypoint_confidence is 1000+; give a number"),
        ({"convention": "V2"}, "convention is 'V2'"),
    ],
)
def test_wrong_arguments_are_refused(changes, message, rng):
    grids = GRIDS["not square"]
    heads = make_heads(rng, grids, points=2)
    given = {"anchor_indices": [[0, 125]], "placements": [Placed()], "image_sizes": [(9, 9)]}
    rows = rows_of(heads, [[0, 125]])
    ops.keypoints_from_heads(heads, **given)
    ops.keypoints_from_rows(rows, **given, grids=grids)
    with pytest.raises(ValueError, match=message):
        ops.keypoints_from_heads(heads, **given | changes)
    with pytest.raises(ValueError, match=message):
        ops.keypoints_from_rows(rows, grids=grids, **given | changes)


def test_wrong_heads_are_refused(rng):
    good = make_heads(rng, GRIDS["not square"], points=2)

    def call(first=good[0], second=good[1], dimensions=3):
        ops.keypoints_from_heads(
            [first, second, good[2]], [[0]], [Placed()], [(9, 9)], strides=STRIDES, dimensions=dimensions
        )

    call()
    call(dimensions=2)
    for changes, message in (
        ({"first": good[0][:, :5]}, r"heads\[0\] has shape \[1, 5, 12, 8\]; give \[N, keypoints \* 3, H, W\]"),
        ({"first": good[0][:, :0]}, r"heads\[0\] has shape \[1, 0, 12, 8\]"),
        ({"second": good[1][:, :3]}, r"heads\[1\] has shape \[1, 3, 6, 4\], heads\[0\] has \[1, 6, 12, 8\]"),
        ({"second": np.repeat(good[1], 2, axis=0)}, r"heads\[1\] has shape \[2, 6, 6, 4\]"),
        ({"first": good[0][0]}, r"heads\[0\] has 3 axes; give 4"),
        ({"first": good[0].astype(np.float64)}, r"heads\[0\] has dtype float64; give float32"),
        ({"first": good[0][:, :, ::2]}, r"heads\[0\] \[1, 6, 6, 8\] lies in memory neither"),
        ({"first": good[0][:, :, :0]}, r"heads\[0\] has shape \[1, 6, 0, 8\]; no axis may be empty"),
        ({"dimensions": 4}, "dimensions is 4"),
    ):
        with pytest.raises(ValueError, match=message):
            call(**changes)
    with pytest.raises(ValueError, match="heads is empty"):
        ops.keypoints_from_heads([], [[0]], [Placed()], [(9, 9)], strides=[])
    with pytest.raises(ValueError, match="placements has 2 entries for a batch of 1 images"):
        ops.keypoints_from_heads(good, [[0]] * 2, [Placed()] * 2, [(9, 9)] * 2)


def test_wrong_rows_are_refused():
    good = np.zeros((2, 6), np.float32)

    def call(rows=good, grids=((1, 2),), strides=(8,), entries=1):
        return ops.keypoints_from_rows([rows] * entries, [[0, 1]], [Placed()], [(9, 9)], grids=grids, strides=strides)

    assert call()[0].shape == (2, 2, 3)
    for changes, message in (
        ({"rows": good[:1]}, r"rows\[0\] has shape \[1, 6\]; give \[2 or more anchors, keypoints \* 3\]"),
        ({"rows": good[:, :4]}, r"rows\[0\] has shape \[2, 4\]"),
        ({"rows": good[:, :0]}, r"rows\[0\] has shape \[2, 0\]"),
        ({"rows": good[0]}, r"rows\[0\] has 1 axes; give 2"),
        ({"rows": good.astype(np.int32)}, r"rows\[0\] has dtype int32"),
        ({"rows": np.zeros((4, 12), np.float32)[::2, ::2]}, r"rows\[0\] .* lies in memory neither"),
        ({"grids": ()}, "grids has 0 levels, strides has 1 entries"),
        ({"grids": (), "strides": ()}, "grids is empty"),
        ({"grids": ((0, 2),)}, r"grids\[0\] is 0 x 2; give sides from 1"),
        ({"grids": ((2**31, 2**31),)}, r"grids\[0\] is 2147483648 x 2147483648"),
        ({"grids": ((2**31 - 1, 2),)}, "more than 2147483647 anchors in all"),
        ({"entries": 2}, "rows has 2 entries, placements 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call(**changes)


def test_no_anchors_have_no_points():
    (points,) = ops.keypoints_from_rows(
        [np.zeros((0, 51), np.float32)], [[]], [Placed()], [(9, 9)], grids=[(1, 1)], strides=[8]
    )
    assert points.shape == (0, 17, 3)
