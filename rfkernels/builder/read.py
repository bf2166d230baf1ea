"""From a weights file of any supported format to a checkpoint, or to an ONNX graph that is kept as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rfkernels.builder.checkpoint import (
    Checkpoint,
    OnProgress,
    RawCheckpoint,
    SourceFormat,
    normalise_keys,
    open_weights,
    sha256_of,
)
from rfkernels.builder.onnx_file import OnnxFile, read_onnx_file
from rfkernels.builder.safetensors_file import read_safetensors_file
from rfkernels.builder.structure import check_structure
from rfkernels.builder.torch_file import read_torch_file
from rfkernels.builder.wiring import difference_from_detector
from rfkernels.errors import CheckpointError
from rfkernels.models.yolov8.layers import DETECT_BATCH_NORM_EPSILON, LARGEST_STRIDE, SCALES
from rfkernels.models.yolov8.recognise import ONLY_DETECT, check_detect_weights, recognise

if TYPE_CHECKING:
    import onnx

TASK = "object-detection"
_DETECT_NAMES = ("detect", TASK)
_FORMATS: dict[str, SourceFormat] = {".pt": "pt", ".pth": "pt", ".safetensors": "safetensors", ".onnx": "onnx"}


@dataclass(frozen=True)
class DecodedGraph:
    """An ONNX graph that is used as it is: its weights have no known names, or it is wired as no YOLOv8 detector.

    `reason` says which.
    """

    model: onnx.ModelProto
    reason: str
    class_names: tuple[str, ...] | None
    image_size: tuple[int, int] | None
    source_file: str
    source_sha256: str


def read_checkpoint(path: str | Path, on_progress: OnProgress | None = None) -> Checkpoint | DecodedGraph:
    """Read a .pt, .safetensors or .onnx file; nothing in it is executed.

    Args:
        on_progress: called with (what is being done, how much is done, of how much).
    Raises:
        CheckpointError: the file is malformed, hostile, or holds no YOLOv8 detector; the message begins with the path.
    """
    path = Path(path)
    source_format = _FORMATS.get(path.suffix.lower())
    if source_format is None:
        raise CheckpointError(f"{path}: got a file ending in {path.suffix!r}, expected one of {', '.join(_FORMATS)}")
    with open_weights(path) as file:
        size = path.stat().st_size
        try:
            digest = sha256_of(file, size, on_progress)
            if source_format == "onnx":
                onnx_file = read_onnx_file(file, size)
                _check_task(onnx_file.task)
                reason = _reason_to_keep(onnx_file)
                if reason is not None:
                    return DecodedGraph(
                        onnx_file.model,
                        reason,
                        onnx_file.class_names,
                        onnx_file.image_size,
                        path.name[:255],
                        digest,
                    )
                assert onnx_file.raw is not None
                raw = onnx_file.raw
            elif source_format == "pt":
                raw = read_torch_file(file, size, on_progress)
            else:
                raw = read_safetensors_file(file, size, on_progress)
            return _checkpoint(raw, source_format, path.name[:255], digest)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error


def _checkpoint(raw: RawCheckpoint, source_format: SourceFormat, file_name: str, digest: str) -> Checkpoint:
    weights = normalise_keys(raw.weights)
    recognised = recognise(weights)
    _check_task(raw.task)
    check_detect_weights(weights, SCALES[recognised.scale], recognised.class_count)
    if raw.modules is not None:
        bias = ".conv.bias"
        folded_names = [key.removesuffix(bias) for key in weights if key.endswith(bias)]
        check_structure(raw.modules, SCALES[recognised.scale], recognised.class_count, folded_names)
    if raw.class_names is not None and len(raw.class_names) != recognised.class_count:
        raise CheckpointError(f"names: got {len(raw.class_names)} names, the head has {recognised.class_count} classes")
    if raw.stride is not None and raw.stride != LARGEST_STRIDE:
        raise CheckpointError(f"stride: got {raw.stride}, expected {LARGEST_STRIDE}")
    return Checkpoint(
        weights=weights,
        task=TASK,
        family="yolov8",
        scale=recognised.scale,
        class_count=recognised.class_count,
        class_names=raw.class_names,
        image_size=raw.image_size,
        stride=LARGEST_STRIDE,
        keypoint_shape=None,
        batch_norm_epsilon=raw.batch_norm_epsilon or DETECT_BATCH_NORM_EPSILON,
        source_format=source_format,
        source_file=file_name,
        source_sha256=digest,
    )


def _check_task(task: str | None) -> None:
    if task is not None and task not in _DETECT_NAMES:
        raise CheckpointError(f"task: got {task[:80]!r}, expected detect: {ONLY_DETECT}")


def _reason_to_keep(file: OnnxFile) -> str | None:
    """Why a graph cannot be emitted anew from its weights; None: they and its wiring are a YOLOv8 detector's."""
    if file.raw is None:
        return file.reason
    weights = file.raw.weights
    try:
        recognised = recognise(weights)
        check_detect_weights(weights, SCALES[recognised.scale], recognised.class_count)
    except CheckpointError:
        return "its weights are not those of a YOLOv8 detector"
    return difference_from_detector(file.model, weights, recognised.scale, recognised.class_count)
