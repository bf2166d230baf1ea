"""Mean average precision on the held-out pictures, by pycocotools: of boxes, of masks, and of keypoints."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor
from torch.nn import functional

from models.demo import shapes
from models.demo.dataset import Picture, to_input
from models.demo.network import (
    PROTOTYPE_STRIDE,
    RawOutputs,
    Yolov8,
    anchor_centres,
    decode,
    keypoints_from_rows,
    rows_of,
)

Kind = Literal["bbox", "segm", "keypoints"]

# Of the object keypoint similarity, the same for all points: half of it is reached at 12 % of the square root of the
# object's area. COCO's own reach from 0.025 (eyes) to 0.107 (hips).
KEYPOINT_SIGMA = 0.05
_BATCH = 20


def suppress(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], class_ids: NDArray[np.int64], iou: float, most: int
) -> NDArray[np.int64]:
    """Greedy class-aware non-maximum suppression: indices of what is kept, by descending score."""
    order = np.argsort(-scores, kind="stable")
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept: list[int] = []
    while len(order) and len(kept) < most:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low, high = np.maximum(boxes[best, :2], boxes[rest, :2]), np.minimum(boxes[best, 2:], boxes[rest, 2:])
        intersection = np.prod(np.clip(high - low, 0, None), axis=1)
        overlap = intersection / np.maximum(areas[best] + areas[rest] - intersection, 1e-9)
        order = rest[(overlap <= iou) | (class_ids[rest] != class_ids[best])]
    return np.array(kept, np.int64)


def kinds_of(model: Yolov8) -> tuple[Kind, ...]:
    """What can be measured of a model."""
    head = model.head
    masks: tuple[Kind, ...] = () if head.proto is None else ("segm",)
    keypoints: tuple[Kind, ...] = ("keypoints",) if len(head.keypoints) else ()
    return ("bbox", *masks, *keypoints)


@torch.no_grad()
def detections(model: Yolov8, pictures: Sequence[Picture], precision: torch.dtype) -> dict[Kind, list[dict[str, Any]]]:
    """COCO-style results of all pictures: every class of every anchor above 0.001, IoU threshold 0.7, 100 a picture."""
    model.eval()
    found: dict[Kind, list[dict[str, Any]]] = {kind: [] for kind in kinds_of(model)}
    for start in range(0, len(pictures), _BATCH):
        images = to_input([picture.image for picture in pictures[start : start + _BATCH]])
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            raw = model(images)
        boxes, scores = (tensor.numpy() for tensor in decode(raw.levels, model.head))
        for offset in range(len(images)):
            anchors, class_ids = np.nonzero(scores[offset] > 0.001)
            candidates, confidences = boxes[offset][anchors], scores[offset][anchors, class_ids]
            kept = suppress(candidates, confidences, class_ids, 0.7, 100)
            common = [
                {"image_id": start + offset, "category_id": int(class_ids[index]), "score": float(confidences[index])}
                for index in kept
            ]
            parts = _parts(raw, offset, anchors[kept], candidates[kept], images.shape[-1])
            for kind, results in found.items():
                results.extend(row | part for row, part in zip(common, parts[kind], strict=True))
    return found


def _parts(
    raw: RawOutputs, image: int, anchors: NDArray[np.int64], boxes: NDArray[np.float32], size: int
) -> dict[Kind, list[dict[str, Any]]]:
    """What COCO's results have besides image, category and score, for each kind and each of the anchors kept."""
    parts: dict[Kind, list[dict[str, Any]]] = {
        "bbox": [{"bbox": [x1, y1, x2 - x1, y2 - y1]} for x1, y1, x2, y2 in boxes.tolist()]
    }
    chosen = torch.from_numpy(anchors)
    if raw.prototypes is not None:
        coefficients = rows_of([level[image : image + 1] for level in raw.coefficients])[0, chosen]
        masks = masks_of(coefficients, raw.prototypes[image].float(), torch.from_numpy(boxes), size)
        encoded = coco_mask.encode(np.asfortranarray(masks.permute(1, 2, 0).numpy().astype(np.uint8)))
        parts["segm"] = [{"segmentation": mask} for mask in encoded]
    if raw.keypoints:
        centres, strides = anchor_centres(raw.levels)
        rows = rows_of([level[image : image + 1] for level in raw.keypoints])[0, chosen]
        points = keypoints_from_rows(rows, centres[chosen], strides[chosen])
        points[..., 2] = points[..., 2].sigmoid()
        parts["keypoints"] = [{"keypoints": list(row)} for row in points.flatten(1).tolist()]
    return parts


