"""What the heads are trained on: which anchor learns which object, and the losses.

Sources, by equation and not by any implementation:
- task-aligned assignment: Feng et al., "TOOD", ICCV 2021, section 3.3;
- complete IoU: Zheng et al., "Distance-IoU Loss", AAAI 2020, equations 8 to 11;
- distribution focal loss: Li et al., "Generalized Focal Loss", NeurIPS 2020, equation 6;
- masks: Bolya et al., "YOLACT", ICCV 2019, sections 3.1 and 3.3 (binary cross entropy within the box, over its area);
- keypoints: Maji et al., "YOLO-Pose", CVPR workshops 2022, section 3.4 (one minus the keypoint similarity).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.demo.network import (
    DISTANCE_BINS,
    PROTOTYPE_STRIDE,
    Head,
    RawOutputs,
    anchor_centres,
    boxes_from_distances,
    flatten,
    keypoints_from_rows,
    rows_of,
)

SCORE_EXPONENT = 0.5
OVERLAP_EXPONENT = 6.0
ANCHORS_PER_OBJECT = 10
BOX_GAIN, CLASS_GAIN, DISTRIBUTION_GAIN = 7.5, 0.5, 1.5
MASK_GAIN, KEYPOINT_GAIN, PRESENCE_GAIN = 6.0, 8.0, 0.5
# Of the keypoint similarity, in units of the square root of the area: the wide one pulls points from anywhere in the
# object, the narrow one, which is that of the evaluation, puts them in place.
KEYPOINT_SIGMAS = (0.2, 0.05)
_EPSILON = 1e-9


@dataclass(frozen=True)
class Targets:
    """The labels of a batch, padded to the picture with the most objects.

    boxes: float32 [batch, objects, 4], x1 y1 x2 y2 in pixels; class_ids: int64 [batch, objects];
    present: bool [batch, objects], False where padded.
    masks: float32 [batch, objects, height / 4, width / 4], the share of each prototype pixel that the object covers.
    keypoints: float32 [batch, objects, points, 3], x and y in pixels, COCO's visibility.
    """

    boxes: Tensor
    class_ids: Tensor
    present: Tensor
    masks: Tensor
    keypoints: Tensor


class Assignment(NamedTuple):
    """Which anchors learn an object, which one, and what score.

    positive: bool [batch, anchors]; object_index: int64 [batch, anchors]; scores: float32 [batch, anchors, classes].
    """

    positive: Tensor
    object_index: Tensor
    scores: Tensor


class Losses(NamedTuple):
    """The losses of a batch, each already multiplied by its gain; 0 for what is not learnt."""

    box: Tensor
    classes: Tensor
    distribution: Tensor
    masks: Tensor
    keypoints: Tensor
    presence: Tensor


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


def mask_loss(coefficients: Tensor, prototypes: Tensor, masks: Tensor, boxes: Tensor) -> Tensor:
    """Binary cross entropy of each object's mask within its box, over the box's area.

    Args:
        coefficients: float32 [n, 32].
        prototypes: float32 [32, height / 4, width / 4], of the one picture that all n are in.
        masks: float32 [n, height / 4, width / 4], shares from 0 to 1.
        boxes: float32 [n, 4], x1 y1 x2 y2 in pixels of the picture.

    Returns:
        float32 [n].
    """
    logits = torch.einsum("nc,chw->nhw", coefficients, prototypes)
    loss = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    x1, y1, x2, y2 = (boxes / PROTOTYPE_STRIDE)[:, :, None, None].unbind(1)
    y, x = torch.meshgrid(torch.arange(masks.shape[1]), torch.arange(masks.shape[2]), indexing="ij")
    inside = (x + 1 > x1) & (x < x2) & (y + 1 > y1) & (y < y2)  # every pixel that the box touches
    area = ((x2 - x1) * (y2 - y1)).view(-1).clamp(min=1)
    return (loss * inside).sum(dim=(1, 2)) / area


def keypoint_loss(points: Tensor, wanted: Tensor, areas: Tensor) -> Tensor:
    """One minus the keypoint similarity, averaged over the points that are in the picture and over KEYPOINT_SIGMAS.

    Args:
        points: float32 [n, keypoints, 2], pixels.
        wanted: float32 [n, keypoints, 3], pixels and visibility.
        areas: float32 [n], of the objects' boxes in square pixels.

    Returns:
        float32 [n].
    """
    labelled = wanted[..., 2] > 0
    distance = (points - wanted[..., :2]).square().sum(dim=-1) / areas[:, None]
    away = sum(1 - torch.exp(-distance / (2 * (2 * sigma) ** 2)) for sigma in KEYPOINT_SIGMAS)
    assert isinstance(away, Tensor)
    return (away * labelled).sum(dim=-1) / (len(KEYPOINT_SIGMAS) * labelled.sum(dim=-1).clamp(min=1))


def all_losses(raw: RawOutputs, targets: Targets, head: Head) -> Losses:
    """The losses of a batch from the raw outputs."""
    distance_logits, class_logits = flatten(raw.levels)
    centres, strides = anchor_centres(raw.levels)
    boxes = boxes_from_distances(head.dfl(distance_logits), centres)  # grid units
    assignment = assign(class_logits.detach().sigmoid(), boxes.detach() * strides, centres * strides, targets)
    total = assignment.scores.sum().clamp(min=1)

    classes = functional.binary_cross_entropy_with_logits(class_logits, assignment.scores, reduction="sum") / total
    positive = assignment.positive
    nothing = boxes.sum() * 0
    if not positive.any():
        others = sum(output.float().sum() * 0 for output in (*raw.coefficients, *raw.keypoints))
        return Losses(nothing + others, CLASS_GAIN * classes, nothing, nothing, nothing, nothing)
    weight = assignment.scores.sum(dim=-1)[positive]
    image_of, anchor_of = positive.nonzero(as_tuple=True)
    object_of = assignment.object_index[image_of, anchor_of]
    stride, centre = strides[anchor_of], centres[anchor_of]
    wanted_pixels = targets.boxes[image_of, object_of]
    wanted = wanted_pixels / stride
    box = ((1 - complete_iou(boxes[positive], wanted)[1]) * weight).sum() / total
    distances = torch.cat([centre - wanted[:, :2], wanted[:, 2:] - centre], dim=-1)
    distribution = (distribution_focal(distance_logits[positive], distances) * weight).sum() / total

    masks = keypoints = presence = nothing
    if raw.prototypes is not None:
        coefficients = rows_of(raw.coefficients)
        per_object = [
            mask_loss(
                coefficients[image, anchor_of[mine]],
                raw.prototypes[image].float(),
                targets.masks[image, object_of[mine]],
                wanted_pixels[mine],
            )
            for image in range(len(positive))
            if (mine := image_of == image).any()
        ]
        # Positives are listed image by image, so that the weights are in the same order.
        masks = (torch.cat(per_object) * weight).sum() / total
    if raw.keypoints:
        rows = rows_of(raw.keypoints)[image_of, anchor_of]
        points = keypoints_from_rows(rows, centre, stride)
        wanted_points = targets.keypoints[image_of, object_of]
        areas = (wanted_pixels[:, 2:] - wanted_pixels[:, :2]).prod(dim=-1)
        keypoints = (keypoint_loss(points[..., :2], wanted_points, areas) * weight).sum() / total
        is_there = (wanted_points[..., 2] > 0).float()
        missed = functional.binary_cross_entropy_with_logits(points[..., 2], is_there, reduction="none").mean(dim=-1)
        presence = (missed * weight).sum() / total
    return Losses(
        BOX_GAIN * box,
        CLASS_GAIN * classes,
        DISTRIBUTION_GAIN * distribution,
        MASK_GAIN * masks,
        KEYPOINT_GAIN * keypoints,
        PRESENCE_GAIN * presence,
    )
