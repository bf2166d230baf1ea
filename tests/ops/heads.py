"""Outputs of networks that never were, and comparisons of what is found in them."""

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Corner:
    x: int = 0
    y: int = 0


@dataclass(frozen=True)
class Placed:
    left: int = 0
    top: int = 0
    scale_x: float = 1.0
    scale_y: float = 1.0
    crop: Corner = Corner()


LETTERBOXED = Placed(left=0, top=140, scale_x=1 / 3, scale_y=1 / 3)
CROPPED = Placed(left=-20, top=7, scale_x=0.73, scale_y=1.21, crop=Corner(31, 5))
DEFAULTS = {
    "confidence": 0.25,
    "class_confidences": None,
    "iou_threshold": 0.5,
    "class_agnostic": False,
    "max_detections": 300,
    "wanted_classes": None,
    "class_filter_stage": "after_cut",
    "convention": "v2",
}


def make_heads(rng, *, class_count, size=(96, 64), batch=1, reg_max=16, strides=(8, 16, 32), spread=2.0):
    """Random heads of a network of this size; about a sixth of the anchors are above 0.25 for 80 classes."""
    heads = []
    for stride in strides:
        grid = (size[0] // stride, size[1] // stride)
        box = rng.normal(0, 2, (batch, 4 * reg_max, *grid)).astype(np.float32)
        offset = 1.0 + np.sqrt(2 * np.log(class_count + 1)) * spread
        classes = (rng.normal(0, spread, (batch, class_count, *grid)) - offset).astype(np.float32)
        heads.append((box, classes))
    return heads


def make_prediction(rng, *, class_count, anchors, batch=1):
    centres = rng.uniform(-10, 650, (batch, 2, anchors))
    sizes = rng.uniform(1, 200, (batch, 2, anchors))
    scores = rng.uniform(0, 1, (batch, class_count, anchors)) ** 3
    return np.concatenate([centres, sizes, scores], axis=1).astype(np.float32)


def anchor_by_anchor(array):
    """The same array, its channels contiguous in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


def assert_same(actual, expected):
    """Bit for bit."""
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        for field in fields(one):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


def assert_close(actual, expected):
    """As far as fp32 and the definition in double may differ: 4 ulp of a score, 1e-4 pixels of a network box."""
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one.anchor_indices, other.anchor_indices)
        np.testing.assert_array_equal(one.class_ids, other.class_ids)
        np.testing.assert_allclose(one.scores, other.scores, rtol=4 * 2**-23, atol=0)
        np.testing.assert_allclose(one.network_boxes, other.network_boxes, rtol=0, atol=1e-4)
        assert one.overflowed == other.overflowed
