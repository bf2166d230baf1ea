"""Thresholds at which no decision hangs on the last digits of the network's outputs.

Two engines that run the same fp32 network differ in the last digits. Where a score lies that close to the confidence threshold, or an
overlap that close to the IoU threshold, either answer is right. The comparisons of whole pipelines therefore take, for each picture,
thresholds in a gap: no score and no deciding overlap of the peer's own network output lies near them. All else is compared strictly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torchvision.ops import batched_nms, box_iou

DETECTIONS_WANTED = (20, 300)
# Of scores in 0..1 and of overlaps in 0..1; scores of two engines differ by 1e-4 at most, which is what is allowed.
SMALLEST_SCORE_GAP = 3e-4
SMALLEST_OVERLAP_GAP = 2e-3
_WIDEST_GAPS_TRIED = 24
_MOST_CANDIDATES = 4000


class Thresholds(NamedTuple):
    confidence: float
    iou_threshold: float
    detections: int


def clear_thresholds(prediction: np.ndarray, default_iou_threshold: float) -> Thresholds | None:
    """Thresholds in gaps of one picture's network output, at which it has 20 to 300 detections.

    Args:
        prediction: float32 [4 + class count, anchors], decoded: cx, cy, w, h in input pixels, then scores.
        default_iou_threshold: the convention's; values around it are tried until an overlap gap is found.
    Returns:
        None where the picture has no such thresholds (one pixel enlarged to the network's input, for instance).
    """
    scores, class_ids = prediction[4:].max(0), prediction[4:].argmax(0)
    order = np.argsort(-scores, kind="stable")[:_MOST_CANDIDATES]
    scores, class_ids, centres, sizes = scores[order], class_ids[order], prediction[:2, order].T, prediction[2:4, order].T
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], 1)
    gaps = scores[:-1] - scores[1:]
    candidate_counts = np.flatnonzero((gaps >= SMALLEST_SCORE_GAP) & (scores[1:] > 0.02)) + 1
    # Widest first, but from all over the range: few candidates mean few detections, many mean knife edges.
    for count in candidate_counts[np.argsort(-gaps[candidate_counts - 1])][:_WIDEST_GAPS_TRIED]:
        confidence = float((scores[count - 1] + scores[count]) / 2)
        for step in range(10):
            iou_threshold = default_iou_threshold + (step + 1) // 2 * 0.007 * (-1) ** step
            detections, margin = _suppression_margin(boxes[:count], scores[:count], class_ids[:count], iou_threshold)
            if not DETECTIONS_WANTED[0] <= detections < DETECTIONS_WANTED[1]:
                break
            if margin >= SMALLEST_OVERLAP_GAP:
                return Thresholds(confidence, iou_threshold, detections)
    return None


def _suppression_margin(boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, iou_threshold: float) -> tuple[int, float]:
    """How many boxes are kept, and how far the overlap nearest to the threshold is from it, of those that decide.

    A box's fate hangs on its largest overlap with the kept boxes of its class that are surer than it.
    """
    if len(boxes) < DETECTIONS_WANTED[0]:
        return 0, 0.0
    corners = torch.from_numpy(boxes.astype(np.float64))
    classes = torch.from_numpy(class_ids)
    kept = batched_nms(corners, torch.from_numpy(scores.astype(np.float64)), classes, iou_threshold)
    overlaps = box_iou(corners, corners[kept])
    surer = torch.arange(len(boxes))[:, None] > kept[None, :]  # Sorted by score: a lower index is surer.
    deciding = torch.where(surer & (classes[:, None] == classes[kept][None, :]), overlaps, 0.0).amax(1)
    return len(kept), float((deciding - iou_threshold).abs().min())
