"""Rows for convolutions at a few pixels: against the definition, and against the convolutions themselves."""

import numpy as np
import pytest

from rfkernels import _native, ops
from rfkernels.ops import FeatureGrid
from rfkernels.reference.neighbourhoods import neighbourhoods as definition

GRIDS = [(1, 1), (1, 7), (7, 1), (2, 2), (3, 5), (9, 6), (20, 20), (80, 80)]


def assert_same(actual, expected):
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        for left, right in zip(ours, theirs, strict=True):
            assert left.dtype == np.int32
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(("height", "width"), GRIDS)
@pytest.mark.parametrize("share", [0.0, 0.03, 0.4, 1.0])
def test_equals_the_definition(height, width, share, rng):
    count = int(np.ceil(share * height * width))
    for pixels in (
        rng.integers(0, height * width, count).astype(np.int32),  # in any order, some of them twice
        np.arange(count, dtype=np.int32),
    ):
        for row_counts in ([], [4, 8, 16, 50], [10_000]):
            grids = [FeatureGrid(height, width, 3 * height * width, 5 * height * width)]
            expected = definition(pixels, [count], grids, row_counts=row_counts)
            assert_same(ops.neighbourhoods(pixels, [count], grids, row_counts=row_counts), expected)


def test_several_grids_equal_each_on_its_own(rng):
    for _ in range(20):
        grids = [FeatureGrid(*rng.integers(1, 12, 2).tolist(), first_row, 900) for first_row in (7, 0, 300, 20)]
        pixels, counts, alone, first_pixel = [], [], [], 0
        for grid in grids:
            pixel_count = grid.height * grid.width
            own = rng.integers(0, pixel_count, int(rng.integers(0, 2 * pixel_count)))
            alone += ops.neighbourhoods(own, [len(own)], [grid], row_counts=[16, 24])
            pixels.append(own + first_pixel)
            counts.append(len(own))
            first_pixel += pixel_count
        together = np.concatenate(pixels).astype(np.int32)
        assert_same(ops.neighbourhoods(together, counts, grids, row_counts=[16, 24]), alone)
        assert_same(definition(together, counts, grids, row_counts=[16, 24]), alone)


def test_rows_are_added_as_far_as_the_grid_has_pixels():
    grids = [FeatureGrid(4, 5, 0, 20), FeatureGrid(4, 5, 0, 20)]
    pixels = np.array([0, 20, 20, 20])

    def shapes(row_counts):
        results = ops.neighbourhoods(pixels, [1, 3], grids, row_counts=row_counts)
        assert all((inner[n:] == 0).all() for (_, inner), n in zip(results, (1, 3), strict=True))
        assert all((outer[4:] == 20).all() and (outer[:4] != 20).any(axis=1).all() for outer, _ in results)
        return [(len(outer), len(inner)) for outer, inner in results]

    assert shapes([]) == [(4, 1), (4, 3)]
    assert shapes([2]) == [(4, 2), (4, 3)]
    assert shapes([2, 3, 5]) == [(5, 2), (5, 3)]
    assert shapes([100]) == [(20, 20), (20, 20)]


@pytest.mark.parametrize(("height", "width"), GRIDS[:6])
def test_every_pixel_has_the_neighbours_written_out(height, width):
    expected = [
        [
            (y + dy) * width + x + dx if 0 <= y + dy < height and 0 <= x + dx < width else height * width
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        ]
        for y in range(height)
        for x in range(width)
    ]
    pixel_count = height * width
    grid = FeatureGrid(height, width, 0, pixel_count)
    ((outer, inner),) = ops.neighbourhoods(np.arange(pixel_count), [pixel_count], [grid])
    assert outer.tolist() == expected
    assert inner.tolist() == [[(number + 1) % (pixel_count + 1) for number in row] for row in expected]


