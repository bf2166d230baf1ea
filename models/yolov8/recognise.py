"""Which network a set of weights belongs to, told from keys and shapes alone; and whether the weights are complete."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from rfkernels.models.graph import Weights
from rfkernels.models.yolov8.layers import (
    BINS_PER_SIDE,
    BOX_CHANNELS,
    DFL_KEY,
    HEAD_INDEX,
    SCALES,
    Scale,
    detect_convolutions,
    layers,
)

from rfkernels.errors import CheckpointError

ONLY_DETECT = "this version builds YOLOv8 detect only"

# The width of layer 0 tells the scale; it is another one for every scale.
_SCALE_OF_FIRST_WIDTH = {layers(scale)[0].out_channels: letter for letter, scale in SCALES.items()}
_LAYER_OF_KEY = re.compile(r"model\.(\d{1,3})\.")
_KEYS_SHOWN = 3
_SUFFIXES_NOT_NEEDED = (".num_batches_tracked",)


@dataclass(frozen=True)
class Recognised:
    """What the keys say: a detector of this scale with this many classes."""

    scale: str
    class_count: int


def recognise(weights: Weights) -> Recognised:
    """Tell scale and class count of a YOLOv8 detector from its weights.

    Raises:
        CheckpointError: another network or another task; the message names it where its keys give it away.
    """
    other = name_of_other_network(weights)
    if other is not None:
        raise CheckpointError(f"the weights are those of {other}: {ONLY_DETECT}")
    first = weights.get("model.0.conv.weight")
    if first is None:
        raise CheckpointError(
            f"model.0.conv.weight: missing, so these are not YOLOv8 weights (keys begin with {_shown(weights)}): "
            f"{ONLY_DETECT}"
        )
    letter = _SCALE_OF_FIRST_WIDTH.get(first.shape[0] if first.ndim else 0)
    if letter is None:
        expected = ", ".join(f"{width} ({name})" for width, name in _SCALE_OF_FIRST_WIDTH.items())
        raise CheckpointError(
            f"model.0.conv.weight: got shape {first.shape}, expected a first dimension of {expected}: {ONLY_DETECT}"
        )
    class_key = f"model.{HEAD_INDEX}.cv3.0.2.bias"
    if class_key not in weights:
        raise CheckpointError(f"{class_key}: missing, the detection head is incomplete")
    if weights[class_key].ndim != 1 or not weights[class_key].size:
        raise CheckpointError(f"{class_key}: got shape {weights[class_key].shape}, expected (class count,)")
    return Recognised(letter, int(weights[class_key].shape[0]))


def name_of_other_network(weights: Weights) -> str | None:  # noqa: PLR0911 - one line per network
    """The name of a known network that is not a YOLOv8 detector, or None."""
    keys = weights.keys()
    head = max((int(match[1]) for key in keys if (match := _LAYER_OF_KEY.match(key))), default=-1)
    prefix = f"model.{head}."
    if f"{prefix}linear.weight" in keys:
        return "a classification model (YOLOv8-cls or another)"
    if any(key.startswith((f"{prefix}one2one_cv2.", f"{prefix}one2one_cv3.")) for key in keys):
        return "an end-to-end detector (YOLOv10, YOLO26)"
    if f"{prefix}cv3.0.0.0.conv.weight" in keys:
        return "a detector with a YOLO11-style head (depthwise class branch)"
    if f"{prefix}m.0.weight" in keys and f"{prefix}m.2.weight" in keys:
        return "an anchor-based detector (YOLOv5)"
    if f"{prefix}cv2.3.2.weight" in keys:
        return {28: "a four-level detector (YOLOv8-p2)", 30: "a four-level detector (YOLOv8-p6)"}.get(
            head, "a four-level detector"
        )
    if any(key.startswith(f"{prefix}proto.") for key in keys):
        return "an instance segmentation model (YOLOv8-seg)"
    extra = weights.get(f"{prefix}cv4.0.2.weight")
    if extra is not None:
        return "an oriented-box model (YOLOv8-obb)" if extra.shape[:1] == (1,) else "a keypoint model (YOLOv8-pose)"
    if any(key.startswith(f"{prefix}cv4.") for key in keys):
        return "an open-vocabulary detector (YOLOv8-world)"
    if (
        f"{prefix}cv3.0.2.weight" in keys
        and "model.2.m.0.cv1.conv.weight" in keys
        and "model.2.cv3.conv.weight" in keys
    ):
        return "a detector with C3 blocks (YOLOv5u or another)"
    if head != HEAD_INDEX and f"{prefix}cv3.0.2.weight" in keys:
        return f"a detector whose head is layer {head} (YOLOv8's is layer {HEAD_INDEX})"
    return None


def check_detect_weights(weights: Weights, scale: Scale, class_count: int) -> None:
    """Check that the weights are exactly those of a detector: no key missing or unknown, every shape right, all finite.

    Raises:
        CheckpointError: naming the key, what was got and what was expected.
    """
    if class_count < 1:
        raise CheckpointError(f"class count: got {class_count}, expected 1 or more")
    expected: dict[str, tuple[int, ...]] = {}
    for convolution in detect_convolutions(scale, class_count):
        folded = f"{convolution.name}.conv.bias" in weights
        expected |= convolution.weight_shapes(folded=folded)
    network = f"YOLOv8{scale.letter} detect with {class_count} classes"
    if missing := [key for key in expected if key not in weights]:
        raise CheckpointError(
            f"{missing[0]}: missing; {network} expects it ({len(missing)} missing: {_shown(missing)})"
        )
    unknown = [
        key for key in weights if key not in expected and key != DFL_KEY and not key.endswith(_SUFFIXES_NOT_NEEDED)
    ]
    if unknown:
        raise CheckpointError(f"{unknown[0]}: not a weight of {network} ({len(unknown)} unknown: {_shown(unknown)})")
    for key, shape in expected.items():
        values = weights[key]
        if values.shape != shape:
            raise CheckpointError(f"{key}: got shape {values.shape}, expected {shape} for {network}")
        if values.dtype != np.float32:
            raise CheckpointError(f"{key}: got {values.dtype}, expected float32")
        if not np.isfinite(values).all():
            kind = "NaN" if np.isnan(values).any() else "infinite"
            count = int(values.size - np.isfinite(values).sum())
            raise CheckpointError(f"{key}: got {count} values that are not finite ({kind}), expected numbers")
    bins = weights.get(DFL_KEY)
    if bins is not None and not np.array_equal(bins.reshape(-1), np.arange(BINS_PER_SIDE)):
        raise CheckpointError(
            f"{DFL_KEY}: expected the fixed values 0 to {BINS_PER_SIDE - 1} ({BOX_CHANNELS} box channels)"
        )


def _shown(keys: Iterable[str]) -> str:
    """The first few keys, each cut to a length that an error message can bear."""
    names = list(keys)
    listed = ", ".join(repr(name[:80]) for name in names[:_KEYS_SHOWN])
    return listed + (", ..." if len(names) > _KEYS_SHOWN else "")
