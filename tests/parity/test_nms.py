"""`rfkernels.ops.nms` equals `torchvision.ops.batched_nms` (issue: >= 500 random sets, clustered and adversarial ones
too).

batched_nms keeps classes apart by moving each class's boxes by class * (largest coordinate + 1), or, above 1,000 boxes
on a CPU, by looping over the classes. The first is exact only where the moved coordinates are still exact in float32,
so all coordinates here are multiples of 1/8 below 1,024 and not negative: with 80 classes they stay below 2**17, 17 + 3
bits of the 24 there are. The second sorts its survivors with an unstable sort, so equal scores are put in the order of
their index before they are compared.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from rfkernels import ops

LIMIT = 1023.875


def on_grid(boxes: np.ndarray) -> np.ndarray:
    """Corners to multiples of 1/8 in [0, LIMIT], x1 <= x2 and y1 <= y2."""
    boxes = np.clip(np.round(boxes * 8) / 8, 0, LIMIT)
    return np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1).astype(
        np.float32
    )


def spread(rng: np.random.Generator, count: int) -> np.ndarray:
    """Boxes anywhere, of any size."""
    first, second = rng.uniform(0, LIMIT, (2, count, 2))
    return on_grid(np.concatenate([first, second], 1))


def clustered(rng: np.random.Generator, count: int) -> np.ndarray:
    """A few objects, each with a crowd of slightly different boxes, as a detector leaves them before suppression."""
    objects = rng.uniform(100, 900, (max(count // 40, 1), 2))
    centres = objects[rng.integers(0, len(objects), count)] + rng.normal(0, 6, (count, 2))
    sizes = rng.uniform(20, 160, (count, 2))
    return on_grid(np.concatenate([centres - sizes / 2, centres + sizes / 2], 1))


def chained(rng: np.random.Generator, count: int) -> np.ndarray:
    """A staircase: each box overlaps its neighbours only, so that who is kept depends on who was suppressed before."""
    size = float(rng.choice([16, 32, 64]))
    start = np.arange(count) % 230 * 4.0
    return on_grid(np.stack([start, start, start + size, start + size], 1))


def nested(rng: np.random.Generator, count: int) -> np.ndarray:
    """All with the same centre."""
    half = rng.uniform(0, 400, (count, 1))
    return on_grid(np.concatenate([500 - half, 500 - half, 500 + half, 500 + half], 1))


def identical(rng: np.random.Generator, count: int) -> np.ndarray:
    """A handful of boxes, each many times."""
    return spread(rng, 5)[rng.integers(0, 5, count)]


def without_area(rng: np.random.Generator, count: int) -> np.ndarray:
    """Points and lines among ordinary boxes: 0 / 0 overlaps."""
    boxes = clustered(rng, count)
    flat = rng.random(count) < 0.5
    boxes[flat, 2] = boxes[flat, 0]
    points = rng.random(count) < 0.25
    boxes[points, 2:] = boxes[points, :2]
    return boxes


LAYOUTS = (spread, clustered, chained, nested, identical, without_area)
THRESHOLDS = (0.3, 0.45, 0.5, 0.7, 0.0, 1.0)


def random_scores(rng: np.random.Generator, count: int, tied: bool) -> np.ndarray:
    scores = rng.random(count, dtype=np.float32)
    return np.round(scores * 8) / np.float32(8) if tied else scores


def expected_indices(
    boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, iou_threshold: float, class_agnostic: bool
) -> np.ndarray:
    classes = np.zeros_like(class_ids) if class_agnostic else class_ids
    kept = batched_nms(
        torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(classes.astype(np.int64)), iou_threshold
    ).numpy()
    return kept[np.lexsort((kept, -scores[kept]))]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_nms_equals_torchvision_on_random_sets(layout, rng, figure):
    sets, boxes_seen, boxes_kept = 0, 0, 0
    for repetition in range(100):
        count = int(rng.choice([1, 2, 3, 17, 64, 200, 700]) if repetition % 20 else rng.choice([1500, 3000]))
        boxes = layout(rng, count)
        scores = random_scores(rng, count, tied=repetition % 3 == 0)
        class_ids = rng.integers(0, int(rng.choice([1, 2, 80])), count, dtype=np.int32)
        iou_threshold = THRESHOLDS[repetition % len(THRESHOLDS)]
        class_agnostic = repetition % 4 == 1
        expected = expected_indices(boxes, scores, class_ids, iou_threshold, class_agnostic)
        kept = ops.nms(
            boxes,
            scores,
            class_ids,
            iou_threshold=iou_threshold,
            class_agnostic=class_agnostic,
            max_detections=max(count, 1),
        )
        np.testing.assert_array_equal(
            kept.indices,
            expected,
            err_msg=f"set {repetition}: {count} boxes, threshold {iou_threshold}, agnostic {class_agnostic}",
        )
        assert not kept.overflowed
        sets, boxes_seen, boxes_kept = sets + 1, boxes_seen + count, boxes_kept + len(expected)
    assert boxes_kept < boxes_seen, "nothing was suppressed: the sets prove nothing"
    figure(
        f"nms {layout.__name__}: {sets} sets, {boxes_seen} boxes, {boxes_kept} kept: "
        "0 differences from torchvision.ops.batched_nms"
    )


def test_nms_equals_torchvision_on_a_knife_edge(figure):
    """IoU of exactly n/d at a threshold of n/d: float32(n/d) may lie on either side of the float64 threshold."""
    outcomes: Counter[int] = Counter()
    for denominator in range(2, 121):
        for numerator in range(1, denominator):
            boxes = np.array([[0, 0, denominator, 1], [0, 0, numerator, 1]], np.float32)
            scores = np.array([0.9, 0.8], np.float32)
            class_ids = np.zeros(2, np.int32)
            threshold = float(Fraction(numerator, denominator))
            expected = expected_indices(boxes, scores, class_ids, threshold, class_agnostic=False)
            kept = ops.nms(boxes, scores, class_ids, iou_threshold=threshold)
            np.testing.assert_array_equal(
                kept.indices, expected, err_msg=f"IoU and threshold {numerator}/{denominator}"
            )
            outcomes[len(expected)] += 1
    assert len(outcomes) == 2, f"all on one side ({outcomes}): not a knife edge"
    figure(
        f"nms knife edge: {outcomes.total()} pairs of IoU n/d at n/d, {outcomes[1]} suppressed, "
        f"{outcomes[2]} kept: 0 differences"
    )


@pytest.mark.parametrize("max_detections", [1, 7, 300])
def test_nms_keeps_the_best_of_what_torchvision_keeps(max_detections, rng):
    boxes = spread(rng, 900)
    scores = random_scores(rng, 900, tied=False)
    class_ids = rng.integers(0, 80, 900, dtype=np.int32)
    expected = expected_indices(boxes, scores, class_ids, 0.7, class_agnostic=False)
    kept = ops.nms(boxes, scores, class_ids, iou_threshold=0.7, max_detections=max_detections)
    np.testing.assert_array_equal(kept.indices, expected[:max_detections])
    assert kept.overflowed == (len(expected) > max_detections)
