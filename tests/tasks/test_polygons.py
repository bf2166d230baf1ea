"""Several outlines as one walk: small cases by hand, random ones against the definition."""

from __future__ import annotations

import definitions
import numpy as np
import pytest

from rfkernels.tasks.polygons import merged


def square(x, y, side=2):
    """Counter-clockwise on the screen from the upper left, as outlines are."""
    return [[x, y], [x, y + side], [x + side, y + side], [x + side, y]]


def walk_of(*contours):
    return merged([np.array(contour, np.int32) for contour in contours]).tolist()


def test_one_outline_stays_as_it_is():
    assert walk_of(square(3, 4)) == square(3, 4)
    assert walk_of([[5, 5]]) == [[5, 5]]


def test_two_outlines_are_joined_where_they_are_closest():
    left, right = square(0, 0), square(5, 0)
    # (2, 2) is as close to (5, 2) as (2, 0) to (5, 0): the first of the equals, on both.
    assert walk_of(left, right) == [
        *[[2, 2], [2, 0], [0, 0], [0, 2], [2, 2]],
        *[[5, 2], [7, 2], [7, 0], [5, 0], [5, 2]],
    ]
    assert walk_of(right, left) == [
        *[[5, 0], [5, 2], [7, 2], [7, 0], [5, 0]],
        *[[2, 0], [0, 0], [0, 2], [2, 2], [2, 0]],
    ]


def test_a_walk_returns_on_the_other_side_of_those_between():
    # Entered at (5, 2), its second point, and left at (7, 2), its third.
    assert walk_of(square(0, 0), square(5, 0), square(10, 0)) == [
        *[[2, 2], [2, 0], [0, 0], [0, 2], [2, 2]],
        *[[5, 2], [7, 2]],
        *[[10, 2], [12, 2], [12, 0], [10, 0], [10, 2]],
        *[[7, 2], [7, 0], [5, 0], [5, 2]],
    ]


def test_an_outline_that_would_be_left_before_it_is_entered_is_turned_round():
    # Entered at (7, 0), its last point, and left at (5, 0), its first.
    right, left = square(10, 0), square(0, 0)
    round_right, round_left = [*right, right[0]], [[2, 0], [0, 0], [0, 2], [2, 2], [2, 0]]
    assert walk_of(right, square(5, 0), left) == [
        *round_right,
        *[[7, 0], [7, 2], [5, 2], [5, 0]],
        *round_left,
        *[[5, 0], [7, 0]],
    ]
    # Entered at its second and left at its first, which is the shorter way once it is turned round.
    assert walk_of(right, [[5, 0], [7, 0], [7, 2], [5, 2]], left) == [
        *round_right,
        *[[7, 0], [5, 0]],
        *round_left,
        *[[5, 0], [5, 2], [7, 2], [7, 0]],
    ]


def test_an_outline_entered_and_left_at_one_point_is_walked_round_on_the_way_back():
    point, far, spike = [[3, 0]], [[9, 0]], [[6, 0], [5, 9], [7, 9]]
    assert walk_of(point, spike, far) == [[3, 0], [3, 0], [6, 0], [9, 0], [9, 0], [6, 0], [5, 9], [7, 9], [6, 0]]


@pytest.mark.parametrize("count", [2, 3, 4, 9])
@pytest.mark.parametrize("longest", [1, 3, 40])
def test_random_outlines_equal_the_definition(rng, count, longest):
    for _ in range(20):
        contours = [
            rng.integers(-50, 50, (int(rng.integers(1, longest + 1)), 2)).astype(np.int32) for _ in range(count)
        ]
        walk = merged(contours)
        assert walk.tolist() == definitions.joined([contour.tolist() for contour in contours])
        # Every point of every outline is passed, and two of each twice, or one where it is entered and left there.
        passed = {tuple(point) for point in walk.tolist()}
        assert passed == {tuple(point) for contour in contours for point in contour.tolist()}
        assert len(walk) == sum(map(len, contours)) + 2 * (count - 1)


def test_distances_do_not_overflow():
    # Squared they are beyond 32 bits, where (0, 0) would be closer to the far point.
    here, there = [[0, 0], [70000, 0]], [[70010, 0], [46341 + 70000, 46341]]
    assert walk_of(here, there)[:3] == [[70000, 0], [0, 0], [70000, 0]]
    assert walk_of(here, there)[3] == [70010, 0]
