"""What the detection head is trained on: which anchor learns which object, and the three losses.

Sources, by equation and not by any implementation:
- task-aligned assignment: Feng et al., "TOOD", ICCV 2021, section 3.3;
- complete IoU: Zheng et al., "Distance-IoU Loss", AAAI 2020, equations 8 to 11;
- distribution focal loss: Li et al., "Generalized Focal Loss", NeurIPS 2020, equation 6.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.demo.network import DISTANCE_BINS, Detect, anchor_centres, boxes_from_distances, flatten

SCORE_EXPONENT = 0.5
OVERLAP_EXPONENT = 6.0
ANCHORS_PER_OBJECT = 10
BOX_GAIN, CLASS_GAIN, DISTRIBUTION_GAIN = 7.5, 0.5, 1.5
_EPSILON = 1e-9


@dataclass(frozen=True)
class Targets:
    """The labels of a batch, padded to the picture with the most objects.

    boxes: float32 [batch, objects, 4], x1 y1 x2 y2 in pixels; class_ids: int64 [batch, objects];
    present: bool [batch, objects], False where padded.
    """

    boxes: Tensor
    class_ids: Tensor
    present: Tensor


class Assignment(NamedTuple):
    """Which anchors learn an object, which one, and what score.

    positive: bool [batch, anchors]; object_index: int64 [batch, anchors]; scores: float32 [batch, anchors, classes].
    """

    positive: Tensor
    object_index: Tensor
    scores: Tensor


class Losses(NamedTuple):
    """The three losses of a batch, each already multiplied by its gain."""

    box: Tensor
    classes: Tensor
    distribution: Tensor


def complete_iou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """(IoU, complete IoU) of boxes [..., 4], x1 y1 x2 y2, broadcast against each other."""
    overlap = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
    intersection = overlap.clamp(min=0).prod(dim=-1)
    size_first, size_second = first[..., 2:] - first[..., :2], second[..., 2:] - second[..., :2]
    iou = intersection / (size_first.prod(dim=-1) + size_second.prod(dim=-1) - intersection + _EPSILON)
    hull = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2])
    diagonal = hull.square().sum(dim=-1) + _EPSILON
    apart = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]).square().sum(dim=-1) / 4
    angle_first = torch.atan(size_first[..., 0] / (size_first[..., 1] + _EPSILON))
    angle_second = torch.atan(size_second[..., 0] / (size_second[..., 1] + _EPSILON))
    aspect = (4 / math.pi**2) * (angle_second - angle_first).square()
    with torch.no_grad():  # the trade-off is a weight, not something to be optimised (DIoU paper, below equation 11)
        trade_off = aspect / (1 - iou + aspect + _EPSILON)
    return iou, iou - apart / diagonal - trade_off * aspect


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, centres: Tensor, targets: Targets) -> Assignment:
    """Give every object the anchors inside of it that already predict it best in both class and place.

    Args:
        scores: float32 [batch, anchors, classes], after the sigmoid.
        boxes: float32 [batch, anchors, 4], predicted, in pixels.
        centres: float32 [anchors, 2], in pixels.
        targets: the labels.
    """
    batch, anchors, classes = scores.shape
    objects = targets.boxes.shape[1]
    if objects == 0:
        nothing = torch.zeros(batch, anchors, dtype=torch.int64)
        return Assignment(nothing.bool(), nothing, torch.zeros_like(scores))
    edges = targets.boxes[:, :, None]  # [batch, objects, 1, 4] against [anchors, 2]
    inside = (centres > edges[..., :2]).all(dim=-1) & (centres < edges[..., 2:]).all(dim=-1)
    inside &= targets.present[..., None]
    iou = complete_iou(edges, boxes[:, None])[0] * inside  # [batch, objects, anchors]
    score = scores.transpose(1, 2).gather(1, targets.class_ids[..., None].expand(-1, -1, anchors))
    alignment = score.pow(SCORE_EXPONENT) * iou.pow(OVERLAP_EXPONENT)

    # Anchors outside get -1, so that a small object's few anchors are taken before any of them.
    best = alignment.masked_fill(~inside, -1).topk(min(ANCHORS_PER_OBJECT, anchors), dim=-1).indices
    candidate = torch.zeros_like(inside).scatter_(-1, best, True) & inside
    # An anchor wanted by several objects goes to the one it overlaps most.
    object_index = iou.masked_fill(~candidate, -1).argmax(dim=1)
    positive = candidate.any(dim=1)
    mine = functional.one_hot(object_index, objects).transpose(1, 2).bool() & positive[:, None]

    # The alignment of each object is rescaled so that its best anchor's target is its best IoU.
    alignment, iou = alignment * mine, iou * mine
    scale = iou.amax(dim=-1, keepdim=True) / (alignment.amax(dim=-1, keepdim=True) + _EPSILON)
    strength = (alignment * scale).amax(dim=1)  # [batch, anchors]
    class_of_anchor = targets.class_ids.gather(1, object_index)
    return Assignment(positive, object_index, functional.one_hot(class_of_anchor, classes) * strength[..., None])


def distribution_focal(logits: Tensor, distances: Tensor) -> Tensor:
    """Cross entropy towards the two bins next to each distance, averaged over the sides.

    Args:
        logits: float32 [n, 64].
        distances: float32 [n, 4], grid units.

    Returns:
        float32 [n].
    """
    clamped = distances.clamp(0, DISTANCE_BINS - 1 - 0.01)
    lower = clamped.long()
    share = clamped - lower
    log_probabilities = logits.view(-1, 4, DISTANCE_BINS).log_softmax(dim=-1)
    at_lower = log_probabilities.gather(-1, lower[..., None]).squeeze(-1)
    at_upper = log_probabilities.gather(-1, lower[..., None] + 1).squeeze(-1)
    loss: Tensor = -((1 - share) * at_lower + share * at_upper).mean(dim=-1)
    return loss


def detection_losses(raw: list[Tensor], targets: Targets, head: Detect) -> Losses:
    """The losses of a batch from the raw outputs of the three levels."""
    distance_logits, class_logits = flatten(raw)
    centres, strides = anchor_centres(raw)
    boxes = boxes_from_distances(head.dfl(distance_logits), centres)  # grid units
    assignment = assign(class_logits.detach().sigmoid(), boxes.detach() * strides, centres * strides, targets)
    total = assignment.scores.sum().clamp(min=1)

    classes = functional.binary_cross_entropy_with_logits(class_logits, assignment.scores, reduction="sum") / total
    positive = assignment.positive
    if not positive.any():
        nothing = boxes.sum() * 0
        return Losses(nothing, CLASS_GAIN * classes, nothing)
    weight = assignment.scores.sum(dim=-1)[positive]
    wanted = targets.boxes.gather(1, assignment.object_index[..., None].expand(-1, -1, 4)) / strides
    wanted = wanted[positive]
    box = ((1 - complete_iou(boxes[positive], wanted)[1]) * weight).sum() / total
    centre = centres.expand(positive.shape[0], -1, -1)[positive]
    distances = torch.cat([centre - wanted[:, :2], wanted[:, 2:] - centre], dim=-1)
    distribution = (distribution_focal(distance_logits[positive], distances) * weight).sum() / total
    return Losses(BOX_GAIN * box, CLASS_GAIN * classes, DISTRIBUTION_GAIN * distribution)
