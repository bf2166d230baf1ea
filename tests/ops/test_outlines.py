"""Outlines and run lengths of whole masks: against the definition, and what must hold for any mask."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from rfkernels import ops
from rfkernels.reference import masks as reference

ANY_MASK = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24))


def changed(shape, inside, changes):
    mask = np.full(shape, inside)
    for top, left, height, width, value in changes:
        y, x = int(top * shape[0]), int(left * shape[1])
        mask[y : y + int(height * shape[0]) + 1, x : x + int(width * shape[1]) + 1] = value
    return mask


# A few pixels that differ from the rest: large parts, holes, parts within holes.
FEW_CHANGES = strategies.builds(
    changed,
    strategies.tuples(strategies.integers(1, 80), strategies.integers(1, 140)),
    strategies.booleans(),
    strategies.lists(strategies.tuples(*[strategies.floats(0, 1)] * 4, strategies.booleans()), max_size=6),
)


def special_masks():
    for height, width in [(1, 1), (1, 63), (1, 64), (1, 65), (64, 1), (63, 64), (65, 64), (64, 128), (7, 129)]:
        empty = np.zeros((height, width), bool)
        yield empty
        yield ~empty
        for place in [(0, 0), (-1, -1), (0, -1), (-1, 0), (height // 2, width // 2)]:
            for background in (empty, ~empty):
                mask = background.copy()
                mask[place] ^= True
                yield mask
        border = ~empty
        border[1:-1, 1:-1] = False
        yield border
        yield np.indices((height, width)).sum(axis=0) % 2 == 0


def assert_same(mask):
    actual, expected = ops.find_contours(mask), reference.contours(mask)
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.dtype == np.int32
        np.testing.assert_array_equal(ours, theirs)
    counts = ops.encode_rle(mask)
    assert counts == reference.rle(mask)
    np.testing.assert_array_equal(ops.decode_rle(counts, mask.shape), mask)


def test_special_masks_equal_the_definition():
    for mask in special_masks():
        assert_same(mask)


def test_random_masks_equal_the_definition(rng):
    for _ in range(300):
        mask = rng.random(tuple(rng.integers(1, 40, 2))) < rng.choice([0.1, 0.3, 0.5, 0.6, 0.8, 0.95])
        assert_same(mask)


@hypothesis.given(strategies.one_of(ANY_MASK, FEW_CHANGES))
def test_any_mask_equals_the_definition(mask):
    assert_same(mask)


@hypothesis.given(strategies.one_of(ANY_MASK, FEW_CHANGES))
def test_run_lengths_hold_the_whole_mask(mask):
    np.testing.assert_array_equal(ops.decode_rle(ops.encode_rle(mask), mask.shape), mask)
    np.testing.assert_array_equal(ops.decode_rle(ops.encode_rle(mask).encode(), mask.shape), mask)


@hypothesis.given(strategies.one_of(ANY_MASK, FEW_CHANGES))
@hypothesis.settings(deadline=None)
def test_outlines_drawn_back_give_the_mask_without_holes(mask):
    outside = reference._reached(np.pad(~mask, 1, constant_values=True), (0, 0), reference._DIRECTIONS[::2])
    drawn = np.zeros_like(mask)
    for contour in ops.find_contours(mask):
        drawn |= filled(contour, mask.shape)
    np.testing.assert_array_equal(drawn, ~outside[1:-1, 1:-1])


def filled(contour, shape):
    """The pixels of a polygon whose points are pixels: on its edges, or within it by the even-odd rule."""
    y, x = np.arange(shape[0]).reshape(-1, 1), np.arange(shape[1])
    inside, on_edge = np.zeros(shape, bool), np.zeros(shape, bool)
    for (x1, y1), (x2, y2) in zip(contour, np.roll(contour, -1, axis=0), strict=True):
        side = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
        between = (x >= min(x1, x2)) & (x <= max(x1, x2)) & (y >= min(y1, y2)) & (y <= max(y1, y2))
        on_edge |= (side == 0) & between
        if y1 != y2:
            crosses = (y >= min(y1, y2)) & (y < max(y1, y2))
            inside ^= crosses & ((side < 0) == (y2 > y1)) & (side != 0)
    return inside | on_edge


def test_the_contour_with_the_most_points_is_the_last_found_on_a_tie():
    mask = np.zeros((9, 9), bool)
    mask[1:3, 1:3] = mask[5:7, 5:7] = True
    (best,) = ops.find_contours(mask, contours="most_points")
    assert best[0].tolist() == [5, 5]
    mask[3, 3] = True
    (best,) = ops.find_contours(mask, contours="most_points")
    assert best[0].tolist() == [1, 1]


def test_masks_of_other_types_and_layouts(rng):
    mask = rng.random((40, 50)) < 0.5
    counts = ops.encode_rle(mask)
    for same in (mask.astype(np.uint8), mask.astype(np.uint8) * 255, np.asfortranarray(mask), mask[::-1][::-1]):
        assert ops.encode_rle(same) == counts
    with pytest.raises(ValueError, match="mask has dtype float64"):
        ops.encode_rle(mask.astype(float))
    with pytest.raises(ValueError, match=r"shape \(2, 40, 50\)"):
        ops.find_contours(np.stack([mask, mask]))
    for empty in (np.zeros((0, 5), bool), np.zeros((5, 0), bool)):
        with pytest.raises(ValueError, match="give sides from 1"):
            ops.encode_rle(empty)


@pytest.mark.parametrize(
    ("counts", "size", "message"),
    [
        ("", (2, 3), "counts end at pixel 0 of 6"),
        ("5", (2, 3), "counts end at pixel 5 of 6"),
        ("7", (2, 3), "damaged, or those of a mask of another size"),
        ("O1", (2, 3), "damaged"),  # a negative count
        ("é", (2, 3), "damaged"),
        ("\ud800", (2, 3), "damaged"),  # half a character
        (6, (2, 3), "counts is a int; give the text"),
        ("/", (2, 3), "damaged"),  # below the least character
        ("p", (2, 3), "damaged"),  # beyond the greatest
        ("f", (2, 3), "damaged"),  # more is announced
        ("f" * 30 + "0", (2, 3), "damaged"),  # a number beyond all bounds
        ("6", (0, 3), "give sides from 1"),
        ("6", (2**20, 2**20), "less than 2\\^31 pixels"),
        ("6", (2.5, 3), r"size\[0\] is 2.5; give a whole number"),
        ("6", (2, 3, 1), r"size is \(2, 3, 1\); give two whole numbers"),
        ("6", 6, "size is 6; give two whole numbers"),
    ],
)
def test_damaged_run_lengths_are_refused(counts, size, message):
    with pytest.raises(ValueError, match=message):
        ops.decode_rle(counts, size)


@hypothesis.given(strategies.binary(max_size=40), strategies.integers(1, 9), strategies.integers(1, 9))
def test_any_text_is_read_or_refused(counts, height, width):
    try:
        mask = ops.decode_rle(counts, (height, width))
    except ValueError:
        return
    assert mask.shape == (height, width)
    np.testing.assert_array_equal(ops.decode_rle(ops.encode_rle(mask), mask.shape), mask)
