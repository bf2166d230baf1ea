"""`build`: one weights file in, one portable .onnx with everything about the model inside it out."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfkernels.builder.checkpoint import Checkpoint, OnProgress
from rfkernels.builder.decoded_graph import prepare_decoded_graph
from rfkernels.builder.keypoints import described_keypoints, keypoint_names_from, skeleton_from
from rfkernels.builder.read import DecodedGraph, read_checkpoint
from rfkernels.errors import CheckpointError, InvalidArgumentError, ModelFileError
from rfkernels.model_metadata import (
    CONVENTIONS,
    METADATA_KEY,
    ConventionName,
    Keypoints,
    ModelMetadata,
    OutputFormat,
    Preprocessing,
    Source,
    read_model_metadata,
)
from rfkernels.models.graph import Batch
from rfkernels.models.onnx_package import require_onnx
from rfkernels.models.yolov8.graph import network_graph
from rfkernels.models.yolov8.layers import LARGEST_STRIDE
from rfkernels.models.yolov8.network import TASK_NAMES, Network, Task

if TYPE_CHECKING:
    import onnx


# Classifiers see what torchvision's Resize and CenterCrop make of a picture.
_PREPROCESSING: dict[Task, Preprocessing] = {"classify": Preprocessing(resize_mode="shortest_side_crop")}
_WEIGHTS_OPERATORS = ("Conv", "ConvTranspose", "Gemm")


@dataclass(frozen=True)
class BuildOptions:
    """What a model is built for. None: as the weights file says.

    Attributes:
        image_size: (height, width) in multiples of 32, or one side of a square; of a classifier any side from 32.
        class_names: in the order of the head's classes.
        batch: pictures per run, or "dynamic".
        convention: the numerical convention used at inference unless a call says otherwise.
        preprocessing: how pictures become network input. None: as the task's networks were trained; a mapping: so, but
            for the fields that it names.
        keypoint_shape: of a pose network, (keypoints of an object, numbers of each: 2 or 3).
        keypoint_names: of a pose network, one for each keypoint, or {class id: at most one for each}. Where neither
            this nor the file says any: COCO's for keypoints of shape (17, 3), else "0", "1", ...
        skeleton: of a pose network, pairs of keypoints that are joined, counted from 0; the same for all classes, or by
            class id.
        multi_label: of a classification network, whether each class is a question of its own, so that an image may be
            of several classes or of none.
    """

    image_size: int | tuple[int, int] | None = None
    class_names: Sequence[str] | None = None
    batch: Batch = 1
    convention: ConventionName = "v2"
    preprocessing: Preprocessing | Mapping[str, Any] | None = None
    keypoint_shape: tuple[int, int] | None = None
    keypoint_names: Sequence[str] | Mapping[int, Sequence[str]] | None = None
    skeleton: Sequence[tuple[int, int]] | Mapping[int, Sequence[tuple[int, int]]] | None = None
    multi_label: bool = False


@dataclass(frozen=True)
class BuildReport:
    """What was built: the file, its metadata, the network (None for a graph that is used as it is), and remarks a user
    should see.
    """

    output_path: Path
    metadata: ModelMetadata
    network: Network | None
    parameter_count: int
    file_bytes: int
    notes: tuple[str, ...]


def build(
    weights_path: str | Path,
    output_path: str | Path,
    options: BuildOptions | None = None,
    on_progress: OnProgress | None = None,
) -> BuildReport:
    """Build a model file from a .pt, .safetensors or .onnx file.

    The output appears whole or not at all, and the same input gives the same bytes.

    Args:
        on_progress: called with (what is being done, how much is done, of how much).
    Raises:
        CheckpointError: the weights file is malformed, hostile, or holds no YOLOv8 network of the four tasks.
        InvalidArgumentError: an option the network cannot have, or one that is needed and missing.
        ModelFileError: the output cannot be written.
        RfkernelsError: the onnx package is not installed.
    """
    options = options or BuildOptions()
    image_size = _checked_options(options)
    output_path = _checked_output(Path(output_path), Path(weights_path))
    require_onnx()
    checkpoint = read_checkpoint(weights_path, on_progress, keypoint_shape=options.keypoint_shape)
    network = checkpoint.network if isinstance(checkpoint, Checkpoint) else None
    keypoints = _keypoints(checkpoint, options)
    notes: list[str] = []
    if isinstance(checkpoint, DecodedGraph):
        prepared = prepare_decoded_graph(checkpoint, image_size, options.batch)
        notes.append(f"the graph is used as it is, with its own decoding: {checkpoint.reason}")
        model, class_count, size = prepared.model, prepared.class_count, prepared.image_size
        metadata = _metadata(checkpoint, options, class_count, size, "decoded")
        _set_metadata(model, metadata)
    else:
        chosen = image_size or checkpoint.image_size
        if chosen is None:
            raise InvalidArgumentError(
                f"image_size: {checkpoint.source_file} does not name one; "
                "give one side or height and width (--imgsz 640)"
            )
        size = chosen
        class_count = checkpoint.network.class_count
        metadata = _metadata(checkpoint, options, class_count, size, "raw_heads", keypoints=keypoints)
        model = network_graph(
            checkpoint.weights,
            checkpoint.network,
            image_size=size,
            batch=options.batch,
            batch_norm_epsilon=checkpoint.batch_norm_epsilon,
            metadata={METADATA_KEY: metadata.to_json()},
        )
    parameter_count = _parameter_count(model)
    file_bytes = _write_whole(model, output_path, metadata, on_progress)
    return BuildReport(output_path, metadata, network, parameter_count, file_bytes, tuple(notes))


def _checked_options(options: BuildOptions) -> tuple[int, int] | None:
    if options.convention not in CONVENTIONS:
        raise InvalidArgumentError(f"convention: got {options.convention!r}, expected one of {', '.join(CONVENTIONS)}")
    if isinstance(options.class_names, str):
        raise InvalidArgumentError(f"class_names: got the text {options.class_names[:80]!r}, expected a list of names")
    size = options.image_size
    if isinstance(size, int):
        return size, size
    if size is not None and (not isinstance(size, Sequence) or len(size) != 2):
        raise InvalidArgumentError(f"image_size: got {size!r}, expected one side or (height, width)")
    return None if size is None else (size[0], size[1])


def _checked_output(output: Path, weights: Path) -> Path:
    if output.suffix.lower() != ".onnx":
        raise InvalidArgumentError(f"output_path: got {output}, expected a name ending in .onnx")
    if output.is_dir() or not output.parent.is_dir():
        raise InvalidArgumentError(f"output_path: {output} is a folder, or its folder does not exist")
    if output.exists() and weights.exists() and output.samefile(weights):
        raise InvalidArgumentError(f"output_path: {output} is the weights file itself; give another name")
    return output


def _metadata(
    checkpoint: Checkpoint | DecodedGraph,
    options: BuildOptions,
    class_count: int,
    image_size: tuple[int, int],
    output_format: OutputFormat,
    *,
    keypoints: Keypoints | None = None,
) -> ModelMetadata:
    names = checkpoint.class_names if options.class_names is None else tuple(options.class_names)
    if names is None:
        raise InvalidArgumentError(
            f"class_names: {checkpoint.source_file} does not name its {class_count} classes; give them (--names a,b,c)"
        )
    if len(names) != class_count:
        raise InvalidArgumentError(f"class_names: got {len(names)} names, the head has {class_count} classes")
    network = checkpoint.network if isinstance(checkpoint, Checkpoint) else None
    if options.multi_label and (network is None or network.task != "classify"):
        raise InvalidArgumentError(f"multi_label: True, but {checkpoint.source_file} is no classification network")
    metadata = ModelMetadata(
        task=TASK_NAMES["detect"] if network is None else network.task_name,
        family=checkpoint.family if isinstance(checkpoint, Checkpoint) else "unknown",
        scale=None if network is None else network.scale,
        class_names=tuple(names),
        image_size=image_size,
        stride=LARGEST_STRIDE if network is None else network.stride,
        batch=options.batch,
        output_format=output_format,
        source=Source(checkpoint.source_file, checkpoint.source_sha256),
        convention=options.convention,
        preprocessing=_preprocessing(options.preprocessing, "detect" if network is None else network.task),
        keypoints=keypoints,
        multi_label=options.multi_label,
    )
    # What is written must be readable: the reader's rules are the rules, whatever option broke them.
    try:
        text = metadata.to_json()
        text.encode("utf-8")
        ModelMetadata.from_json(text)
    except ModelFileError as error:
        raise InvalidArgumentError(str(error)) from error
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"names or source file name: not valid Unicode: {error}") from error
    except ValueError as error:  # json's, of NaN and infinity
        raise InvalidArgumentError(
            f"image_size, batch or preprocessing: got a number that is not finite: {metadata.preprocessing!r:.300}"
        ) from error
    return metadata


def _preprocessing(wanted: Preprocessing | Mapping[str, Any] | None, task: Task) -> Preprocessing:
    """The task's own steps, but for what is wanted otherwise."""
    if isinstance(wanted, Preprocessing):
        return wanted
    steps = _PREPROCESSING.get(task, Preprocessing())
    if wanted is None:
        return steps
    try:
        return replace(steps, **wanted)
    except TypeError as error:
        names = ", ".join(Preprocessing.__dataclass_fields__)
        raise InvalidArgumentError(f"preprocessing: got {wanted!r:.200}, expected a mapping of {names}") from error


