"""Decode and suppression of YOLOv8 at 640: 80 classes, 8,400 anchors, one thread.

Peers get the same candidates. ultralytics' `non_max_suppression` starts from the decoded output even where ours starts
from the raw heads, so there it has less to do. The two halves, selection and decoding of candidates, have no peer that
does just that: they are timed beside the shortest chain of torch and torchvision calls that does.
Run by hand: `python -m rfkernels.benchmarks.ops.detection [--json]`.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rfkernels.benchmarks.harness import Row, measure_in_turns, memcpy_gigabytes_per_second, print_rows

from rfkernels import ops

_CLASS_COUNT = 80
_FEW_CLASSES = 20
_STRIDES = (8, 16, 32)
_SIZE = 640
_GRIDS = [(_SIZE // stride, _SIZE // stride) for stride in _STRIDES]
_ANCHORS = sum((_SIZE // stride) ** 2 for stride in _STRIDES)
_INPUTS = 8  # 38 MB of heads: more than most caches hold
_CONFIDENCE = 0.25
_IOU_THRESHOLD = 0.7
_PICTURE_SIZE = (1080, 1920)

FloatArray = NDArray[np.float32]
Heads = list[tuple[FloatArray, FloatArray]]


@dataclass(frozen=True)
class _Corner:
    x: int = 0
    y: int = 0


@dataclass(frozen=True)
class _Placed:
    left: int = 0
    top: int = 140
    scale_x: float = 1 / 3
    scale_y: float = 1 / 3
    crop: _Corner = _Corner()


@dataclass(frozen=True)
class _Scene:
    """One picture's outputs, in every form that an op or a peer takes."""

    planes: Heads
    anchors: Heads  # the same, anchor by anchor in memory
    halves: list[tuple[NDArray[np.uint16], NDArray[np.uint16]]]  # those in bfloat16, as an engine in bf16 gives them
    few_classes: list[NDArray[np.uint16]]  # the logits of the first 20 classes alone
    candidates: ops.Candidates  # of the bfloat16 logits
    candidate_bins: list[FloatArray]  # for each level the bins [n, 64] of its candidates
    prediction: FloatArray  # [1, 84, 8400]
    boxes: FloatArray  # [candidates, 4]
    scores: FloatArray
    class_ids: NDArray[np.int32]
    tensors: dict[str, Any]  # what the peers read, as torch has it


def _anchor_by_anchor(array: FloatArray) -> FloatArray:
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


def _bfloat16_bits(array: FloatArray) -> NDArray[np.uint16]:
    return (array.view(np.uint32) >> 16).astype(np.uint16)  # cut, not rounded: the same work


def _scene(rng: np.random.Generator, candidates: int, *, clustered: bool) -> _Scene:
    # Candidates lie anywhere, as suits nobody's cache; half of the clustered ones are suppressed and more.
    chosen = rng.choice(_ANCHORS, candidates, replace=False)
    scores = rng.uniform(0.0, 0.05, (_CLASS_COUNT, _ANCHORS))
    scores[rng.integers(0, _CLASS_COUNT, candidates), chosen] = rng.uniform(0.3, 0.99, candidates)
    if clustered:
        middles = rng.uniform(60, _SIZE - 60, (2, 40))[:, rng.integers(0, 40, _ANCHORS)]
        centres, sizes = middles + rng.normal(0, 5, (2, _ANCHORS)), rng.normal(60, 4, (2, _ANCHORS))
    else:
        centres, sizes = rng.uniform(0, _SIZE, (2, _ANCHORS)), rng.uniform(20, 80, (2, _ANCHORS))
    prediction = np.concatenate([centres, sizes, scores])[None].astype(np.float32)

    planes, first = [], 0
    with np.errstate(divide="ignore"):
        logits = np.log(scores / (1 - scores)).astype(np.float32)
    for stride in _STRIDES:
        side = _SIZE // stride
        level = logits[:, first : first + side * side].reshape(1, _CLASS_COUNT, side, side)
        planes.append((rng.normal(0, 2, (1, 64, side, side)).astype(np.float32), np.ascontiguousarray(level)))
        first += side * side
    best = prediction[0, 4:].max(axis=0)
    passing = best > _CONFIDENCE
    corners = np.concatenate([centres - sizes / 2, centres + sizes / 2]).T.astype(np.float32)
    anchors = [(_anchor_by_anchor(box), _anchor_by_anchor(classes)) for box, classes in planes]
    halves = [(_bfloat16_bits(box), _bfloat16_bits(classes)) for box, classes in anchors]
    few_classes = [_bfloat16_bits(_anchor_by_anchor(classes[:, :_FEW_CLASSES])) for _, classes in planes]
    (found,) = ops.select_candidates([classes for _, classes in halves], confidence=_CONFIDENCE)
    every_bin = np.concatenate([box.reshape(64, -1) for box, _ in planes], axis=1)
    bins = np.ascontiguousarray(every_bin[:, found.anchor_indices].T)
    arrays = {
        "prediction": prediction,
        "boxes": np.ascontiguousarray(corners[passing]),
        "scores": best[passing],
        "class_ids": prediction[0, 4:].argmax(axis=0)[passing].astype(np.int32),
    }
    tensors = {}
    if importlib.util.find_spec("torch") is not None:
        import torch

        others = {
            "logits": logits[None],
            "bins": bins.reshape(-1, 4, 16),
            "anchors": _anchor_centres()[found.anchor_indices],
            "candidate_scores": found.scores,
            "candidate_class_ids": found.class_ids,
        }
        tensors = {name: torch.from_numpy(array) for name, array in (arrays | others).items()}
    candidate_bins = np.split(bins, np.cumsum(found.level_counts)[:-1])
    return _Scene(planes, anchors, halves, few_classes, found, candidate_bins, **arrays, tensors=tensors)


