"""Whole requests on a device, 1080p picture to detections: what `rfkernels bench gpu` ends with."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from rfkernels.benchmarks.random_model import make_random_model
from rfkernels.benchmarks.tensorrt_plan import build_plan

from rfkernels.device import Device
from rfkernels.engines import DeviceEngine, OpenVINOOptions, TensorRTEngine
from rfkernels.engines.openvino_on_device import EmulatedEngine
from rfkernels.errors import RfkernelsError, UnavailableError
from rfkernels.images import load_image
from rfkernels.model_metadata import read_model_metadata
from rfkernels.tasks.loading import MODELS

_RUNTIMES = ("tensorrt", "tensorrt_rtx")
_TASKS: tuple[Literal["detect", "segment", "pose"], ...] = ("detect", "segment", "pose")
_CLASS_NAMES = [f"class {index}" for index in range(80)]
_PICTURE = (1080, 1920)
_PICTURES = 4
_WARM_UP = 10


@dataclass(frozen=True)
class RequestTimes:
    """What a request takes, in milliseconds; None where nothing is timed.

    Attributes:
        case: the network and the runtime.
        median, high: of a request from the picture in memory to the response, as Python calls it: p50 and p99.
        network: median of the network alone, launched and waited for.
        note: why there are no times.
    """

    case: str
    median: float | None
    high: float | None
    network: float | None
    note: str | None = None


def time_requests(device: Device, repeats: int) -> list[RequestTimes]:
    """Each task with each runtime that is installed; the emulated device's engine there, once."""
    is_timed = device.kind == "cuda"
    side = 640 if is_timed else 320
    results = []
    for task in _TASKS:
        random = np.random.default_rng(2)
        pictures = [random.integers(0, 256, (*_PICTURE, 3), dtype=np.uint8) for _ in range(_PICTURES)]
        with TemporaryDirectory() as folder:
            path = _make_model(Path(folder), task, side, pictures[0])
            metadata = read_model_metadata(path)
            for label, make_engine in _engines(path, device):
                case = f"yolov8n-{side} {task}, 1080p, {label}"
                try:
                    engine = make_engine()
                except RfkernelsError as error:
                    results.append(RequestTimes(case, None, None, None, str(error)))
                    continue
                model: Any = MODELS[metadata.task](engine, metadata)
                results.append(_time_request(case, model, engine, pictures, repeats if is_timed else 0))
    return results


def _make_model(folder: Path, task: Literal["detect", "segment", "pose"], side: int, picture: Any) -> Path:
    _, path = make_random_model(folder, "n", _CLASS_NAMES, (side, side), picture, task=task, wanted_detections=100)
    return path


def _engines(path: Path, device: Device) -> Iterator[tuple[str, Callable[[], DeviceEngine]]]:
    if device.kind == "emulated":
        options = OpenVINOOptions(precision="fp32", cache_directory=False)
        yield "OpenVINO", lambda: EmulatedEngine(path, device, options)
    for name in _RUNTIMES:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue

        def compile_plan(module: Any = module) -> DeviceEngine:
            plan = build_plan(path, module, for_this_gpu=device.kind == "cuda")
            if device.kind != "cuda":
                raise UnavailableError(f"a plan of {len(plan)} bytes was built, which a GPU alone can run")
            return TensorRTEngine(plan, device, module)

        yield f"{name} {module.__version__}", compile_plan


def _time_request(case: str, model: Any, engine: DeviceEngine, pictures: list[Any], repeats: int) -> RequestTimes:
    images = [load_image(picture) for picture in pictures]
    if repeats == 0:
        model.infer(images[0])
        return RequestTimes(case, None, None, None, "ran")
    taken = _times(lambda turn: model.infer(images[turn % len(images)]), repeats)
    session = engine.create_session(1)
    stream = engine.device.stream()

    def network(_turn: int) -> None:
        session.enqueue(stream)
        stream.synchronize()

    alone = _times(network, repeats)
    high = sorted(taken)[min(len(taken) - 1, round(0.99 * len(taken)))]
    return RequestTimes(case, statistics.median(taken), high, statistics.median(alone))


def _times(function: Callable[[int], object], repeats: int) -> list[float]:
    """Milliseconds of each of `repeats` calls."""
    taken = []
    for turn in range(_WARM_UP + repeats):
        begin = time.perf_counter_ns()
        function(turn)
        if turn >= _WARM_UP:
            taken.append((time.perf_counter_ns() - begin) / 1e6)
    return taken
