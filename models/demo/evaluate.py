"""Mean average precision on the held-out pictures, by pycocotools."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from models.demo import shapes
from models.demo.dataset import Picture, to_input
from models.demo.network import Yolov8, decode

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


@torch.no_grad()
def detections(model: Yolov8, pictures: Sequence[Picture], precision: torch.dtype) -> list[dict[str, Any]]:
    """COCO-style results of all pictures: every class of every anchor above 0.001, IoU threshold 0.7, 100 a picture."""
    model.eval()
    found: list[dict[str, Any]] = []
    for start in range(0, len(pictures), _BATCH):
        images = to_input([picture.image for picture in pictures[start : start + _BATCH]])
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            raw = model(images)
        boxes, scores = (tensor.numpy() for tensor in decode(raw, model.head))
        for offset in range(len(images)):
            anchors, class_ids = np.nonzero(scores[offset] > 0.001)
            candidates, confidences = boxes[offset][anchors], scores[offset][anchors, class_ids]
            for index in suppress(candidates, confidences, class_ids, 0.7, 100):
                x1, y1, x2, y2 = (float(edge) for edge in candidates[index])
                found.append(
                    {
                        "image_id": start + offset,
                        "category_id": int(class_ids[index]),
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "score": float(confidences[index]),
                    }
                )
    return found


def mean_average_precision(
    model: Yolov8, pictures: Sequence[Picture], precision: torch.dtype = torch.float32
) -> dict[str, Any]:
    """{"map50_95", "map50", "map75", "map50_by_class": {name: ...}} of a model on labelled pictures."""
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": index, "width": 320, "height": 320} for index in range(len(pictures))],
        "categories": [{"id": index, "name": name} for index, name in enumerate(shapes.CLASS_NAMES)],
        "annotations": _annotations(pictures),
    }
    results = detections(model, pictures, precision)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth.createIndex()
        if not results:
            nothing = dict.fromkeys(shapes.CLASS_NAMES, 0.0)
            return {"map50_95": 0.0, "map50": 0.0, "map75": 0.0, "map50_by_class": nothing}
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
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
        for (x1, y1, x2, y2), class_id in zip(picture.boxes.tolist(), picture.class_ids.tolist(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": class_id,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    return annotations