def masks_of(coefficients: Tensor, prototypes: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Masks bool [n, size, size]: mixed, enlarged by bilinear interpolation, above 0, cut to the boxes in pixels."""
    logits = torch.einsum("nc,chw->nhw", coefficients, prototypes)[None]
    masks = functional.interpolate(logits, scale_factor=PROTOTYPE_STRIDE, mode="bilinear", align_corners=False)[0] > 0
    x1, y1, x2, y2 = boxes[:, :, None, None].unbind(1)
    place = torch.arange(size)
    inside: Tensor = (place >= x1) & (place < x2) & (place[:, None] >= y1) & (place[:, None] < y2)
    return masks & inside


def mean_average_precision(
    model: Yolov8, pictures: Sequence[Picture], precision: torch.dtype = torch.float32
) -> dict[str, dict[str, Any]]:
    """For each of `kinds_of`: {"map50_95", "map50", "map75", "map50_by_class": {name: ...}} on labelled pictures."""
    truth = labels_of(pictures)
    return {
        kind: precision_of(truth, results, kind) for kind, results in detections(model, pictures, precision).items()
    }


def labels_of(pictures: Sequence[Picture]) -> COCO:
    """The labels of pictures, in their order, for `precision_of`."""
    labels = COCO()
    labels.dataset = {
        "info": {},
        "images": [{"id": index, "width": 320, "height": 320} for index in range(len(pictures))],
        "categories": [{"id": index, "name": name} for index, name in enumerate(shapes.CLASS_NAMES)],
        "annotations": _annotations(pictures),
    }
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        labels.createIndex()
    return labels


def precision_of(truth: COCO, results: list[dict[str, Any]], kind: Kind) -> dict[str, Any]:
    """The figures of one kind, by pycocotools.

    Args:
        truth: from `labels_of`.
        results: COCO's, `image_id` counting the pictures.
        kind: "bbox", "segm" or "keypoints", and what the results have.
    """
    if not results:
        return {"map50_95": 0.0, "map50": 0.0, "map75": 0.0, "map50_by_class": dict.fromkeys(shapes.CLASS_NAMES, 0.0)}
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        if kind == "keypoints":
            evaluation.params.kpt_oks_sigmas = np.full(len(shapes.KEYPOINT_NAMES), KEYPOINT_SIGMA)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # precision: [IoU thresholds, recalls, classes, areas, detections]; the first threshold is 0.5, area 0 is "all".
    by_class = evaluation.eval["precision"][0, :, :, 0, -1].mean(axis=0)
    return {
        "map50_95": round(float(evaluation.stats[0]), 4),
        "map50": round(float(evaluation.stats[1]), 4),
        "map75": round(float(evaluation.stats[2]), 4),
        "map50_by_class": {name: round(float(v), 4) for name, v in zip(shapes.CLASS_NAMES, by_class, strict=True)},
    }


def _annotations(pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    for image_id, picture in enumerate(pictures):
        for index, class_id in enumerate(picture.class_ids.tolist()):
            x1, y1, x2, y2 = picture.boxes[index].tolist()
            mask = np.asfortranarray(picture.masks[index].astype(np.uint8))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": class_id,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    # pycocotools divides distances of keypoints by the root of this area: the box's, as in training.
                    "area": (x2 - x1) * (y2 - y1),
                    "segmentation": coco_mask.encode(mask),
                    "keypoints": picture.keypoints[index].reshape(-1).tolist(),
                    "num_keypoints": int((picture.keypoints[index, :, 2] > 0).sum()),
                    "iscrowd": 0,
                }
            )
    return annotations
