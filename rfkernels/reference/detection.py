"""Detection from its definition, in plain NumPy. Slow and plain on purpose: tests compare the kernels with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]


class Found(NamedTuple):
    """Detections of one image: fields as those of `rfkernels.ops.Detections`."""

    boxes: FloatArray
    scores: FloatArray
    class_ids: IntArray
    anchor_indices: IntArray
    network_boxes: FloatArray
    overflowed: bool


class Rectangle(Protocol):
    """A rectangle of pixels of an image."""

    @property
    def x(self) -> int: ...
    @property
    def y(self) -> int: ...


class Placement(Protocol):
    """Where an image lies in the network's input: source x = (network x - left) / scale_x + crop.x, and y alike."""

    @property
    def left(self) -> int: ...
    @property
    def top(self) -> int: ...
    @property
    def scale_x(self) -> float: ...
    @property
    def scale_y(self) -> float: ...
    @property
    def crop(self) -> Rectangle: ...


class Options(NamedTuple):
    """The keyword arguments of `rfkernels.ops.detect_from_heads` of the same names."""

    confidence: float
    class_confidences: FloatArray | None
    iou_threshold: float
    class_agnostic: bool
    max_detections: int
    wanted_classes: Sequence[int] | None
    class_filter_stage: str
    convention: str


def intersection_over_union(box: FloatArray, others: FloatArray) -> FloatArray:
    """float32 IoU of box [4] with others [n, 4]; 0 / 0 is NaN. Sides are x2 - x1, with no pixel added."""

    def area(boxes: FloatArray) -> FloatArray:
        sides: FloatArray = boxes[..., 2:] - boxes[..., :2]
        product: FloatArray = sides[..., 0] * sides[..., 1]
        return product

    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
        height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
        inter = np.where(width > 0, width, np.float32(0)) * np.where(height > 0, height, np.float32(0))
        quotient: FloatArray = inter / ((area(box) + area(others)) - inter)
    return quotient


def nms(
    boxes: FloatArray,
    scores: FloatArray,
    class_ids: IntArray | None = None,
    *,
    iou_threshold: float,
    class_agnostic: bool,
    max_detections: int,
) -> tuple[IntArray, bool]:
    """The best box that is left is kept and removes what overlaps it by more than the threshold, until none is left."""
    classes = np.zeros(len(boxes), np.int32) if class_agnostic or class_ids is None else class_ids
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left) > 0:
        best = left[0]
        kept.append(best)
        left = left[1:]
        overlap = intersection_over_union(boxes[best], boxes[left]).astype(np.float64)
        left = left[~((overlap > iou_threshold) & (classes[left] == classes[best]))]
    return np.array(kept[:max_detections], np.int32), len(kept) > max_detections