def _anchor_centres() -> FloatArray:
    """[8400, 3]: centre x and y in network pixels, and the stride."""
    centres = []
    for stride in _STRIDES:
        y, x = np.mgrid[: _SIZE // stride, : _SIZE // stride] + 0.5
        centres.append(np.stack([x.ravel() * stride, y.ravel() * stride, np.full(x.size, stride)], axis=1))
    return np.concatenate(centres).astype(np.float32)


Peer = tuple[str, Callable[[_Scene], object] | None]


def _ultralytics() -> Peer:
    name = "ultralytics non_max_suppression"
    if importlib.util.find_spec("ultralytics") is None:
        return name, None
    os.environ.setdefault("YOLO_OFFLINE", "1")  # it would look for updates when imported
    from ultralytics.utils.nms import non_max_suppression

    return name, lambda scene: non_max_suppression(scene.tensors["prediction"], _CONFIDENCE, _IOU_THRESHOLD)


def _torchvision() -> Peer:
    name = "torchvision batched_nms"
    if importlib.util.find_spec("torchvision") is None:
        return name, None
    from torchvision.ops import batched_nms

    def run(scene: _Scene) -> object:
        tensors = scene.tensors
        return batched_nms(tensors["boxes"], tensors["scores"], tensors["class_ids"], _IOU_THRESHOLD)[:300]

    return name, run


def _torch_selection(class_count: int = _CLASS_COUNT) -> Peer:
    name = "torch max, sigmoid, nonzero"
    if importlib.util.find_spec("torch") is None:
        return name, None

    def run(scene: _Scene) -> object:
        logits, class_ids = scene.tensors["logits"][0, :class_count].max(0)
        scores = logits.sigmoid()
        chosen = (scores > _CONFIDENCE).nonzero()[:, 0]
        return chosen, scores[chosen], class_ids[chosen]

    return name, run


def _torch_decoding() -> Peer:
    name = "torch softmax, torchvision batched_nms"
    if importlib.util.find_spec("torchvision") is None:
        return name, None
    import torch
    from torchvision.ops import batched_nms

    bin_numbers = torch.arange(16.0)

    def run(scene: _Scene) -> object:
        tensors = scene.tensors
        centres, stride = tensors["anchors"][:, :2], tensors["anchors"][:, 2:]
        distances = tensors["bins"].softmax(2) @ bin_numbers * stride
        boxes = torch.cat([centres - distances[:, :2], centres + distances[:, 2:]], 1)
        kept = batched_nms(boxes, tensors["candidate_scores"], tensors["candidate_class_ids"], _IOU_THRESHOLD)[:300]
        back = (boxes[kept] - torch.tensor([0.0, 140.0, 0.0, 140.0])) * 3
        return back.clamp_(torch.zeros(4), torch.tensor([1920.0, 1080.0, 1920.0, 1080.0])).round_()

    return name, run


def rows(*, repeats: int = 60) -> list[Row]:
    """Measures the op; peers that are installed are timed in turns with it, on one thread too.

    Args:
        repeats: timed calls of each function, in turns.

    Returns:
        One row a case.
    """
    rng = np.random.default_rng(20240607)
    few = [_scene(rng, 100, clustered=False) for _ in range(_INPUTS)]
    spread = [_scene(rng, 2000, clustered=False) for _ in range(_INPUTS)]
    clustered = [_scene(rng, 2000, clustered=True) for _ in range(_INPUTS)]
    where = ([_Placed()], [_PICTURE_SIZE])
    thresholds: dict[str, Any] = {"confidence": _CONFIDENCE, "iou_threshold": _IOU_THRESHOLD}

    def planes(scene: _Scene) -> object:
        return ops.detect_from_heads(scene.planes, *where, **thresholds)

    def anchors(scene: _Scene) -> object:
        return ops.detect_from_heads(scene.anchors, *where, **thresholds)

    def halves(scene: _Scene) -> object:
        return ops.detect_from_heads(scene.halves, *where, **thresholds)

    def select(scene: _Scene) -> object:
        return ops.select_candidates([classes for _, classes in scene.halves], confidence=_CONFIDENCE)

    def select_of_few(scene: _Scene) -> object:
        return ops.select_candidates(scene.few_classes, confidence=_CONFIDENCE)

    def decode(scene: _Scene) -> object:
        return ops.detect_from_candidates(
            [scene.candidates], [scene.candidate_bins], *where, grids=_GRIDS, iou_threshold=_IOU_THRESHOLD
        )

    def decoded(scene: _Scene) -> object:
        return ops.detect_from_decoded(scene.prediction, *where, **thresholds)

    def suppression(scene: _Scene) -> object:
        return ops.nms(scene.boxes, scene.scores, scene.class_ids, iou_threshold=_IOU_THRESHOLD)

    scores_bytes = _CLASS_COUNT * _ANCHORS * 4
    cases = [
        ("heads NCHW, 100 candidates", planes, few, scores_bytes + 100 * 64 * 4, _ultralytics()),
        ("heads NHWC, 100 candidates", anchors, few, scores_bytes + 100 * 64 * 4, _ultralytics()),
        ("heads NHWC bf16, 100 candidates", halves, few, scores_bytes // 2 + 100 * 64 * 2, _ultralytics()),
        ("select NHWC bf16, 100 candidates", select, few, scores_bytes // 2, _torch_selection()),
        (
            "select NHWC bf16, 20 classes",
            select_of_few,
            few,
            _FEW_CLASSES * _ANCHORS * 2,
            _torch_selection(_FEW_CLASSES),
        ),
        ("candidates to boxes, 100", decode, few, 100 * 64 * 4, _torch_decoding()),
        ("candidates to boxes, 2000", decode, spread, 2000 * 64 * 4, _torch_decoding()),
        ("heads NCHW, 2000 candidates", planes, spread, scores_bytes + 2000 * 64 * 4, _ultralytics()),
        ("decoded, 2000 spread", decoded, spread, scores_bytes + 2000 * 4 * 4, _ultralytics()),
        ("decoded, 2000 clustered", decoded, clustered, scores_bytes + 2000 * 4 * 4, _ultralytics()),
        ("nms, 2000 spread", suppression, spread, None, _torchvision()),
        ("nms, 2000 clustered", suppression, clustered, None, _torchvision()),
    ]
    with _one_torch_thread():
        limit = memcpy_gigabytes_per_second()
        measured = []
        for case, ours, scenes, bytes_moved, peer in cases:
            peer_name, run_peer = peer
            functions = [ours] if run_peer is None else [ours, run_peer]
            timings = measure_in_turns(functions, scenes, repeats=repeats)
            measured.append(
                Row(
                    name="detection",
                    case=case,
                    median_ms=timings[0].median_ms,
                    bytes_moved=bytes_moved,
                    memcpy_gigabytes_per_second=None if bytes_moved is None else limit,
                    peer_name=peer_name,
                    peer_ms=None if run_peer is None else timings[1].median_ms,
                )
            )
    return measured


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    if importlib.util.find_spec("torch") is None:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    print_rows(rows(), as_json="--json" in sys.argv[1:])
