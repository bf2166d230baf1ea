"""`rfkernels bench kernels`: what each CUDA kernel moves, counted on the emulated device, beside the least it could.

No times: nothing here runs on a GPU. What is counted is what a GPU's profiler counts (sectors of 32 bytes, requests of
a warp, conflicts of banks), and it is the same on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rfkernels.benchmarks.random_model import make_random_model

from rfkernels import _native, ops
from rfkernels.device import Device, ParameterBlock, Stream, open_device
from rfkernels.engines import OpenVINOOptions
from rfkernels.engines.openvino_on_device import EmulatedEngine
from rfkernels.errors import UnavailableError
from rfkernels.images import load_image
from rfkernels.model_metadata import read_model_metadata
from rfkernels.ops.detection_on_device import DetectionOnDevice
from rfkernels.ops.preprocess_on_device import PreprocessOnDevice
from rfkernels.tasks.loading import MODELS

_STRIDES = (8, 16, 32)
_CLASSES = 80
_BINS = 64


@dataclass(frozen=True)
class KernelRow:
    """What the launches of one case moved.

    Attributes:
        case: what it was.
        launches: of kernels.
        moved_bytes: of sectors that were read or written at least once.
        floor_bytes: the least that must move; None where that depends on the data.
        load_requests, load_sectors: of warps to device memory.
        bank_conflicts: passes beyond what shared memory needs without conflicts.
        budget: the most that moved_bytes may be of floor_bytes, or None.
    """

    case: str
    launches: int
    moved_bytes: int
    floor_bytes: int | None
    load_requests: int
    load_sectors: int
    bank_conflicts: int
    budget: float | None = None

    @property
    def ratio(self) -> float | None:
        """moved_bytes in units of floor_bytes."""
        return None if self.floor_bytes is None else self.moved_bytes / self.floor_bytes

    @property
    def is_within_budget(self) -> bool:
        """Whether it moves no more than it may."""
        return self.budget is None or self.ratio is None or self.ratio <= self.budget


def run_kernels(*, as_json: bool, on_progress: Callable[[int, int], None] | None = None) -> str:
    """Every case, one line each, or as JSON."""
    rows = measure(on_progress)
    if as_json:
        return json.dumps([asdict(row) | {"ratio": row.ratio} for row in rows], indent=2)
    lines = [f"{'case':44} launches   MB moved  of floor  sectors/load  bank conflicts"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}x"
        sectors = row.load_sectors / max(1, row.load_requests)
        lines.append(
            f"{row.case:44} {row.launches:8} {row.moved_bytes / 1e6:10.3f} {ratio:>9} {sectors:13.2f} "
            f"{row.bank_conflicts:15}{'' if row.is_within_budget else '  OVER BUDGET'}"
        )
    return "\n".join(lines)


def measure(on_progress: Callable[[int, int], None] | None = None) -> list[KernelRow]:
    """The rows.

    Raises:
        UnavailableError: this build has no emulated device, or does not count.
    """
    if not hasattr(_native, "emulation") or not _native.emulation.has_hooks:
        raise UnavailableError(
            "this build of rfkernels has no emulated device that counts; build it with CUDA's headers"
        )
    device = open_device("emulated")
    cases: list[Callable[[Device, Stream], list[KernelRow]]] = [_letterbox, _detection_640, _detection_1280, _requests]
    rows = []
    for done, case in enumerate(cases):
        if on_progress is not None:
            on_progress(done, len(cases))
        rows += case(device, device.stream())
    return rows


def _counted(
    case: str, stream: Stream, enqueue: Callable[[], object], floor: int | None = None, budget: float | None = None
) -> KernelRow:
    _native.emulation.configure(check=False, count_traffic=True)
    _native.emulation.take_records()
    try:
        enqueue()
        stream.synchronize()
        records = _native.emulation.take_records()
    finally:
        _native.emulation.configure()
    return KernelRow(
        case=case,
        launches=len(records),
        moved_bytes=sum(record["moved_bytes"] for record in records),
        floor_bytes=floor,
        load_requests=sum(record["loads"]["requests"] for record in records),
        load_sectors=sum(record["loads"]["sectors"] for record in records),
        bank_conflicts=sum(record["bank_conflicts"] for record in records),
        budget=budget,
    )


def _letterbox(device: Device, stream: Stream) -> list[KernelRow]:
    rows = []
    pixels = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    image = device.upload(pixels, stream, purpose="image")
    placement = ops.plan_placement(1080, 1920, size=(640, 640))
    for dtype, size in (("float16", 2), ("float32", 4)):
        canvas = device.empty((1, 3, 640, 640), dtype, purpose="canvas")
        parameters = ParameterBlock(device, 1 << 12)
        drawing = PreprocessOnDevice(canvas, parameters)
        drawing.describe([image.view()], [placement])
        parameters.upload(stream)
        stream.synchronize()
        # Scale 3 has one source row for each resized one.
        floor = 360 * 1920 * 3 + 3 * 640 * 640 * size
        enqueue = partial(drawing.enqueue, stream)
        rows.append(_counted(f"letterbox 1080p -> 640 {dtype}", stream, enqueue, floor, 1.1))
    return rows


def _detection_640(device: Device, stream: Stream) -> list[KernelRow]:
    return [_detection(device, stream, 640)]


def _detection_1280(device: Device, stream: Stream) -> list[KernelRow]:
    return [_detection(device, stream, 1280)]


def _detection(device: Device, stream: Stream, side: int) -> KernelRow:
    """Some 150 candidates of 80 classes, float32."""
    random = np.random.default_rng(1)
    heads, anchors, candidates = [], 0, 0
    for stride in _STRIDES:
        cells = side // stride
        anchors += cells * cells
        logits = random.normal(-7.0, 1.0, (1, _CLASSES, cells, cells)).astype(np.float32)
        boxes = random.normal(0.0, 2.0, (1, _BINS, cells, cells)).astype(np.float32)
        chosen = random.choice(cells * cells, max(1, cells * cells * 150 // (side * side // 48)), replace=False)
        candidates += len(chosen)
        logits.reshape(_CLASSES, -1)[random.integers(0, _CLASSES, len(chosen)), chosen] = 2.0
        heads.append((device.upload(boxes, stream, purpose="boxes"), device.upload(logits, stream, purpose="classes")))
    parameters = ParameterBlock(device, 1 << 14)
    detection = DetectionOnDevice(
        device,
        image_count=1,
        class_count=_CLASSES,
        anchor_count=anchors,
        max_detections=300,
        parameters=parameters,
        stream=stream,
    )
    placement = ops.plan_placement(1080, 1920, size=(side, side))
    detection.describe([placement], [(1080, 1920)])
    parameters.upload(stream)
    stream.synchronize()
    return _counted(
        f"detection 80 x {anchors} float32",
        stream,
        lambda: detection.enqueue_from_heads(heads, _STRIDES, stream),
        # Every logit; of each candidate the sector of every bin, which lie far apart.
        4 * _CLASSES * anchors + 32 * _BINS * candidates,
        1.1,
    )


def _requests(device: Device, stream: Stream) -> list[KernelRow]:
    """Whole requests but for the network: 1080p picture, 320 x 320 network of random weights."""
    rows = []
    picture = np.random.default_rng(2).integers(0, 256, (1080, 1920, 3), dtype=np.uint8)
    names = [f"class {index}" for index in range(_CLASSES)]
    for task in ("detect", "segment", "pose"):
        with TemporaryDirectory() as folder:
            _, path = make_random_model(Path(folder), "n", names, (320, 320), picture, task=task, wanted_detections=100)
            engine = EmulatedEngine(path, device, OpenVINOOptions(precision="fp32", cache_directory=False))
            model: Any = MODELS[read_model_metadata(path).task](engine, read_model_metadata(path))
            image = load_image(picture)
            model.detect_images([image])
            before = device.counters()
            rows.append(_counted(f"request: {task}, 320", stream, partial(model.detect_images, [image])))
            spent = {name: value - before[name] for name, value in device.counters().items()}
            # The second wait is the one that this benchmark counts after.
            assert (spent["graph_launches"], spent["synchronizations"]) == (1, 2)
    return rows
