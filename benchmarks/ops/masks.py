"""Masks of detections on a 1080p picture, YOLOv8 at 640, 160 x 160 prototypes, one thread.

To polygons beside ultralytics' `process_mask_native` and cv2.findContours, to run lengths beside the same masks and
pycocotools, in the convention of each and in V2's.
Run by hand: `python -m rfkernels.benchmarks.ops.masks [--json]`.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rfkernels.benchmarks.harness import Row, measure_in_turns, memcpy_gigabytes_per_second, print_rows

from rfkernels import ops

_PICTURE_SIZE = (1080, 1920)
_NETWORK_SIZE = (640, 640)
_PROTOTYPE_SIZE = (160, 160)
_CHANNELS = 32
_INPUTS = 4
_PEER_REPEATS = 9  # a call of the peer takes a quarter of a second and more

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class _Scene:
    """One picture's detections: prototypes channels-last, as the engine gives them."""

    prototypes: FloatArray  # [1, 32, 160, 160]
    coefficients: FloatArray  # [n, 32]
    boxes: FloatArray  # [n, 4]
    tensors: tuple[Any, ...]  # the same for the peer


def rows(*, repeats: int = 60) -> list[Row]:
    """Measures 20 and 100 detections, to polygons and to run lengths."""
    limit = memcpy_gigabytes_per_second()
    measured = []
    for count in (20, 100):
        rng = np.random.default_rng(count)
        scenes = [_scene(rng, count) for _ in range(_INPUTS)]
        for form in ("polygons", "rle"):
            for convention in ("v2", "ultralytics"):
                measured.append(_row(scenes, form, convention, repeats=repeats, limit=limit))
    return measured


def _row(scenes: list[_Scene], form: str, convention: str, *, repeats: int, limit: float) -> Row:
    rounding: Any = "truncate" if convention == "v2" else "half_to_even"
    placement = ops.plan_placement(*_PICTURE_SIZE, size=_NETWORK_SIZE, rounding=rounding)
    kind: Any = "v2" if convention == "v2" else "ultralytics_native"

    def ours(scene: _Scene) -> object:
        grid = ops.plan_mask_grid(
            placement,
            image_size=_PICTURE_SIZE,
            network_size=_NETWORK_SIZE,
            prototype_size=_PROTOTYPE_SIZE,
            convention=kind,
        )
        arguments = (scene.prototypes, scene.coefficients, scene.boxes, grid)
        return ops.masks_to_polygons(*arguments) if form == "polygons" else ops.masks_to_rle(*arguments)

    sides = scenes[0].boxes[:, 2:] - scenes[0].boxes[:, :2]
    # What must be read: the prototypes under each box.
    bytes_moved = int((sides / 4).prod(axis=1).sum()) * _CHANNELS * 4
    peer = _peer(form) if convention == "ultralytics" else None
    (timing,) = measure_in_turns([ours], scenes, repeats=repeats)
    peer_ms = None
    if peer is not None:
        (peer_timing,) = measure_in_turns([peer], scenes, settle=1, repeats=min(repeats, _PEER_REPEATS))
        peer_ms = peer_timing.median_ms
    names = {"polygons": "process_mask_native+findContours", "rle": "process_mask_native+pycocotools"}
    return Row(
        name="masks",
        case=f"{len(scenes[0].boxes)} on 1080p to {form}, {convention}",
        median_ms=timing.median_ms,
        bytes_moved=bytes_moved,
        memcpy_gigabytes_per_second=limit,
        peer_name=names[form] if convention == "ultralytics" else None,
        peer_ms=peer_ms,
    )


def _scene(rng: np.random.Generator, count: int) -> _Scene:
    """Blobs under boxes whose sides are 40 to 300 pixels of the network's input: 0.7 % to 12 % of the picture."""
    coarse = rng.standard_normal((_CHANNELS, 12, 12)).astype(np.float32)
    prototypes = np.stack([_enlarged(plane) for plane in coarse], axis=-1)
    coefficients = rng.standard_normal((count, _CHANNELS)).astype(np.float32)
    centres = np.stack([rng.uniform(60, 580, count), rng.uniform(180, 460, count)], axis=1)
    half = np.stack([rng.uniform(20, 150, count), rng.uniform(20, 150, count)], axis=1)
    boxes = np.concatenate([centres - half, centres + half], axis=1).clip(0, 640).astype(np.float32)
    tensors: tuple[Any, ...] = ()
    if _has("torch"):
        import torch

        planes = np.ascontiguousarray(prototypes.transpose(2, 0, 1))
        tensors = tuple(torch.from_numpy(array) for array in (planes, coefficients, boxes))
    return _Scene(prototypes.transpose(2, 0, 1)[None], coefficients, boxes, tensors)


def _enlarged(plane: FloatArray) -> FloatArray:
    """[12, 12] to [160, 160], linearly between the values."""
    places = np.linspace(0, len(plane) - 1, _PROTOTYPE_SIZE[0])
    known = np.arange(len(plane))
    wide = np.stack([np.interp(places, known, row) for row in plane])
    return np.stack([np.interp(places, known, column) for column in wide.T], axis=1).astype(np.float32)


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _peer(form: str) -> Callable[[_Scene], object] | None:
    """What a user of ultralytics does, on one thread; None where it is not installed."""
    if not (_has("ultralytics") and _has("cv2") and _has("pycocotools")):
        return None
    os.environ.setdefault("YOLO_OFFLINE", "1")
    import cv2
    import torch
    from pycocotools import mask as coco_mask
    from ultralytics.utils.ops import process_mask_native, scale_boxes

    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    def masks_of(scene: _Scene) -> Any:
        planes, coefficients, boxes = scene.tensors
        scaled = scale_boxes(_NETWORK_SIZE, boxes.clone(), _PICTURE_SIZE)
        return process_mask_native(planes, coefficients, scaled, _PICTURE_SIZE).numpy()

    def to_polygons(scene: _Scene) -> object:
        return [cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0] for mask in masks_of(scene)]

    def to_rle(scene: _Scene) -> object:
        return [coco_mask.encode(np.asfortranarray(mask)) for mask in masks_of(scene)]

    return to_polygons if form == "polygons" else to_rle


if __name__ == "__main__":
    print_rows(rows(), as_json="--json" in sys.argv[1:])
