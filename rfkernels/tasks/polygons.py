"""Outlines of masks in the form that a response has them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Contour = NDArray[np.int32]


def merged(contours: Sequence[Contour]) -> Contour:
    """Several contours [k, 2] as one closed walk, as ultralytics 8.4 answers for a mask of several parts.

    Each contour is joined to the next where the two are closest. The walk goes out along the contours, around the last,
    and returns along the other sides of those between.
    """
    if len(contours) == 1:
        return contours[0]
    joints = [_closest(here, there) for here, there in itertools.pairwise(contours)]
    first, last = _from(contours[0], joints[0][0]), _from(contours[-1], joints[-1][1])
    out, back = [first], [last]
    for contour, (_, entrance), (leaving, _) in zip(contours[1:-1], joints, joints[1:], strict=False):
        # Where the walk would leave before it came, it goes round the contour the other way.
        walk = _from(contour, entrance) if entrance <= leaving else _from(contour[::-1], len(contour) - 1 - entrance)
        length = abs(leaving - entrance)
        out.append(walk[: length + 1])
        back.append(walk[length:])
    return np.concatenate([*out, *back[:1], *back[:0:-1]])


def _closest(here: Contour, there: Contour) -> tuple[int, int]:
    """Which point of one contour and which of another are closest; the first of equals."""
    apart = np.square(here[:, np.newaxis].astype(np.int64) - there).sum(axis=-1)
    row, column = np.unravel_index(apart.argmin(), apart.shape)
    return int(row), int(column)


def _from(contour: Contour, start: int) -> Contour:
    """A contour from one of its points round to that point again."""
    return np.concatenate([contour[start:], contour[: start + 1]])
