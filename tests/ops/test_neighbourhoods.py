"""Rows for convolutions at a few pixels: against the definition, and against the convolutions themselves."""

import numpy as np
import pytest

from rfkernels import _native, ops
from rfkernels.reference.neighbourhoods import neighbourhoods as definition

GRIDS = [(1, 1), (1, 7), (7, 1), (2, 2), (3, 5), (9, 6), (20, 20), (80, 80)]


@pytest.mark.parametrize(("height", "width"), GRIDS)
@pytest.mark.parametrize("share", [0.0, 0.03, 0.4, 1.0])
def test_equals_the_definition(height, width, share, rng):
    count = int(np.ceil(share * height * width))
    for pixels in (
        rng.integers(0, height * width, count).astype(np.int32),  # in any order, some of them twice
        np.arange(count, dtype=np.int32),
    ):
        rows = {"first_row": 3 * height * width, "outside_row": 5 * height * width}
        expected = definition(pixels, height, width, **rows)
        actual = ops.neighbourhoods(pixels, height, width, **rows)
        for ours, theirs in zip(actual, expected, strict=True):
            assert ours.dtype == np.int32
            np.testing.assert_array_equal(ours, theirs)


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
    outer, inner = ops.neighbourhoods(np.arange(height * width), height, width, outside_row=height * width)
    assert outer.tolist() == expected
    assert inner.tolist() == [[(number + 1) % (height * width + 1) for number in row] for row in expected]


def test_two_convolutions_at_a_few_pixels(rng):
    height, width, channels = 9, 6, 4
    features = rng.normal(size=(height, width, channels))
    weights = [rng.normal(size=(3, 3, channels, channels)) for _ in range(2)]

    def convolve(values, weight):
        padded = np.pad(values, ((1, 1), (1, 1), (0, 0)))
        return sum(padded[y : y + height, x : x + width] @ weight[y, x] for y in range(3) for x in range(3))

    pixels = np.array([0, 5, 53, 30, 30, 48])
    expected = convolve(convolve(features, weights[0]), weights[1]).reshape(-1, channels)[pixels]
    outer, inner = ops.neighbourhoods(pixels, height, width, outside_row=height * width)
    rows = np.concatenate([features.reshape(-1, channels), np.zeros((1, channels))])
    hidden = rows[outer].reshape(len(outer), -1) @ weights[0].reshape(-1, channels)
    hidden = np.concatenate([np.zeros((1, channels)), hidden])
    actual = hidden[inner].reshape(len(inner), -1) @ weights[1].reshape(-1, channels)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": [-1]}, "pixels has -1; give numbers from 0 to 11"),
        ({"pixels": [3, 12]}, "pixels has 12; give numbers from 0 to 11"),
        ({"pixels": [1.5]}, "pixels has dtype float64"),
        ({"pixels": [2**40]}, "pixels has dtype int64"),
        ({"pixels": [[1]]}, r"pixels has dtype int64 and shape \(1, 1\)"),
        ({"height": 0}, "grid is 0 x 4"),
        ({"width": -4}, "grid is 3 x -4"),
        ({"height": 2**40, "pixels": []}, "grid is 1099511627776 x 4"),
        ({"height": 3.0}, "height is 3.0"),
        ({"first_row": -1}, "first_row is -1"),
        ({"first_row": 2**31 - 3}, "first_row is 2147483645"),
        ({"outside_row": 2**31}, "outside_row is 2147483648"),
    ],
)
def test_wrong_arguments_are_refused(changes, message):
    arguments = {"pixels": [0, 5], "height": 3, "width": 4, "first_row": 0, "outside_row": 12}
    ops.neighbourhoods(**arguments)
    with pytest.raises(ValueError, match=message):
        ops.neighbourhoods(**arguments | changes)


def test_memory_that_does_not_hold_them_is_refused():
    pixels = np.array([5], np.int32)
    inner = np.empty((1, 9), np.int32)
    with pytest.raises(ValueError, match="outer has 8 rows, which are not enough"):
        _native.write_neighbourhoods(pixels, 4, 4, 0, 16, np.empty((8, 9), np.int32), inner)
    with pytest.raises(ValueError, match=r"inner has shape \(0, 9\); give \[1 or more, 9\]"):
        _native.write_neighbourhoods(pixels, 4, 4, 0, 16, np.empty((9, 9), np.int32), inner[:0])
    inner.flags.writeable = False
    with pytest.raises(ValueError, match="inner is read-only"):
        _native.write_neighbourhoods(pixels, 4, 4, 0, 16, np.empty((9, 9), np.int32), inner)
