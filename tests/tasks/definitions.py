"""What a picture becomes by the definitions in NumPy alone, around the same engine."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rfkernels.engines import OpenVINOEngine, OpenVINOOptions
from rfkernels.reference import detection, keypoints, masks, preprocess

STRIDES = (8, 16, 32)
SIZE = (64, 96)


class Run(NamedTuple):
    """A picture that went through the network: every output at every pixel."""

    outputs: dict[str, np.ndarray]
    placement: Any
    image_size: tuple[int, int]
    convention: str


def run(model_path, image, convention, *, placement=None, size=SIZE):
    """Letterboxed, unless a placement says otherwise."""
    rounding = "truncate" if convention == "v2" else "half_to_even"
    if placement is None:
        whole = preprocess.Rectangle(0, 0, image.shape[1], image.shape[0])
        placement = preprocess.plan_letterbox(whole, *size, rounding)
    prepared = preprocess.preprocess([image], [placement], size=size, swap_channels=True)
    return Run(run_prepared(model_path, prepared), placement, image.shape[:2], convention)


def run_prepared(model_path, prepared):
    """The outputs of a picture [1, 3, h, w] by name."""
    written = Path(model_path).stat()
    engine = _engine(Path(model_path), written.st_mtime_ns, written.st_size)
    with engine.session() as session:
        session.inputs["images"][...] = prepared
        return {name: value.copy() for name, value in session.run().items()}


@functools.lru_cache(maxsize=8)
def _engine(model_path, _written_at, _size):
    return OpenVINOEngine(model_path, OpenVINOOptions(precision="fp32", cache_directory=False))


def detections(ran, *, confidence, iou_threshold, max_detections=300):
    heads = [(ran.outputs[f"box_{stride}"], ran.outputs[f"class_{stride}"]) for stride in STRIDES]
    options = detection.Options(
        confidence, None, iou_threshold, False, max_detections, None, "after_cut", ran.convention
    )
    (found,) = detection.detect_from_heads(heads, [ran.placement], [ran.image_size], strides=STRIDES, options=options)
    return found


def masks_of(ran, found, *, native, factor=1.0):
    """The masks bool [n, height, width] of what was found, on the grid of the answer or of the network's input."""
    prototypes = ran.outputs["prototypes"][0]
    levels = [ran.outputs[f"coefficients_{stride}"][0].reshape(32, -1) for stride in STRIDES]
    coefficients = np.concatenate(levels, axis=1).T[found.anchor_indices]
    sizes = {"network_size": SIZE, "prototype_size": prototypes.shape[1:], "image_size": ran.image_size}
    if ran.convention == "v2":
        grid = masks.v2_grid(ran.placement, **sizes, resolution_factor=factor)
    elif native:
        grid = masks.ultralytics_native_grid(ran.placement, **sizes)
    else:
        grid = masks.ultralytics_grid(SIZE, prototypes.shape[1:])
    return masks.masks(prototypes, coefficients, found.network_boxes, grid)[0]


def outline(ran, mask):
    """The corners [k, 2] of a mask's outline in pixels of the answer; none of an empty mask."""
    contours = masks.contours(mask)
    if not contours:
        return np.empty((0, 2))
    if ran.convention == "v2":
        return contours[int(np.argmax([len(contour) for contour in contours]))]
    placement, (height, width) = ran.placement, ran.image_size
    points = np.array(joined([contour.tolist() for contour in contours]), np.float32)
    points -= np.array([placement.left, placement.top], np.float32)
    points /= np.array([placement.scale_x, placement.scale_y], np.float32)
    points += np.array([placement.crop.x, placement.crop.y], np.float32)
    return np.clip(points, 0, np.array([width, height], np.float32))


def joined(contours):
    """Lists of points as one walk: out along each to where it is closest to the next, and back on the other sides.

    As ultralytics answers, which goes round a contour the other way that would be left before it was entered.
    """
    if len(contours) == 1:
        return contours[0]
    leaves, entries = [], [0]
    for here, there in itertools.pairwise(contours):
        pairs = [(i, j) for i in range(len(here)) for j in range(len(there))]
        apart = [(here[i][0] - there[j][0]) ** 2 + (here[i][1] - there[j][1]) ** 2 for i, j in pairs]
        leave, entry = pairs[apart.index(min(apart))]
        leaves.append(leave)
        entries.append(entry)

    def stretch(contour, begin, steps):
        return [contour[(begin + step) % len(contour)] for step in range(steps + 1)]

    out = stretch(contours[0], leaves[0], len(contours[0]))
    back = []
    for contour, entry, leave in zip(contours[1:-1], entries[1:], leaves[1:], strict=False):
        steps = abs(leave - entry)
        turned = contour if entry <= leave else contour[::-1]
        begin, end = (entry, leave) if entry <= leave else (len(contour) - 1 - entry, len(contour) - 1 - leave)
        out += stretch(turned, begin, steps)
        back = stretch(turned, end, len(contour) - steps) + back
    return out + stretch(contours[-1], entries[-1], len(contours[-1])) + back


def keypoints_of(ran, found, *, dimensions, keypoint_confidence=0.0):
    """float32 [n, keypoints, 3]."""
    (points,) = keypoints.keypoints_from_heads(
        [ran.outputs[f"keypoints_{stride}"] for stride in STRIDES],
        [found.anchor_indices],
        [ran.placement],
        [ran.image_size],
        strides=STRIDES,
        dimensions=dimensions,
        keypoint_confidence=keypoint_confidence,
        convention=ran.convention,
    )
    return points
