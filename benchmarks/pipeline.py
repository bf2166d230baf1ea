"""A decoded 1080p image to a V2 response as JSON, stage by stage, with the installed peers in the same run.

The model is a YOLOv8 of random weights that carry a signal, its class biases set so that an image has about 100
detections, or 20 with masks or keypoints; or a file of the caller's. Every runner gets the same images in the same
order, in blocks: a block begins with untimed calls, since the thread pools of the runner before it may still be
spinning.
"""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rfkernels.models.yolov8.network import TASK_NAMES, Task

from rfkernels.errors import InvalidArgumentError
from rfkernels.images import load_image
from rfkernels.model_metadata import ModelMetadata
from rfkernels.tasks.detection_settings import DetectionSettings
from rfkernels.tasks.detector import Detector
from rfkernels.tasks.loading import load

_IMAGE_SIZE = (1080, 1920)
_IMAGE_COUNT = 6
_CLASS_NAMES = [f"class {index}" for index in range(80)]
# Of the image that the model is made for: a mean of about 100, 20 and 20 over all of them.
_DETECTIONS: dict[Task, int] = {"detect": 104, "segment": 21, "pose": 21}
_BLOCK_WARMUP = 6
_BLOCK_REPEATS = 20
# The network runs in two parts where it computes boxes for candidates only: what the runtime takes for them is the
# engine's, and what their rows take to be chosen is not.
_STAGES = (
    "preprocess",
    "engine",
    "select candidates",
    "rows of boxes",
    "engine: boxes",
    "decode and NMS",
    "masks or keypoints",
    "response",
)
_ENGINE_STAGES = ("engine", "engine: boxes")

_TASKS = {name: task for task, name in TASK_NAMES.items()}

AnyDetector: TypeAlias = Detector[Any, Any, Any, Any]
Runner = Callable[[NDArray[np.uint8]], object]


@dataclass
class PipelineReport:
    """Medians in milliseconds.

    Attributes:
        stages_ms: of each stage of ours. "engine" and "engine: boxes" are the two parts of the network.
        all_but_engine_ms: of a whole request less those two; a median of its own, not the sum of the others.
        total_ms: of a whole request.
        peers_ms: of each peer's whole call.
        detections: mean number in an image.
        engine: runtime, precision, threads.
        missing_peers: those that are not installed here, and so were not timed.
    """

    model: str
    engine: dict[str, str]
    detections: float
    repeats: int
    stages_ms: dict[str, float] = field(default_factory=dict)
    all_but_engine_ms: float = 0.0
    total_ms: float = 0.0
    peers_ms: dict[str, float] = field(default_factory=dict)
    missing_peers: list[str] = field(default_factory=list)