def _keypoints(checkpoint: Checkpoint | DecodedGraph, options: BuildOptions) -> Keypoints | None:
    """Everything about the keypoints of a pose network; what the options say goes before what the file says."""
    shape = checkpoint.network.keypoint_shape if isinstance(checkpoint, Checkpoint) else None
    if shape is None or not isinstance(checkpoint, Checkpoint):
        for name, value in (("keypoint_names", options.keypoint_names), ("skeleton", options.skeleton)):
            if value is not None:
                raise InvalidArgumentError(f"{name}: given, but {checkpoint.source_file} has no keypoints")
        return None
    names, skeleton = checkpoint.keypoint_names, checkpoint.skeleton
    names_are_given = options.keypoint_names is not None
    try:
        if names_are_given:
            names = keypoint_names_from(options.keypoint_names, "keypoint_names")
        if options.skeleton is not None:
            skeleton = skeleton_from(options.skeleton, "skeleton")
    except CheckpointError as error:
        raise InvalidArgumentError(str(error)) from error
    try:
        return described_keypoints(
            shape,
            checkpoint.network.class_count,
            names,
            skeleton,
            what_names="keypoint_names" if names_are_given else "kpt_names",
        )
    except CheckpointError as error:
        if not names_are_given and options.skeleton is None:
            raise CheckpointError(f"{checkpoint.source_file}: {error}") from error
        raise InvalidArgumentError(str(error)) from error