def test_two_convolutions_at_a_few_pixels(rng):
    height, width, channels = 9, 6, 4
    features = rng.normal(size=(height, width, channels))
    weights = [rng.normal(size=(3, 3, channels, channels)) for _ in range(2)]

    def convolve(values, weight):
        padded = np.pad(values, ((1, 1), (1, 1), (0, 0)))
        return sum(padded[y : y + height, x : x + width] @ weight[y, x] for y in range(3) for x in range(3))

    pixels = np.array([0, 5, 53, 30, 30, 48])
    expected = convolve(convolve(features, weights[0]), weights[1]).reshape(-1, channels)[pixels]
    ((outer, inner),) = ops.neighbourhoods(pixels, [6], [FeatureGrid(height, width, 0, height * width)])
    rows = np.concatenate([features.reshape(-1, channels), np.zeros((1, channels))])
    hidden = rows[outer].reshape(len(outer), -1) @ weights[0].reshape(-1, channels)
    hidden = np.concatenate([np.zeros((1, channels)), hidden])
    actual = hidden[inner].reshape(len(inner), -1) @ weights[1].reshape(-1, channels)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": [-1, 3]}, r"pixels of grids\[0\] has -1; give numbers from 0 to 11"),
        ({"pixels": [3, 12]}, r"pixels of grids\[0\] has 12; give numbers from 0 to 11"),
        ({"pixels": [3, 4], "counts": [1, 1]}, r"pixels of grids\[1\] has 4; give numbers from 12 to 13"),
        ({"pixels": [3, 14], "counts": [1, 1]}, r"pixels of grids\[1\] has 14; give numbers from 12 to 13"),
        ({"pixels": [1.5, 2]}, "pixels has dtype float64"),
        ({"pixels": [2**40, 2]}, "pixels has dtype int64"),
        ({"pixels": [[1, 2]]}, r"pixels has dtype int64 and shape \(1, 2\)"),
        ({"counts": [1, 0]}, r"counts is \[1, 0\] for 2 pixels and 2 grids"),
        ({"counts": [3, 0]}, r"counts is \[3, 0\] for 2 pixels and 2 grids"),
        ({"counts": [3, -1]}, r"counts is \[3, -1\] for 2 pixels and 2 grids"),
        ({"counts": [2]}, r"counts is \[2\] for 2 pixels and 2 grids"),
        ({"counts": [2.0, 0]}, r"counts\[0\] is 2.0"),
        ({"grid": (0, 4, 0, 12)}, r"grids\[0\] is 0 x 4"),
        ({"grid": (3, -4, 0, 12)}, r"grids\[0\] is 3 x -4"),
        ({"grid": (2**40, 4, 0, 12)}, r"grids\[0\] is 1099511627776 x 4"),
        ({"grid": (3.0, 4, 0, 12)}, r"grids\[0\]\[0\] is 3.0"),
        ({"grid": (3, 4, -1, 12)}, r"grids\[0\] has first_row -1"),
        ({"grid": (3, 4, 2**31 - 3, 12)}, r"grids\[0\] has first_row 2147483645"),
        ({"grid": (3, 4, 0, 2**31)}, r"grids\[0\] has .* outside_row 2147483648"),
        ({"grid": (2**31, 2, 0, 12), "row_counts": [2**62]}, r"grids\[0\] is 2147483648 x 2"),
        ({"grid": (3, 4, 0)}, r"grids\[0\] is \(3, 4, 0\); give a FeatureGrid"),
        ({"grid": (3, 4, 0, 12, 1)}, r"grids\[0\] is \(3, 4, 0, 12, 1\); give a FeatureGrid"),
        ({"row_counts": [16, 8]}, "row_counts are not in ascending order"),
        ({"row_counts": [2**64]}, r"row_counts\[0\] is 18446744073709551616"),
    ],
)
def test_wrong_arguments_are_refused(changes, message):
    given = {"pixels": [0, 5], "counts": [2, 0], "grid": FeatureGrid(3, 4, 0, 12), "row_counts": [8, 16]}

    def call(pixels, counts, grid, row_counts):
        return ops.neighbourhoods(pixels, counts, [grid, FeatureGrid(1, 2, 0, 12)], row_counts=row_counts)

    call(**given)
    with pytest.raises(ValueError, match=message):
        call(**given | changes)


def test_memory_that_does_not_hold_them_is_refused():
    pixels = np.array([5], np.int32)
    grid = FeatureGrid(4, 4, 0, 16)
    none = np.empty(0, np.int64)

    def write(outer, inner, count=1, grids=(grid,)):
        return _native.write_neighbourhoods(pixels, [count], grids, [outer], [inner], none)

    outer, inner = np.empty((9, 9), np.int32), np.empty((1, 9), np.int32)
    assert write(outer, inner) == [(9, 1)]
    for wrong, message in (
        ((outer[:8], inner), r"grids\[0\]: outer has 8 rows, which are not enough"),
        ((outer, inner[:0]), r"grids\[0\]: 1 pixels, but inner has 0 rows"),
        ((outer[:, :8].copy(), inner), r"outer has shape \(9, 8\); give \[n, 9\]"),
        ((outer, inner[0]), r"inner has shape \(9,\); give \[n, 9\]"),
        ((outer.T, inner), "outer holds no C-contiguous array of int32"),
        ((outer, inner.astype(np.int64)), "inner holds no C-contiguous array of int32"),
        ((outer, inner.tolist()), "inner holds no C-contiguous array of int32"),
        ((outer, inner, 2), "counts add up to n"),
        ((outer, inner, -1), "counts add up to n"),
        ((outer, inner, 1, (grid, grid)), "grids has 2 entries, counts 1, outer 1, inner 1"),
    ):
        with pytest.raises(ValueError, match=message):
            write(*wrong)
    for row_counts in (np.array(4), np.array([[2, 4]])):
        with pytest.raises(ValueError, match="row_counts must have one axis"):
            _native.write_neighbourhoods(pixels, [1], [grid], [outer], [inner], row_counts)
    inner.flags.writeable = False
    with pytest.raises(ValueError, match="inner is read-only"):
        write(outer, inner)


def test_nothing_is_written_beyond_the_capacity():
    pixels = np.array([5], np.int32)
    memory = np.full((40, 9), -7, np.int32)
    outer, inner = memory[:12], memory[20:23]
    row_counts = np.array([30], np.int64)
    written = _native.write_neighbourhoods(pixels, [1], [FeatureGrid(4, 4, 0, 16)], [outer], [inner], row_counts)
    assert written == [(12, 3)]
    assert (memory[12:20] == -7).all()
    assert (memory[23:] == -7).all()
