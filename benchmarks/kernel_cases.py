"""What `rfkernels bench kernels` runs: each CUDA kernel on the emulated device, on inputs of real sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rfkernels.benchmarks.random_model import make_random_model

from rfkernels import _native, ops
from rfkernels.device import Device, DeviceArray, ParameterBlock, Stream
from rfkernels.engines import OpenVINOOptions
from rfkernels.engines.openvino_on_device import EmulatedEngine
from rfkernels.images import load_image
from rfkernels.model_metadata import read_model_metadata
from rfkernels.ops.detection_on_device import DetectionOnDevice
from rfkernels.ops.keypoints_on_device import KeypointsOnDevice
from rfkernels.ops.masks_on_device import MasksOnDevice
from rfkernels.ops.preprocess_on_device import PreprocessOnDevice
from rfkernels.tasks.loading import MODELS

_STRIDES = (8, 16, 32)
_CLASSES = 80
_BINS = 64
_SECTOR_BYTES = 32
_PICTURE = (1080, 1920)


@dataclass(frozen=True)
class Launch:
    """What one launch takes of a multiprocessor.

    Attributes:
        kernel: its name, and its variant's behind it.
        lanes: of a block.
        shared_bytes: of a block.
    """

    kernel: str
    lanes: int
    shared_bytes: int


@dataclass(frozen=True)
class KernelRow:
    """What the launches of one case moved.

    Attributes:
        case: what it was.
        launches: of kernels, in order.
        moved_bytes: of sectors that were read or written at least once.
        floor_bytes: the least that must move; None where that depends on the data.
        host_bytes: of moved_bytes, what kernels wrote to memory of the host.
        load_requests, load_sectors: of warps to device memory.
        bank_conflicts: passes beyond what shared memory needs without conflicts.
        most_bytes, most_host_bytes: the budgets of moved_bytes and host_bytes; None: there is none.
    """

    case: str
    launches: tuple[Launch, ...]
    moved_bytes: int
    floor_bytes: int | None
    host_bytes: int
    load_requests: int
    load_sectors: int
    bank_conflicts: int
    most_bytes: int | None = None
    most_host_bytes: int | None = None

    @property
    def ratio(self) -> float | None:
        """moved_bytes in units of floor_bytes."""
        return None if self.floor_bytes is None else self.moved_bytes / self.floor_bytes

    @property
    def is_within_budget(self) -> bool:
        """Whether it moves no more than it may."""
        return (self.most_bytes is None or self.moved_bytes <= self.most_bytes) and (
            self.most_host_bytes is None or self.host_bytes <= self.most_host_bytes
        )


@dataclass(frozen=True)
class _Budget:
    floor: int | None = None
    share_of_floor: float | None = None
    most_bytes: int | None = None
    most_host_bytes: int | None = None
    # Memory of the host that kernels write, by what it is for.
    host_memory: Sequence[str] = field(default=())


def cases() -> list[Callable[[Device, Stream], list[KernelRow]]]:
    """All of them, to be called one after the other."""
    return [_letterbox, _detection_640, _detection_1280, _masks, _keypoints, _requests]


def _counted(case: str, stream: Stream, enqueue: Callable[[], object], budget: _Budget = _Budget()) -> KernelRow:
    _native.emulation.configure(check=False, count_traffic=True)
    _native.emulation.take_records()
    try:
        enqueue()
        stream.synchronize()
        records = _native.emulation.take_records()
    finally:
        _native.emulation.configure()
    most_bytes = budget.most_bytes
    if budget.floor is not None and budget.share_of_floor is not None:
        most_bytes = int(budget.floor * budget.share_of_floor)
    return KernelRow(
        case=case,
        launches=tuple(
            Launch(record["kernel"], int(np.prod(record["block"])), record["shared_bytes"]) for record in records
        ),
        moved_bytes=sum(record["moved_bytes"] for record in records),
        floor_bytes=budget.floor,
        host_bytes=sum(record["moved"].get(name, (0, 0))[1] for record in records for name in budget.host_memory),
        load_requests=sum(record["loads"]["requests"] for record in records),
        load_sectors=sum(record["loads"]["sectors"] for record in records),
        bank_conflicts=sum(record["bank_conflicts"] for record in records),
        most_bytes=most_bytes,
        most_host_bytes=budget.most_host_bytes,
    )


def _letterbox(device: Device, stream: Stream) -> list[KernelRow]:
    rows = []
    pixels = np.random.default_rng(0).integers(0, 256, (*_PICTURE, 3), dtype=np.uint8)
    image = device.upload(pixels, stream, purpose="image")
    placement = ops.plan_placement(*_PICTURE, size=(640, 640))
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
        rows.append(_counted(f"letterbox 1080p -> 640 {dtype}", stream, enqueue, _Budget(floor, 1.1)))
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
    placement = ops.plan_placement(*_PICTURE, size=(side, side))
    detection.describe([placement], [_PICTURE])
    parameters.upload(stream)
    stream.synchronize()
    # Every logit; of each candidate the sector of every bin, which lie far apart.
    floor = 4 * _CLASSES * anchors + _SECTOR_BYTES * _BINS * candidates
    enqueue = partial(detection.enqueue_from_heads, heads, _STRIDES, stream)
    return _counted(f"detection 80 x {anchors} float32", stream, enqueue, _Budget(floor, 1.1))


@dataclass(frozen=True)
class _Found:
    """100 detections of yolov8n-640 on a 1080p picture, as detection leaves them on the device."""

    anchor_indices: DeviceArray
    boxes: DeviceArray
    counts: DeviceArray


_DETECTIONS = 100


def _found(device: Device, stream: Stream) -> _Found:
    """Objects that cover a twentieth of the picture on average."""
    random = np.random.default_rng(3)
    anchors = np.zeros((1, 300), np.int32)
    anchors[0, :_DETECTIONS] = np.sort(random.choice(8400, _DETECTIONS, replace=False))
    sides = 0.22 * np.array([640.0, 360.0]) * random.uniform(0.5, 1.5, (_DETECTIONS, 2))
    begins = np.array([0.0, 140.0]) + random.uniform(0.0, 1.0, (_DETECTIONS, 2)) * (np.array([640.0, 360.0]) - sides)
    boxes = np.zeros((1, 300, 4), np.float32)
    boxes[0, :_DETECTIONS] = np.concatenate([begins, begins + sides], axis=1)
    return _Found(
        device.upload(anchors, stream, purpose="anchors"),
        device.upload(boxes, stream, purpose="network boxes"),
        device.upload(np.array([_DETECTIONS], np.int32), stream, purpose="counts"),
    )


def _smooth_prototypes() -> NDArray[np.float16]:
    """[1, 32, 160, 160]: objects, not noise. A few waves across the picture."""
    channel, y, x = np.meshgrid(np.arange(32), np.arange(160), np.arange(160), indexing="ij")
    waves = np.sin(x * 0.02 * (channel + 1) + channel) * np.cos(y * 0.3 / (channel + 1)) + 1.5 * (channel == 0)
    return np.asarray(waves[None], np.float16)


def _masks(device: Device, stream: Stream) -> list[KernelRow]:
    rows = []
    random = np.random.default_rng(4)
    found = _found(device, stream)
    prototypes = device.upload(_smooth_prototypes(), stream, purpose="prototypes")
    levels = []
    for stride in _STRIDES:
        coefficients = random.normal(0.0, 1.0, (1, 32, 640 // stride, 640 // stride)).astype(np.float16)
        coefficients[:, 0] = abs(coefficients[:, 0])
        levels.append(device.upload(coefficients, stream, purpose="coefficients"))
    placement = ops.plan_placement(*_PICTURE, size=(640, 640))
    grid = ops.plan_mask_grid(
        placement, image_size=_PICTURE, network_size=(640, 640), prototype_size=(160, 160), convention="v2"
    )
    forms: tuple[Literal["bits", "runs"], ...] = ("bits", "runs")
    for form in forms:
        parameters = ParameterBlock(device, 1 << 18)
        masks = MasksOnDevice(
            prototypes, max_detections=300, form=form, most_grid=_PICTURE, arena_bytes=16 << 20, parameters=parameters
        )
        masks.describe([grid])
        parameters.upload(stream)
        stream.synchronize()
        budget = _Budget(
            most_bytes=4_000_000,
            most_host_bytes=2_000_000,
            host_memory=("summary of masks", "records of masks", "arena of masks"),
        )
        enqueue = partial(masks.enqueue, levels, found.anchor_indices, found.boxes, found.counts, stream)
        rows.append(_counted(f"masks, {_DETECTIONS} at 1080p, {form}", stream, enqueue, budget))
    return rows


def _keypoints(device: Device, stream: Stream) -> list[KernelRow]:
    random = np.random.default_rng(5)
    found = _found(device, stream)
    heads = [
        device.upload(random.normal(size=(1, 51, 640 // stride, 640 // stride)).astype(np.float16), stream)
        for stride in _STRIDES
    ]
    parameters = ParameterBlock(device, 1 << 12)
    keypoints = KeypointsOnDevice(
        device, image_count=1, max_detections=300, keypoint_count=17, dimensions=3, parameters=parameters
    )
    keypoints.describe([ops.plan_placement(*_PICTURE, size=(640, 640))], [_PICTURE])
    parameters.upload(stream)
    stream.synchronize()
    floor = _sectors_of_anchors(found.anchor_indices.numpy(stream)[0, :_DETECTIONS], 51) * _SECTOR_BYTES
    floor += 300 * 51 * 4  # the points, zeros where there is no detection
    enqueue = partial(keypoints.enqueue, heads, _STRIDES, found.anchor_indices, found.counts, stream)
    return [_counted(f"keypoints, {_DETECTIONS} of 17, float16", stream, enqueue, _Budget(floor, 1.1))]


def _sectors_of_anchors(anchors: NDArray[np.int32], planes: int) -> int:
    """How many sectors hold the float16 values of some anchors, which lie a plane apart: neighbours share one."""
    count, begin = 0, 0
    for stride in _STRIDES:
        cells = (640 // stride) ** 2
        here = anchors[(anchors >= begin) & (anchors < begin + cells)] - begin
        count += len(np.unique(here * 2 // _SECTOR_BYTES))
        begin += cells
    return planes * count


def _requests(device: Device, stream: Stream) -> list[KernelRow]:
    """Whole requests but for the network: 1080p picture, 320 x 320 network of random weights."""
    rows = []
    picture = np.random.default_rng(2).integers(0, 256, (*_PICTURE, 3), dtype=np.uint8)
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
