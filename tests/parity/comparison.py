"""Detections of two pipelines, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SCORE_TOLERANCE = 1e-4
# Convention v2: two roundings may differ only where the unrounded edge lies this near to a tie, in pixels of the
# picture.
TIE_BAND = 0.01
# Convention ultralytics: boxes are not rounded; in pixels of the network's input, divided by the scale for those of the
# picture.
BOX_TOLERANCE = 0.05


@dataclass
class Detected:
    """boxes float [n, 4], x1 y1 x2 y2 in pixels of the picture; scores float32 [n]; class_ids int [n]; by descending
    score."""

    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray


def of_response(response) -> Detected:
    """Corners and scores of a V2 response."""
    predictions = response.predictions
    centres = np.array([(p.x, p.y) for p in predictions], np.float64).reshape(-1, 2)
    sizes = np.array([(p.width, p.height) for p in predictions], np.float64).reshape(-1, 2)
    return Detected(
        np.concatenate([centres - sizes / 2, centres + sizes / 2], 1),
        np.array([p.confidence for p in predictions], np.float32),
        np.array([p.class_id for p in predictions], np.int64),
    )


def in_the_order_of(actual: Detected, expected: Detected, score_tolerance: float, picture: str) -> tuple[Detected, int]:
    """`actual` sorted as `expected` is, and how many detections had to move for it; see `places_of`."""
    places = places_of(expected, actual, score_tolerance, picture)
    moved = sum(place != index for index, place in enumerate(places))
    return Detected(actual.boxes[places], actual.scores[places], actual.class_ids[places]), moved


def places_of(expected: Detected, actual: Detected, score_tolerance: float, picture: str) -> list[int]:
    """For each expected detection its place among the actual ones.

    Two scores nearer to each other than the two engines' difference may stand in either order; that is the only move
    allowed, so that afterwards everything is compared place by place.
    """
    count = len(expected.scores)
    assert len(actual.scores) == count, f"{picture}: {len(actual.scores)} detections, expected {count}"
    free = list(range(count))
    places = []
    for index in range(count):
        for candidate in free:
            same_class = actual.class_ids[candidate] == expected.class_ids[index]
            near = abs(float(actual.scores[candidate]) - float(expected.scores[index])) <= score_tolerance
            if same_class and near and np.abs(actual.boxes[candidate] - expected.boxes[index]).max() <= 1.5:
                free.remove(candidate)
                places.append(candidate)
                break
        else:
            raise AssertionError(
                f"{picture}: detection {index} of {count} has no partner: class {expected.class_ids[index]}, "
                f"score {expected.scores[index]}, box {expected.boxes[index].tolist()}; "
                f"in its place: class {actual.class_ids[index]}, score {actual.scores[index]}, "
                f"box {actual.boxes[index].tolist()}"
            )
    return places


def unrounded_edges(prediction: np.ndarray, expected: Detected, placement, size: tuple[int, int]) -> np.ndarray:
    """Edges in pixels of the picture, before rounding and after clamping, of detections found in a network output:
    float64 [n, 4].

    Args:
        prediction: float32 [4 + class count, anchors] that `expected` was made from: a detection is found by its score
            and class.
        placement: crop, left, top, scale_x, scale_y of the picture in the network's input.
        size: (height, width) of the picture.
    """
    edges, anchors = _edges(prediction, placement, size), anchors_of(prediction, expected, placement, size)
    return edges[anchors].reshape(-1, 4)


def anchors_of(prediction: np.ndarray, expected: Detected, placement, size: tuple[int, int]) -> list[int]:
    """The anchor of each detection; arguments as those of `unrounded_edges`."""
    edges, scores = _edges(prediction, placement, size), prediction[4:]
    found = []
    for score, class_id, box in zip(expected.scores, expected.class_ids, expected.boxes, strict=True):
        anchors = np.flatnonzero(scores[class_id] == score)
        assert len(anchors), (
            f"no anchor has the score {score} for class {class_id}: not the output that the peer's result came from"
        )
        found.append(int(anchors[np.abs(edges[anchors] - box).max(1).argmin()]))
    return found


def _edges(prediction: np.ndarray, placement, size: tuple[int, int]) -> np.ndarray:
    """Of all anchors, in pixels of the picture: float64 [anchors, 4]."""
    centres, sizes = prediction[:2].T.astype(np.float64), prediction[2:4].T.astype(np.float64)
    offset = np.array([placement.left, placement.top] * 2)
    scale = np.array([placement.scale_x, placement.scale_y] * 2)
    edges = (np.concatenate([centres - sizes / 2, centres + sizes / 2], 1) - offset) / scale
    return np.clip(edges + [placement.crop.x, placement.crop.y] * 2, 0, np.array([size[1], size[0]] * 2))


def apart_at_ties(actual: np.ndarray, expected: np.ndarray, unrounded: np.ndarray, name: str) -> int:
    """How many of two sets of whole pixels differ: by one, and only where the unrounded value is at a tie."""
    difference = np.abs(actual - expected)
    from_tie = np.abs(unrounded - np.floor(unrounded) - 0.5)
    unexplained = (difference > 0) & ((difference > 1) | (from_tie > TIE_BAND))
    assert not unexplained.any(), (
        f"{name}: {actual[unexplained]}, expected {expected[unexplained]}, unrounded {unrounded[unexplained]}"
    )
    return int((difference > 0).sum())
