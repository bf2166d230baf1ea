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
from rfkernels.builder.keypoints import keypoint_shape_from
from rfkernels.builder.onnx_file import OnnxFile, read_onnx_file
from rfkernels.builder.safetensors_file import read_safetensors_file
from rfkernels.builder.structure import check_structure
from rfkernels.builder.torch_file import read_torch_file
from rfkernels.builder.wiring import difference_from_network
from rfkernels.errors import CheckpointError, InvalidArgumentError
from rfkernels.models.yolov8.layers import LARGEST_STRIDE
from rfkernels.models.yolov8.network import TASK_NAMES, TASKS, Network, Task
from rfkernels.models.yolov8.recognise import SUPPORTED, KeypointShapeError, recognise
from rfkernels.models.yolov8.weights import check_weights

if TYPE_CHECKING:
    import onnx

    from rfkernels.models.graph import Weights

# Files name a task as ultralytics does, or as V2 does.
_TASKS_BY_NAME: dict[str, Task] = {name: task for task in TASKS for name in (task, TASK_NAMES[task])}
_FORMATS: dict[str, SourceFormat] = {".pt": "pt", ".pth": "pt", ".safetensors": "safetensors", ".onnx": "onnx"}


@dataclass(frozen=True)
class DecodedGraph:
    """The ONNX graph of a detector that is used as it is: its weights have no known names, or it is wired as no YOLOv8.

    `reason` says which.
    """

    model: onnx.ModelProto
    reason: str
    class_names: tuple[str, ...] | None
    image_size: tuple[int, int] | None
    source_file: str
    source_sha256: str


def read_checkpoint(
    path: str | Path, on_progress: OnProgress | None = None, *, keypoint_shape: tuple[int, int] | None = None
) -> Checkpoint | DecodedGraph:
    """Read a .pt, .safetensors or .onnx file; nothing in it is executed.

    Args:
        on_progress: called with (what is being done, how much is done, of how much).
        keypoint_shape: (keypoints of an object, numbers of each, 2 or 3) of a pose network. None: as the file says, or
            what alone its channels allow.
    Raises:
        CheckpointError: the file is malformed, hostile, or holds no YOLOv8 network of the four tasks; the message
            begins with the path.
        InvalidArgumentError: a keypoint shape that is none, that contradicts the file, or that the network has no use
            for.
    """
    path = Path(path)
    source_format = _FORMATS.get(path.suffix.lower())
    if source_format is None:
        raise CheckpointError(f"{path}: got a file ending in {path.suffix!r}, expected one of {', '.join(_FORMATS)}")
    if keypoint_shape is not None:
        try:
            keypoint_shape = keypoint_shape_from(keypoint_shape, f"keypoint_shape: got {keypoint_shape!r:.80}")
        except CheckpointError as error:
            raise InvalidArgumentError(str(error)) from error
    with open_weights(path) as file:
        size = path.stat().st_size
        try:
            digest = sha256_of(file, size, on_progress)
            if source_format == "onnx":
                onnx_file = read_onnx_file(file, size)
                _check_task(onnx_file.task)
                reason = _reason_to_keep(onnx_file, keypoint_shape)
                if reason is not None:
                    if keypoint_shape is not None:
                        raise InvalidArgumentError("keypoint_shape: given, but the graph is a detector's")
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
            return _checkpoint(raw, source_format, path.name[:255], digest, keypoint_shape)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error


def _checkpoint(
    raw: RawCheckpoint,
    source_format: SourceFormat,
    file_name: str,
    digest: str,
    keypoint_shape: tuple[int, int] | None,
) -> Checkpoint:
    weights = normalise_keys(raw.weights)
    network = _recognise(weights, keypoint_shape, raw.keypoint_shape)
    _check_task(raw.task, network)
    _check_keypoint_shape(keypoint_shape, raw.keypoint_shape, network)
    check_weights(weights, network)
    if raw.modules is not None:
        bias = ".conv.bias"
        folded_names = [key.removesuffix(bias) for key in weights if key.endswith(bias)]
        check_structure(raw.modules, network, folded_names)
    if raw.class_names is not None and len(raw.class_names) != network.class_count:
        raise CheckpointError(f"names: got {len(raw.class_names)} names, the head has {network.class_count} classes")
    # Of a classifier ultralytics says 1; a file that was made for its backbone's 32 is no other network.
    if raw.stride is not None and raw.stride not in {network.stride, LARGEST_STRIDE}:
        raise CheckpointError(f"stride: got {raw.stride}, expected {network.stride}")
    return Checkpoint(
        weights=weights,
        network=network,
        family="yolov8",
        class_names=raw.class_names,
        image_size=raw.image_size,
        keypoint_names=raw.keypoint_names,
        skeleton=raw.skeleton,
        batch_norm_epsilon=raw.batch_norm_epsilon or network.batch_norm_epsilon,
        source_format=source_format,
        source_file=file_name,
        source_sha256=digest,
    )


def _recognise(weights: Weights, given: tuple[int, int] | None, said: tuple[int, int] | None) -> Network:
    """The network that weights are of, with the keypoint shape that was given, or that the file says."""
    try:
        return recognise(weights, given or said)
    except KeypointShapeError as error:
        if given is None:
            raise
        raise InvalidArgumentError(str(error).replace("keypoint shape", "keypoint_shape", 1)) from error


def _check_task(name: str | None, network: Network | None = None) -> None:
    """Check that a task is one of those built here, and that of the network where it is known."""
    if name is None:
        return
    task = _TASKS_BY_NAME.get(name)
    if task is None:
        raise CheckpointError(f"task: got {name[:80]!r}, expected one of {', '.join(TASKS)}: {SUPPORTED}")
    if network is not None and task != network.task:
        raise CheckpointError(f"task: got {name!r}, but the weights are those of {network.description}")


def _check_keypoint_shape(given: tuple[int, int] | None, said: tuple[int, int] | None, network: Network) -> None:
    if given is None:
        return
    if network.keypoint_shape is None:
        raise InvalidArgumentError(f"keypoint_shape: got {list(given)}, but {network.description} has no keypoints")
    if said is not None and given != said:
        raise InvalidArgumentError(f"keypoint_shape: got {list(given)}, but the file says {list(said)}; leave it out")


def _reason_to_keep(file: OnnxFile, keypoint_shape: tuple[int, int] | None) -> str | None:
    """Why a graph cannot be emitted anew from its weights; None: they and its wiring are a YOLOv8 network's.

    Raises:
        CheckpointError: it cannot, and it is no detector's: only a detector's graph can be used as it is.
    """
    reason: str | None = file.reason
    task = None if file.task is None else _TASKS_BY_NAME[file.task]
    if file.raw is not None:
        weights = file.raw.weights
        try:
            network = _recognise(weights, keypoint_shape, file.raw.keypoint_shape)
            task = task or network.task
            check_weights(weights, network)
            reason = difference_from_network(file.model, weights, network)
        except KeypointShapeError:
            raise  # a pose network, whatever its file says
        except CheckpointError as error:
            reason = f"its weights are not those of a YOLOv8 network ({error})"
    if reason is not None and task not in {None, "detect"}:
        raise CheckpointError(
            f"a {task} graph that its weights cannot be taken out of: {reason}; build from the .pt file instead"
        )
    return reason