def _set_metadata(model: onnx.ModelProto, metadata: ModelMetadata) -> None:
    require_onnx("helper").set_model_props(model, {METADATA_KEY: metadata.to_json()})


def _parameter_count(model: onnx.ModelProto) -> int:
    """Elements of all weights and biases of convolutions and matrices."""
    names = {name for node in model.graph.node if node.op_type in _WEIGHTS_OPERATORS for name in node.input[1:]}
    return sum(math.prod(tensor.dims) for tensor in model.graph.initializer if tensor.name in names)


def _write_whole(model: onnx.ModelProto, output: Path, metadata: ModelMetadata, on_progress: OnProgress | None) -> int:
    """Write beside the output, make sure it has reached the disk and can be read, then rename."""
    try:
        data = model.SerializeToString(deterministic=True)
    except Exception as error:
        # protobuf's own error types differ between its implementations.
        if isinstance(error, MemoryError):
            raise
        raise CheckpointError(f"the model cannot be stored in one ONNX file: {error}") from error
    partial = output.with_name(f".{output.name}.{secrets.token_hex(6)}.partial")
    try:
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
            with os.fdopen(descriptor, "wb") as file:
                view = memoryview(data)
                step = 4 * 1024 * 1024
                for start in range(0, len(view), step):
                    file.write(view[start : start + step])
                    if on_progress is not None:
                        on_progress("write", min(start + step, len(view)), len(view))
                file.flush()
                os.fsync(file.fileno())
            if read_model_metadata(partial) != metadata:
                raise ModelFileError(f"{output}: the metadata read back differs from what was written")
            partial.replace(output)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise ModelFileError(f"{output}: cannot be written: {error.strerror or error}") from error
    return len(data)
