"""Thresholds at which no decision hangs on the last digits of the network's outputs.

Two engines that run the same fp32 network differ in the last digits. Where a score lies that close to the confidence
threshold, or an overlap that close to the IoU threshold, either answer is right. The comparisons of whole pipelines
therefore take, for each picture, thresholds in a gap: no score and no deciding overlap of the peer's own network output
lies near them. All else is compared strictly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torchvision.ops import batched_nms, box_iou

# Of scores in 0..1 and of overlaps in 0..1; scores of two engines differ by 1e-4 at most, which is what is allowed.
SMALLEST_SCORE_GAP = 3e-4
SMALLEST_OVERLAP_GAP = 1e-3
_GAPS_TRIED = 60
_MOST_CANDIDATES = 4000


class Thresholds(NamedTuple):
    confidence: float
    iou_threshold: float
    detections: int


def clear_thresholds(
    prediction: np.ndarray, defaults: tuple[float, float], detections: tuple[int, int, int]
) -> Thresholds | None:
    """Thresholds in gaps of one picture's network output.

    Args:
        prediction: float32 [4 + class count, anchors], decoded: cx, cy, w, h in input pixels, then scores.
        defaults: the convention's own confidence and IoU threshold. Taken where they lie in gaps and give a wanted
            number of detections; else others are tried, those first that give nearest to the number wanted.
        detections: fewest, wanted and most.
    Returns:
        None where the picture has no such thresholds (one pixel enlarged to the network's input, for instance).
    """
    scores, class_ids = prediction[4:].max(0), prediction[4:].argmax(0)
    order = np.argsort(-scores, kind="stable")[:_MOST_CANDIDATES]
    scores, class_ids, centres, sizes = (
        scores[order],
        class_ids[order],
        prediction[:2, order].T,
        prediction[2:4, order].T,
    )
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], 1)
    fewest, wanted, most = detections
    default_confidence, default_iou_threshold = defaults
    iou_thresholds = [default_iou_threshold + (step + 1) // 2 * 0.007 * (-1) ** step for step in range(10)]
    gaps = scores[:-1] - scores[1:]
    counts = np.flatnonzero((gaps >= SMALLEST_SCORE_GAP) & (scores[1:] > 0.01)) + 1
    # Suppression leaves about every second candidate.
    nearest = counts[np.argsort(np.abs(np.log(counts / (2 * wanted))), kind="stable")][:_GAPS_TRIED]
    confidences = [float((scores[count - 1] + scores[count]) / 2) for count in nearest]
    if np.abs(scores - default_confidence).min() > SMALLEST_SCORE_GAP / 2:
        confidences.insert(0, default_confidence)
    for confidence in confidences:
        count = int((scores > np.float32(confidence)).sum())
        for iou_threshold in iou_thresholds:
            kept, margin = _suppression_margin(boxes[:count], scores[:count], class_ids[:count], iou_threshold)
            if not fewest <= kept < most:
                break
            if margin >= SMALLEST_OVERLAP_GAP:
                return Thresholds(confidence, iou_threshold, kept)
    return None


def _suppression_margin(
    boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, iou_threshold: float
) -> tuple[int, float]:
    """How many boxes are kept, and how far the overlap nearest to the threshold is from it, of those that decide.

    A box's fate hangs on its largest overlap with the kept boxes of its class that are surer than it. Those that are
    surer by less than two engines differ do not count for a box that is dropped: in the other engine it may come first.
    """
    if not len(boxes):
        return 0, 0.0
    corners, classes = torch.from_numpy(boxes.astype(np.float64)), torch.from_numpy(class_ids)
    sure = torch.from_numpy(scores.astype(np.float64))
    kept = batched_nms(corners, sure, classes, iou_threshold)
    is_kept = torch.zeros(len(boxes), dtype=torch.bool)
    is_kept[kept] = True
    overlaps = torch.where(classes[:, None] == classes[kept][None, :], box_iou(corners, corners[kept]), 0.0)
    surer = torch.arange(len(boxes))[:, None] > kept[None, :]  # Sorted by score: a lower index is surer.
    clearly_surer = sure[kept][None, :] - sure[:, None] > SMALLEST_SCORE_GAP
    room = iou_threshold - torch.where(surer, overlaps, 0.0).amax(1)
    excess = torch.where(clearly_surer, overlaps, 0.0).amax(1) - iou_threshold
    return len(kept), float(torch.where(is_kept, room, excess).min())
