"""What `rfkernels bench kernels` counts and `rfkernels bench gpu` times: ops on a device, with inputs of real sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rfkernels.benchmarks.random_model import make_random_model

from rfkernels import _native, ops
from rfkernels.device import Device, DeviceArray, DeviceMemory, Stream
from rfkernels.device_blocks import ParameterBlock
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
_HOST_MEMORY_OF_MASKS = ("summary of masks", "records of masks", "arena of masks")


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
        host_bytes: what kernels wrote to memory of the host, and what was copied there.
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
class Budget:
    """What a case may move.

    Attributes:
        floor: the least that must move, in bytes; None where that depends on the data.
        share_of_floor: the most, in units of it.
        most_bytes, most_host_bytes: the most, in bytes, and what of it may go to the host.
        host_memory: memory of the host that kernels write, by what it is for.
    """

    floor: int | None = None
    share_of_floor: float | None = None
    most_bytes: int | None = None
    most_host_bytes: int | None = None
    host_memory: Sequence[str] = ()


@dataclass(frozen=True)
class KernelCase:
    """An op with its arguments on a device.

    Attributes:
        name: what it is.
        enqueue: puts the op's launches on a stream. All that they need is there, and what they wrote may be anything.
        budget: of the bytes moved.
        is_capturable: whether a graph may hold it.
    """

    name: str
    enqueue: Callable[[Stream], object]
    budget: Budget = Budget()
    is_capturable: bool = True


# Each makes one: on a device, with a stream to make it ready on, of random numbers that a seed gives.
CaseMaker = Callable[[Device, Stream, int], KernelCase]


def count(case: KernelCase, stream: Stream) -> KernelRow:
    """Run a case on the emulated device and count what it moves."""
    _native.emulation.configure(check=False, count_traffic=True)
    _native.emulation.take_records()
    try:
        case.enqueue(stream)
        stream.synchronize()
        records = _native.emulation.take_records()
    finally:
        _native.emulation.configure()
    budget = case.budget
    most_bytes = budget.most_bytes
    if budget.floor is not None and budget.share_of_floor is not None:
        most_bytes = int(budget.floor * budget.share_of_floor)
    return KernelRow(
        case=case.name,
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


def _letterbox(device: Device, stream: Stream, seed: int, *, dtype: str) -> KernelCase:
    pixels = np.random.default_rng(seed).integers(0, 256, (*_PICTURE, 3), dtype=np.uint8)
    image = device.upload(pixels, stream, purpose="image")
    canvas = device.empty((1, 3, 640, 640), dtype, purpose="canvas")
    parameters = ParameterBlock(device, 1 << 12)
    drawing = PreprocessOnDevice(canvas, parameters)
    drawing.describe([image.view()], [ops.plan_placement(*_PICTURE, size=(640, 640))])
    parameters.upload(stream)
    stream.synchronize()
    # Scale 3 has one source row for each resized one.
    budget = Budget(360 * 1920 * 3 + canvas.nbytes, 1.1)
    return KernelCase(f"letterbox 1080p -> 640 {dtype}", _keeping(drawing.enqueue, image), budget)


def _letterbox_nv12(device: Device, stream: Stream, seed: int) -> KernelCase:
    random = np.random.default_rng(seed)
    height, width = _PICTURE
    luma = device.upload(random.integers(0, 256, _PICTURE, dtype=np.uint8), stream, purpose="luma")
    values = random.integers(0, 256, (height // 2, width // 2, 2), dtype=np.uint8)
    chroma = device.upload(values, stream, purpose="chroma")
    canvas = device.empty((1, 3, 640, 640), "float16", purpose="canvas")
    parameters = ParameterBlock(device, 1 << 12)
    drawing = PreprocessOnDevice(canvas, parameters)
    planes = ops.NV12(luma.view(), chroma.view())
    drawing.describe([planes], [ops.plan_placement(*_PICTURE, size=(640, 640))])
    parameters.upload(stream)
    stream.synchronize()
    # One row of each plane for each resized one.
    budget = Budget(2 * 360 * width + canvas.nbytes, 1.1)
    return KernelCase("letterbox 1080p NV12 -> 640 float16", _keeping(drawing.enqueue, luma, chroma), budget)


def _detection(device: Device, stream: Stream, seed: int, *, side: int) -> KernelCase:
    """Some 150 candidates of 80 classes, float32."""
    random = np.random.default_rng(seed)
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
    detection.describe([ops.plan_placement(*_PICTURE, size=(side, side))], [_PICTURE])
    parameters.upload(stream)
    stream.synchronize()
    # Every logit; of each candidate the sector of every bin, which lie far apart.
    budget = Budget(4 * _CLASSES * anchors + _SECTOR_BYTES * _BINS * candidates, 1.1)
    enqueue = partial(detection.enqueue_from_heads, heads, _STRIDES)
    return KernelCase(f"detection 80 x {anchors} float32", enqueue, budget)


@dataclass(frozen=True)
class _Found:
    """100 detections of yolov8n-640 on a 1080p picture, as detection leaves them on the device."""

    anchor_indices: DeviceArray
    boxes: DeviceArray
    counts: DeviceArray


_DETECTIONS = 100


def _found(device: Device, stream: Stream, random: np.random.Generator) -> _Found:
    """Objects that cover a twentieth of the picture on average."""
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


def _masks(device: Device, stream: Stream, seed: int, *, form: Literal["bits", "runs"]) -> KernelCase:
    random = np.random.default_rng(seed)
    found = _found(device, stream, random)
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
    parameters = ParameterBlock(device, 1 << 18)
    masks = MasksOnDevice(
        prototypes, max_detections=300, form=form, most_grid=_PICTURE, arena_bytes=16 << 20, parameters=parameters
    )
    masks.describe([grid])
    parameters.upload(stream)
    stream.synchronize()
    budget = Budget(
        most_bytes=4_000_000,
        most_host_bytes=2_000_000,
        host_memory=_HOST_MEMORY_OF_MASKS,
    )
    enqueue = partial(masks.enqueue, levels, found.anchor_indices, found.boxes, found.counts)
    return KernelCase(f"masks, {_DETECTIONS} at 1080p, {form}", enqueue, budget)


def _keypoints(device: Device, stream: Stream, seed: int) -> KernelCase:
    random = np.random.default_rng(seed)
    found = _found(device, stream, random)
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
    floor = _sectors_of_anchors(found.anchor_indices.numpy(stream)[0, :_DETECTIONS], 51) * _SECTOR_BYTES
    floor += 300 * 51 * 4  # the points, zeros where there is no detection
    enqueue = partial(keypoints.enqueue, heads, _STRIDES, found.anchor_indices, found.counts)
    return KernelCase(f"keypoints, {_DETECTIONS} of 17, float16", enqueue, Budget(floor, 1.1))


def _nms(device: Device, stream: Stream, seed: int) -> KernelCase:
    random = np.random.default_rng(seed)
    count = 1000
    corners = random.uniform(0, 600, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(10, 120, (count, 2))], axis=1).astype(np.float32)
    given = device.upload(boxes, stream), device.upload(random.random(count).astype(np.float32), stream)
    class_ids = device.upload(random.integers(0, _CLASSES, count).astype(np.int32), stream)

    def enqueue(on: Stream) -> object:
        return ops.nms(*given, class_ids, iou_threshold=0.5, stream=on)

    # 24 bytes of a box, its score and its class; the indices.
    return KernelCase(f"nms of {count}", enqueue, Budget(24 * count + 4 * 300), is_capturable=False)


def _components(device: Device, stream: Stream, seed: int, *, count: int, height: int, width: int) -> KernelCase:
    masks = device.upload(np.asarray(_blobs(seed, count, height, width) > 0, np.uint8), stream)
    labels = device.empty(masks.shape, "int32", purpose="labels")
    areas = device.empty(masks.shape, "int32", purpose="areas")
    stack = count, height, width
    size = _native.connected_components_scratch_bytes(stack)
    scratch = DeviceMemory(device, max(size, 1), "scratch of components")

    def enqueue(on: Stream) -> None:
        _native.connected_components_on_device(
            device.native, masks.address, stack, labels.address, areas.address, scratch.address, size, on.handle
        )

    # One launch has a mask in a block's shared memory, and moves no more than it must.
    share = 1.1 if size == 0 else None
    budget = Budget(masks.nbytes + labels.nbytes + areas.nbytes, share)
    return KernelCase(f"connected components, {count} of {height} x {width}", enqueue, budget)


def _cleaning(device: Device, stream: Stream, seed: int, *, count: int, height: int, width: int) -> KernelCase:
    logits = device.upload(_blobs(seed, count, height, width), stream)
    cleaned = device.empty(logits.shape, "float32", purpose="cleaned logits")
    stack = count, height, width
    size = _native.clean_mask_logits_scratch_bytes(stack)
    scratch = DeviceMemory(device, max(size, 1), "scratch of cleaning")

    def enqueue(on: Stream) -> None:
        _native.clean_mask_logits_on_device(
            device.native,
            logits.address,
            False,
            stack,
            100,
            100,
            0.0,
            cleaned.address,
            scratch.address,
            size,
            on.handle,
        )

    share = 1.1 if size == 0 else None
    budget = Budget(2 * logits.nbytes, share)
    return KernelCase(f"clean mask logits, {count} of {height} x {width}", enqueue, budget)


def _blobs(seed: int, count: int, height: int, width: int) -> NDArray[np.float32]:
    """[count, height, width]: smooth shapes with holes and sprinkles."""
    random = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(0, 6, height), np.linspace(0, 6, width), indexing="ij")
    waves = [np.sin(x * a + b) * np.cos(y * b + a) for a, b in random.uniform(0.5, 3.0, (count, 2))]
    return np.asarray(np.stack(waves) + random.normal(0.0, 0.2, (count, height, width)), np.float32)


def _sectors_of_anchors(anchors: NDArray[np.int32], planes: int) -> int:
    """How many sectors hold the float16 values of some anchors, which lie a plane apart: neighbours share one."""
    count, begin = 0, 0
    for stride in _STRIDES:
        cells = (640 // stride) ** 2
        here = anchors[(anchors >= begin) & (anchors < begin + cells)] - begin
        count += len(np.unique(here * 2 // _SECTOR_BYTES))
        begin += cells
    return planes * count


CASES: Sequence[CaseMaker] = (
    partial(_letterbox, dtype="float16"),
    partial(_letterbox, dtype="float32"),
    _letterbox_nv12,
    partial(_detection, side=640),
    partial(_detection, side=1280),
    partial(_masks, form="bits"),
    partial(_masks, form="runs"),
    _keypoints,
    _nms,
    partial(_components, count=16, height=256, width=256),
    partial(_components, count=1, height=1080, width=1920),
    partial(_cleaning, count=16, height=256, width=256),
    partial(_cleaning, count=1, height=1080, width=1920),
)


def _keeping(enqueue: Callable[[Stream], object], *arguments: object) -> Callable[[Stream], object]:
    """A function that keeps what its launches read."""

    def keeping(stream: Stream, _kept: tuple[object, ...] = arguments) -> object:
        return enqueue(stream)

    return keeping


def request(
    device: Device, task: Literal["detect", "segment", "pose"]
) -> tuple[KernelCase, Callable[[], Mapping[str, int]]]:
    """A whole request but for the network: 1080p picture, 320 x 320 network of random weights.

    Returns:
        The case, and a function that says what the device was asked for since then.
    """
    picture = np.random.default_rng(2).integers(0, 256, (*_PICTURE, 3), dtype=np.uint8)
    names = [f"class {index}" for index in range(_CLASSES)]
    with TemporaryDirectory() as folder:
        _, path = make_random_model(Path(folder), "n", names, (320, 320), picture, task=task, wanted_detections=100)
        engine = EmulatedEngine(path, device, OpenVINOOptions(precision="fp32", cache_directory=False))
        metadata = read_model_metadata(path)
    model: Any = MODELS[metadata.task](engine, metadata)
    image = load_image(picture)
    model.detect_images([image])
    before = device.counters()

    def spent() -> Mapping[str, int]:
        return {name: value - before[name] for name, value in device.counters().items()}

    # Of masks nobody knows before how much there will be.
    budget = Budget(most_host_bytes=65536 if task == "detect" else None, host_memory=_HOST_MEMORY_OF_MASKS)
    return KernelCase(f"request: {task}, 320", lambda _stream: model.detect_images([image]), budget), spent
