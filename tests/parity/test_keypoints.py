"""Keypoints of chosen anchors against the chains of both peers: heads are decoded by ultralytics, mapped back by each.

The network is none: its heads are random, wide enough that many points lie outside the picture and many confidences
on either side of the thresholds. Positions are compared for equality, confidences to the last bits of a sigmoid.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from inference_models.models.yolov8.yolov8_key_points_detection_onnx import YOLOv8ForKeyPointsDetectionOnnx
from ultralytics.engine.results import Keypoints
from ultralytics.nn.modules.head import Pose
from ultralytics.utils.ops import scale_coords
from ultralytics.utils.tal import make_anchors

from rfkernels import ops

STRIDES = (8, 16, 32)
SIZE = (480, 640)
PICTURES = [(1080, 1920), (61, 97), (640, 480), (1001, 333)]
SHAPES = [(17, 3), (5, 3), (1, 3), (4, 2)]


def make_heads(rng, points, dimensions):
    grids = [(SIZE[0] // stride, SIZE[1] // stride) for stride in STRIDES]
    return [rng.normal(0, 4, (1, points * dimensions, *grid)).astype(np.float32) for grid in grids]


def decoded_by_ultralytics(heads, shape):
    """[K * D, A] in network pixels, as its pose head gives them."""
    head = Pose(nc=1, kpt_shape=shape, ch=(16, 16, 16))
    levels = [torch.from_numpy(level) for level in heads]
    anchors, strides = make_anchors(levels, torch.tensor(STRIDES), 0.5)
    head.anchors, head.strides = anchors.T, strides.T
    flat = torch.cat([level.view(1, shape[0] * shape[1], -1) for level in levels], 2)
    return head.kpts_decode(flat)[0]


def assert_same_points(actual, positions, confidences):
    np.testing.assert_array_equal(actual[..., :2], positions)
    np.testing.assert_allclose(actual[..., 2], confidences, rtol=4 * 2**-23, atol=1e-38)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("height", "width"), PICTURES)
def test_ultralytics(shape, height, width, rng):
    heads = make_heads(rng, *shape)
    chosen = rng.permutation(6300)[:200].astype(np.int32)
    points = decoded_by_ultralytics(heads, shape)[:, chosen].T.reshape(200, *shape).contiguous()
    expected = Keypoints(scale_coords(SIZE, points, (height, width)), (height, width))
    placement = ops.plan_placement(height, width, size=SIZE, rounding="half_to_even")
    (actual,) = ops.keypoints_from_heads(
        heads, [chosen], [placement], [(height, width)], dimensions=shape[1], convention="ultralytics"
    )
    confidences = np.ones(actual.shape[:2]) if expected.conf is None else expected.conf.numpy()
    assert_same_points(actual, expected.xy.numpy(), confidences)
    if expected.conf is not None:
        # What 8.4 no longer does: a point that is hardly visible keeps its place.
        assert (actual[..., :2][actual[..., 2] < 0.5] != 0).any()


def post_processed_by_v2(prediction, placement, picture, points, threshold):
    """What V2's model makes of a decoded output [1, 5 + 3 * points, A] of one class; nothing is suppressed."""
    model = object.__new__(YOLOv8ForKeyPointsDetectionOnnx)
    model.recommended_parameters = None
    model._class_names = ["person"]
    model._device = torch.device("cpu")
    model._inference_config = SimpleNamespace(post_processing=SimpleNamespace(fused=False))
    model._key_points_slots_in_prediction = points
    model._key_points_classes_for_instances = torch.tensor([points])
    metadata = SimpleNamespace(
        pad_left=placement.left,
        pad_top=placement.top,
        scale_width=placement.scale_x,
        scale_height=placement.scale_y,
        original_size=SimpleNamespace(width=picture[1], height=picture[0]),
        static_crop_offset=SimpleNamespace(offset_x=placement.crop.x, offset_y=placement.crop.y),
    )
    (found,), _ = model.post_process(
        prediction, [metadata], confidence=0.0, iou_threshold=1.0, max_detections=10_000, key_points_threshold=threshold
    )
    return found


@pytest.mark.parametrize("points", [17, 5, 1])
@pytest.mark.parametrize(("height", "width"), PICTURES)
@pytest.mark.parametrize("threshold", [0.0, 0.3])
@pytest.mark.parametrize("static_crop", [None, ops.StaticCrop(x_min=13, x_max=80, y_min=25, y_max=90)])
def test_v2(points, height, width, threshold, static_crop, rng):
    heads = make_heads(rng, points, 3)
    chosen = rng.permutation(6300)[:200].astype(np.int32)
    placement = ops.plan_placement(height, width, size=SIZE, static_crop=static_crop)
    # Boxes of no size, by descending score: the order of the chosen.
    boxes = torch.zeros(5, 200)
    boxes[4] = torch.linspace(0.9, 0.1, 200)
    prediction = torch.cat([boxes, decoded_by_ultralytics(heads, (points, 3))[:, chosen]])[None]
    expected = post_processed_by_v2(prediction, placement, (height, width), points, threshold)
    (actual,) = ops.keypoints_from_heads(heads, [chosen], [placement], [(height, width)], keypoint_confidence=threshold)
    assert_same_points(actual, expected.xy.numpy(), expected.confidence.numpy())
    assert (threshold == 0) == bool((actual[..., 2] > 0).all())