def run_pipeline(
    *,
    repeats: int = 200,
    threads: int = 2,
    precision: str = "auto",
    scale: str = "n",
    image_size: int = 640,
    task: Task = "detect",
    model_path: Path | None = None,
    as_json: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> str:
    """Time it; returns the report as text or JSON.

    Args:
        repeats: timed calls of each runner, rounded up to whole blocks of 20.
        threads: of each engine.
        precision: of our engine, "auto", "fp32" or "bf16". ultralytics' OpenVINO backend is given the same.
        scale: of the YOLOv8 that is made, "n" to "x".
        image_size: side of its input.
        task: "detect", "segment" (outlines) or "pose" (17 keypoints).
        model_path: a model to time instead; without peers, who would need its checkpoint.
        on_progress: called between blocks with how many of how many are done.
    """
    images = make_images(_IMAGE_COUNT)
    with tempfile.TemporaryDirectory(prefix="rfkernels-bench-") as folder:
        weights: Path | None = None
        if model_path is None:
            from rfkernels.benchmarks.random_model import make_random_model

            weights, model_path = make_random_model(
                Path(folder),
                scale,
                _CLASS_NAMES[:1] if task == "pose" else _CLASS_NAMES,
                (image_size, image_size),
                images[0],
                task=task,
                wanted_detections=_DETECTIONS[task],
            )
        model = load(model_path, precision=precision, threads=threads, cache_directory=False)  # type: ignore[arg-type]
        if not isinstance(model, Detector):
            raise InvalidArgumentError(f"model: {model_path.name} is one for {model.metadata.task}, which has no boxes")
        report = PipelineReport(model_path.stem, dict(model.engine.description), 0.0, 0)
        peers = _make_peers(weights, model.metadata, threads, model.engine.description["precision"], report)
        _measure(model, peers, images, repeats, report, on_progress=on_progress)
    return json.dumps(asdict(report), indent=2) if as_json else _format(report)


def make_images(count: int) -> list[NDArray[np.uint8]]:
    """Distinct 1080p BGR images of smooth colour with noise: no runner finds its input in a cache."""
    rng = np.random.default_rng(7)
    height, width = _IMAGE_SIZE
    images = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (height // 40, width // 40, 3)).astype(np.int16)
        smooth = coarse.repeat(40, axis=0).repeat(40, axis=1)
        images.append(np.clip(smooth + rng.integers(-24, 25, smooth.shape), 0, 255).astype(np.uint8))
    return images


def _make_peers(
    weights: Path | None, metadata: ModelMetadata, threads: int, precision: str, report: PipelineReport
) -> dict[str, Runner]:
    from rfkernels.benchmarks.peers import inference_models_onnx, ultralytics_openvino

    peers: dict[str, Runner] = {}
    # In offline mode inference-models insists on being imported before ultralytics.
    if weights is not None and inference_models_onnx.available():
        peers["inference-models onnx fp32"] = inference_models_onnx.make_runner(
            weights,
            threads,
            class_names=metadata.class_names,
            task=metadata.task,
            keypoint_names=metadata.keypoints.names[0] if metadata.keypoints else (),
        )
    else:
        report.missing_peers.append("inference-models onnx")
    if weights is not None and ultralytics_openvino.available():
        # Left alone, its OpenVINO computes in bf16 exactly where ours does.
        peer_precision = "fp32" if precision == "fp32" else "default"
        peers[f"ultralytics openvino {precision}"] = ultralytics_openvino.make_runner(
            weights, threads, task=_TASKS[metadata.task], precision=peer_precision, confidence=0.4, iou_threshold=0.3
        )
    else:
        report.missing_peers.append("ultralytics openvino")
    return peers


def _measure(
    model: AnyDetector,
    peers: dict[str, Runner],
    images: Sequence[NDArray[np.uint8]],
    repeats: int,
    report: PipelineReport,
    *,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    settings = model.default_settings()
    blocks = -(-repeats // _BLOCK_REPEATS)
    ours: list[list[float]] = []
    counts: list[int] = []
    peer_times: dict[str, list[float]] = {name: [] for name in peers}
    for block in range(blocks):
        if on_progress is not None:
            on_progress(block, blocks)
        for turn in range(_BLOCK_WARMUP + _BLOCK_REPEATS):
            stages, count = _timed_request(model, images[(block + turn) % len(images)], settings)
            if turn >= _BLOCK_WARMUP:
                ours.append(stages)
                counts.append(count)
        for name, runner in peers.items():
            for turn in range(_BLOCK_WARMUP + _BLOCK_REPEATS):
                started = time.perf_counter()
                runner(images[(block + turn) % len(images)])
                if turn >= _BLOCK_WARMUP:
                    peer_times[name].append((time.perf_counter() - started) * 1e3)
    report.repeats = len(ours)
    report.detections = statistics.mean(counts)
    report.stages_ms = {stage: statistics.median(times[index] for times in ours) for index, stage in enumerate(_STAGES)}
    others = [index for index, stage in enumerate(_STAGES) if stage not in _ENGINE_STAGES]
    report.all_but_engine_ms = statistics.median(sum(times[index] for index in others) for times in ours)
    report.total_ms = statistics.median(sum(times) for times in ours)
    report.peers_ms = {name: statistics.median(times) for name, times in peer_times.items()}


def _timed_request(
    model: AnyDetector, pixels: NDArray[np.uint8], settings: DetectionSettings
) -> tuple[list[float], int]:
    """What `model.infer(pixels).to_json()` does, with the clock read between the stages; milliseconds of each."""
    with model.engine.session() as session:
        marks = [time.perf_counter()]
        image = load_image(pixels)
        placements = model.prepare([image], session, settings.convention)
        marks.append(time.perf_counter())
        outputs = session.run()
        marks.append(time.perf_counter())
        arguments = ([image], placements)
        if model.has_sparse_boxes:
            candidates = model.select(outputs, 1, settings)
            marks.append(time.perf_counter())
            boxes = model.boxes_of(session, candidates)
            now = time.perf_counter()
            # Rows are chosen before the runtime is called; the little that follows counts with them.
            marks += [now - session.seconds_in_branches, now]
            detections = model.decode(candidates, boxes, *arguments, settings)
        else:
            marks += [marks[-1]] * 3
            detections = model.find_boxes(session, outputs, *arguments, settings)
        marks.append(time.perf_counter())
        (found,) = model.extend(outputs, *arguments, detections, settings)
        marks.append(time.perf_counter())
        model.respond(image, found, settings).to_json()
        marks.append(time.perf_counter())
    return [(after - before) * 1e3 for before, after in itertools.pairwise(marks)], len(found)


def _format(report: PipelineReport) -> str:
    engine = ", ".join(f"{name} {value}" for name, value in report.engine.items())
    lines = [
        f"{report.model}, 1080p image in memory to V2 JSON, {report.detections:.0f} detections, "
        f"medians of {report.repeats}",
        f"engine: {engine}",
    ]
    lines += [f"  {stage:<28} {milliseconds:8.3f} ms" for stage, milliseconds in report.stages_ms.items()]
    lines.append(f"  {'everything but the engine':<28} {report.all_but_engine_ms:8.3f} ms")
    lines.append(f"  {'total':<28} {report.total_ms:8.3f} ms")
    for name, milliseconds in report.peers_ms.items():
        lines.append(f"  {name:<28} {milliseconds:8.3f} ms   ours takes {report.total_ms / milliseconds:.2f} of it")
    if report.missing_peers:
        lines.append(f"  not installed here, not timed: {', '.join(report.missing_peers)}")
    return "\n".join(lines)