def sigmoid(logits: FloatArray) -> FloatArray:
    """1 / (1 + e^-x), the float32 nearest to it."""
    with np.errstate(over="ignore"):
        return (1.0 / (1.0 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


def decode_heads(
    heads: Sequence[tuple[FloatArray, FloatArray]], strides: Sequence[int]
) -> tuple[FloatArray, FloatArray]:
    """Boxes [N, A, 4] x1 y1 x2 y2 in network pixels and logits [N, A, class_count] of all anchors, by level."""
    boxes, logits = [], []
    for (box, classes), stride in zip(heads, strides, strict=True):
        batch, channels, height, width = box.shape
        bins = box.astype(np.float64).reshape(batch, 4, channels // 4, height, width)
        if channels == 4:
            distance = bins[:, :, 0]
        else:
            with np.errstate(invalid="ignore"):
                weight = np.exp(bins - bins.max(axis=2, keepdims=True))
                distance = (weight * np.arange(channels // 4).reshape(1, 1, -1, 1, 1)).sum(axis=2) / weight.sum(axis=2)
        x = np.arange(width).reshape(1, 1, width) + 0.5
        y = np.arange(height).reshape(1, height, 1) + 0.5
        left, top, right, bottom = (distance[:, side] for side in range(4))
        corners = np.stack([x - left, y - top, x + right, y + bottom], axis=-1) * stride
        boxes.append(corners.reshape(batch, height * width, 4).astype(np.float32))
        logits.append(classes.reshape(batch, classes.shape[1], height * width).transpose(0, 2, 1))
    return np.concatenate(boxes, axis=1), np.concatenate(logits, axis=1)


def map_back(boxes: FloatArray, placement: Placement, image_size: tuple[int, int], convention: str) -> FloatArray:
    """Boxes [n, 4] of the network's input in pixels of the image, clamped, whole pixels for V2; all in float32."""
    height, width = image_size
    pads = np.array([placement.left, placement.top] * 2, np.float32)
    scales = np.array([placement.scale_x, placement.scale_y] * 2, np.float32)
    crops = np.array([placement.crop.x, placement.crop.y] * 2, np.float32)
    limits = np.array([width, height] * 2, np.float32)
    mapped: FloatArray = np.clip((boxes - pads) / scales + crops, np.float32(0), limits)
    return np.rint(mapped) if convention == "v2" else mapped


def wanted_flags(class_count: int, options: Options) -> NDArray[np.bool_]:
    """Of every class, whether it is to be returned."""
    if options.wanted_classes is None:
        return np.ones(class_count, bool)
    return np.isin(np.arange(class_count), options.wanted_classes)


def candidates(
    values: FloatArray, *, is_logit: bool, options: Options
) -> tuple[NDArray[np.bool_], FloatArray, IntArray]:
    """Of values [A, class_count], for every anchor: whether it is a candidate, its best score, and of which class."""
    comparable = np.where(np.isnan(values), np.float32(-np.inf), values)
    class_ids = comparable.argmax(axis=1).astype(np.int32)
    best = comparable[np.arange(len(values)), class_ids]
    scores = sigmoid(best) if is_logit else best
    thresholds = np.full(values.shape[1], options.confidence, np.float32)
    if options.class_confidences is not None:
        thresholds = options.class_confidences
    passes = scores > thresholds[class_ids]
    if options.class_filter_stage == "before_suppression":
        passes &= wanted_flags(values.shape[1], options)[class_ids]
    return passes, scores, class_ids


def select_candidates(
    classes: Sequence[FloatArray], *, options: Options
) -> list[tuple[IntArray, FloatArray, IntArray, tuple[int, ...]]]:
    """See `rfkernels.ops.select_candidates`: anchor_indices, scores, class_ids and level_counts of every image."""
    results = []
    for image in range(len(classes[0])):
        levels = [level[image].reshape(level.shape[1], -1).T for level in classes]
        found = [candidates(level, is_logit=True, options=options) for level in levels]
        passes, scores, class_ids = (np.concatenate(parts) for parts in zip(*found, strict=True))
        anchors = np.flatnonzero(passes).astype(np.int32)
        counts = tuple(int(level[0].sum()) for level in found)
        results.append((anchors, scores[anchors], class_ids[anchors], counts))
    return results


def detect(
    boxes: FloatArray,
    values: FloatArray,
    placement: Placement,
    image_size: tuple[int, int],
    *,
    is_logit: bool,
    options: Options,
) -> Found:
    """One image: boxes [A, 4] x1 y1 x2 y2 in network pixels, values [A, class_count] logits or scores."""
    is_candidate, scores, class_ids = candidates(values, is_logit=is_logit, options=options)
    is_wanted = wanted_flags(values.shape[1], options)
    passes = is_candidate & np.isfinite(boxes).all(axis=1)
    anchors = np.flatnonzero(passes).astype(np.int32)
    kept, overflowed = nms(
        boxes[anchors],
        scores[anchors],
        class_ids[anchors],
        iou_threshold=options.iou_threshold,
        class_agnostic=options.class_agnostic,
        max_detections=options.max_detections,
    )
    anchors = anchors[kept]
    anchors = anchors[is_wanted[class_ids[anchors]]]
    mapped = map_back(boxes[anchors], placement, image_size, options.convention)
    return Found(mapped, scores[anchors], class_ids[anchors], anchors, boxes[anchors], overflowed)


def detect_from_heads(
    heads: Sequence[tuple[FloatArray, FloatArray]],
    placements: Sequence[Placement],
    image_sizes: Sequence[tuple[int, int]],
    *,
    strides: Sequence[int],
    options: Options,
) -> list[Found]:
    """See `rfkernels.ops.detect_from_heads`."""
    boxes, logits = decode_heads(heads, strides)
    return [
        detect(boxes[i], logits[i], placements[i], image_sizes[i], is_logit=True, options=options)
        for i in range(len(boxes))
    ]


def detect_from_decoded(
    prediction: FloatArray,
    placements: Sequence[Placement],
    image_sizes: Sequence[tuple[int, int]],
    *,
    options: Options,
) -> list[Found]:
    """See `rfkernels.ops.detect_from_decoded`."""
    centres, sizes = prediction[:, 0:2], prediction[:, 2:4]
    with np.errstate(invalid="ignore", over="ignore"):
        boxes = np.concatenate([centres - sizes / np.float32(2), centres + sizes / np.float32(2)], axis=1)
    boxes = boxes.transpose(0, 2, 1)
    scores = prediction[:, 4:].transpose(0, 2, 1)
    return [
        detect(boxes[i], scores[i], placements[i], image_sizes[i], is_logit=False, options=options)
        for i in range(len(boxes))
    ]
