"""Which network a set of weights belongs to, told from keys and shapes alone."""

from __future__ import annotations

import re

from rfkernels.models.graph import Weights
from rfkernels.models.yolov8.keypoints import COCO_KEYPOINT_SHAPE
from rfkernels.models.yolov8.layers import BACKBONE_END, SCALES, layers
from rfkernels.models.yolov8.network import Network, Task
from rfkernels.models.yolov8.weights import shown

from rfkernels.errors import CheckpointError

SUPPORTED = "this version builds YOLOv8 detect, segment, pose and classify"
LARGEST_KEYPOINT_COUNT = 1000
VALUES_OF_KEYPOINTS = (2, 3)

# The width of layer 0 tells the scale; it is another one for every scale.
_SCALE_OF_FIRST_WIDTH = {layers(scale)[0].out_channels: letter for letter, scale in SCALES.items()}
_LAYER_OF_KEY = re.compile(r"model\.(\d{1,3})\.")
# Of the networks with three levels.
_HEAD_INDEX = len(layers(SCALES["n"]))
_HEAD = f"model.{_HEAD_INDEX}"
_CLASSIFIER = f"model.{BACKBONE_END}"
_KEYPOINTS_KEY = f"{_HEAD}.cv4.0.2.weight"
_FOUR_LEVELS = {28: " (YOLOv8-p2)", 30: " (YOLOv8-p6)"}


class KeypointShapeError(CheckpointError):
    """The keypoint shape that was given does not fit the head, or none was given and the head leaves a choice."""


def recognise(weights: Weights, keypoint_shape: tuple[int, int] | None = None) -> Network:
    """Tell the network from its weights.

    Args:
        keypoint_shape: (keypoints, numbers of each) where the file or its user says so; needed where the channels of a
            pose network leave it open. Other networks have none, whatever is said.
    Raises:
        CheckpointError: another network, which the message names where its keys give it away, or keypoints of a shape
            that is not known or does not fit.
    """
    other = name_of_other_network(weights)
    if other is not None:
        raise CheckpointError(f"the weights are those of {other}: {SUPPORTED}")
    first = weights.get("model.0.conv.weight")
    if first is None:
        raise CheckpointError(
            f"model.0.conv.weight: missing, so these are not YOLOv8 weights (keys begin with {shown(weights)}): "
            f"{SUPPORTED}"
        )
    letter = _SCALE_OF_FIRST_WIDTH.get(first.shape[0] if first.ndim else 0)
    if letter is None:
        expected = ", ".join(f"{width} ({name})" for width, name in _SCALE_OF_FIRST_WIDTH.items())
        raise CheckpointError(
            f"model.0.conv.weight: got shape {first.shape}, expected a first dimension of {expected}: {SUPPORTED}"
        )
    task = _task_of(weights)
    class_key = f"{_CLASSIFIER}.linear.bias" if task == "classify" else f"{_HEAD}.cv3.0.2.bias"
    if class_key not in weights:
        raise CheckpointError(f"{class_key}: missing, the head is incomplete")
    if weights[class_key].ndim != 1 or not weights[class_key].size:
        raise CheckpointError(f"{class_key}: got shape {weights[class_key].shape}, expected (class count,)")
    shape = _keypoint_shape(weights, keypoint_shape) if task == "pose" else None
    return Network(task, letter, int(weights[class_key].shape[0]), shape)


def _task_of(weights: Weights) -> Task:
    """The task that the head is made for. The keys are those of no other network."""
    if f"{_CLASSIFIER}.linear.weight" in weights:
        return "classify"
    if any(key.startswith(f"{_HEAD}.proto.") for key in weights):
        return "segment"
    return "pose" if any(key.startswith(f"{_HEAD}.cv4.") for key in weights) else "detect"


def _keypoint_shape(weights: Weights, given: tuple[int, int] | None) -> tuple[int, int]:
    """The shape of a pose network's keypoints: what is given, if it fits, or the only one that the channels allow."""
    if _KEYPOINTS_KEY not in weights or not weights[_KEYPOINTS_KEY].ndim:
        raise CheckpointError(f"{_KEYPOINTS_KEY}: missing or a single number, the head is incomplete")
    channels = int(weights[_KEYPOINTS_KEY].shape[0])
    if given is not None:
        if given[0] * given[1] != channels:
            raise KeypointShapeError(
                f"keypoint shape: got {list(given)}, which is {given[0] * given[1]} numbers, "
                f"but the head gives {channels}"
            )
        return given
    if channels == COCO_KEYPOINT_SHAPE[0] * COCO_KEYPOINT_SHAPE[1]:
        return COCO_KEYPOINT_SHAPE
    possible = [(channels // values, values) for values in VALUES_OF_KEYPOINTS if channels % values == 0]
    if len(possible) == 1:
        return possible[0]
    if not possible:
        raise CheckpointError(
            f"{_KEYPOINTS_KEY}: got {channels} channels, expected 2 or 3 for each keypoint: {SUPPORTED}"
        )
    choices = " or ".join(f"{count}x{values}" for count, values in possible)
    raise KeypointShapeError(
        f"keypoint shape: not in the file, and {channels} channels may be {choices}: "
        "give keypoints x numbers of each (--keypoint-shape)"
    )


def name_of_other_network(weights: Weights) -> str | None:  # noqa: PLR0911 - one line per network
    """The name of a known network that is not one of those built here, or None."""
    keys = weights.keys()
    head = max((int(match[1]) for key in keys if (match := _LAYER_OF_KEY.match(key))), default=-1)
    prefix = f"model.{head}."
    has_c3_blocks = "model.2.m.0.cv1.conv.weight" in keys and "model.2.cv3.conv.weight" in keys
    if f"{prefix}linear.weight" in keys:
        if has_c3_blocks:
            return "a classification model with C3 blocks (YOLOv5-cls or another)"
        if head != BACKBONE_END:
            return f"a classification model whose head is layer {head} (YOLO11-cls or another; YOLOv8's is layer 9)"
        return None
    if any(key.startswith((f"{prefix}one2one_cv2.", f"{prefix}one2one_cv3.")) for key in keys):
        return "an end-to-end network (YOLOv10, YOLO26)"
    if f"{prefix}cv3.0.0.0.conv.weight" in keys:
        return "a network with a YOLO11-style head (depthwise class branch)"
    if f"{prefix}m.0.weight" in keys and f"{prefix}m.2.weight" in keys:
        return "an anchor-based detector (YOLOv5)"
    if f"{prefix}cv2.3.2.weight" in keys:
        return f"a four-level network{_FOUR_LEVELS.get(head, '')}"
    if f"{prefix}cv3.0.2.weight" in keys:
        if has_c3_blocks:
            return "a network with C3 blocks (YOLOv5u or another)"
        if head != _HEAD_INDEX:
            return f"a network whose head is layer {head} (YOLOv8's is layer {_HEAD_INDEX})"
    return _name_of_other_fourth_branch(weights, prefix)


def _name_of_other_fourth_branch(weights: Weights, prefix: str) -> str | None:
    """The name of a network whose head has a branch `cv4` that is neither mask coefficients nor keypoints, or None."""
    branch = f"{prefix}cv4."
    if not any(key.startswith(branch) for key in weights):
        return None
    last = weights.get(f"{branch}0.2.weight")
    if last is None:
        return None if f"{branch}0.0.conv.weight" in weights else "an open-vocabulary detector (YOLOv8-world)"
    has_prototypes = any(key.startswith(f"{prefix}proto.") for key in weights)
    return "an oriented-box model (YOLOv8-obb)" if last.shape[:1] == (1,) and not has_prototypes else None
