"""Reading .onnx files: weights by the names of a state dict where an exporter kept them, else the graph as it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rfkernels.builder.checkpoint import (
    RawCheckpoint,
    check_class_names,
    class_names_by_index,
    image_size_from,
)
from rfkernels.builder.keypoints import keypoint_names_from, keypoint_shape_from
from rfkernels.errors import CheckpointError, ModelFileError
from rfkernels.model_metadata import METADATA_KEY, read_onnx_properties
from rfkernels.models.onnx_package import require_onnx

if TYPE_CHECKING:
    import onnx
    from google.protobuf.message import Message

_LARGEST_PROPERTY_CHARACTERS = 4 * 1024 * 1024
_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_NAMED_CLASS = re.compile(rf"\s*(\d{{1,9}})\s*:\s*({_QUOTED})\s*(?:,|$)")
_LISTED_CLASS = re.compile(rf"\s*({_QUOTED})\s*(?:,|$)")
_LIST_OF_CLASS = re.compile(r"\s*(\d{1,9})\s*:\s*\[")
_ITEM = re.compile(rf"\s*({_QUOTED})\s*(?:,|(?=\]))")
_END_OF_LIST = re.compile(r"\s*\]\s*(?:,|$)")
_MODULE_NODE = re.compile(r"/model\.\d+(?:/[A-Za-z0-9_.]+)*/(?:Conv|ConvTranspose|Gemm)")
_KINDS = {"Conv": "convolution", "ConvTranspose": "transposed convolution", "Gemm": "matrix"}
_STANDARD_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class OnnxFile:
    """A parsed ONNX file.

    `raw` is None where its weights have no names of a state dict: then only the graph as it is can be used, and
    `reason` says why.
    """

    model: onnx.ModelProto
    raw: RawCheckpoint | None
    reason: str
    task: str | None
    class_names: tuple[str, ...] | None
    image_size: tuple[int, int] | None


def read_onnx_file(file: BinaryIO, size: int) -> OnnxFile:
    """Parse an ONNX file and find out what it says about itself. External data is never followed.

    Raises:
        CheckpointError: no ONNX file, malformed, with external data or operators that are not ONNX's own, or made by
            `rfkernels build` already.
    """
    file.seek(0)
    try:
        properties = read_onnx_properties(file, size)
    except ModelFileError as error:
        raise CheckpointError(str(error)) from error
    if METADATA_KEY in properties:
        raise CheckpointError(
            "this file was made by rfkernels build already; it can be used as it is, or built from its weights"
        )
    file.seek(0)
    try:
        model = require_onnx().load_model_from_string(file.read())
    except Exception as error:
        # The protobuf packages raise errors of several unrelated types for malformed bytes.
        if isinstance(error, MemoryError):
            raise
        raise CheckpointError(f"not a readable ONNX file: {type(error).__name__}: {error}") from error
    _check_texts(model)
    _check_self_contained(model)
    class_names = _class_names(properties.get("names"))
    image_size = _image_size(properties.get("imgsz"))
    task = properties.get("task", "")[:100] or None
    raw: RawCheckpoint | None = None
    reason = ""
    try:
        weights = _named_weights(model)
        raw = RawCheckpoint(
            weights=weights,
            task=task,
            class_names=class_names,
            image_size=image_size,
            keypoint_shape=_keypoint_shape(properties.get("kpt_shape")),
            keypoint_names=_keypoint_names(properties.get("kpt_names")),
        )
    except _NotMappableError as error:
        reason = str(error)
    return OnnxFile(model, raw, reason, task, class_names, image_size)


class _NotMappableError(Exception):
    """The graph cannot be taken apart into the weights of a state dict."""


def _check_texts(message: Message) -> None:
    """Check that every text is UTF-8: protobuf hands one that is not over as bytes, where a str is expected."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for member in [value] if hasattr(value, "ListFields") else value:
                _check_texts(member)
        elif field.type == field.TYPE_STRING:
            for text in [value] if isinstance(value, str | bytes) else value:
                if isinstance(text, bytes):
                    raise CheckpointError(f"ONNX file: {field.full_name} is {text[:80]!r}, which is not UTF-8")


def _check_self_contained(model: onnx.ModelProto) -> None:
    tensors = list(model.graph.initializer)
    for node in model.graph.node:
        tensors += [attribute.t for attribute in node.attribute if attribute.HasField("t")]
        if node.domain not in _STANDARD_DOMAINS:
            raise CheckpointError(
                f"ONNX node {node.name[:80]!r}: operator {node.op_type[:80]!r} of domain {node.domain[:80]!r}, "
                "expected ONNX's own"
            )
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise CheckpointError(
                f"ONNX node {node.name[:80]!r}: {node.op_type[:80]} holds a graph of its own; not supported"
            )
    for tensor in tensors:
        if tensor.external_data or tensor.data_location == require_onnx().TensorProto.EXTERNAL:
            raise CheckpointError(
                f"ONNX tensor {tensor.name[:80]!r}: its data lies in another file; export into one file"
            )
        if any(length < 0 for length in tensor.dims):
            raise CheckpointError(f"ONNX tensor {tensor.name[:80]!r}: got a negative length in its shape")
    if len(model.functions) or len(model.graph.sparse_initializer):
        raise CheckpointError("ONNX file: functions and sparse weights are not supported")


def _named_weights(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """Weights of all convolutions under state dict keys: told by the names of their initializers, or of their nodes.

    So are those of transposed convolutions and matrices, where these have such names: what decodes boxes has not.
    """
    constants = constants_of(model)
    weights: dict[str, NDArray[np.float32]] = {}
    for node in model.graph.node:
        inputs = list(node.input)
        if node.op_type != "Conv" and not (
            node.op_type in {"ConvTranspose", "Gemm"} and module_of(node.name, inputs) is not None
        ):
            continue
        if len(inputs) < 2 or any(name not in constants for name in inputs[1:]):
            raise _NotMappableError(f"{_KINDS[node.op_type]} {node.name[:80]!r} has computed weights")
        module = module_of(node.name, inputs)
        if module is None:
            raise _NotMappableError(f"convolution {node.name[:80]!r} has no name of a module")
        for name, parameter in zip(inputs[1:], ("weight", "bias"), strict=False):
            key = f"{module}.{parameter}"
            if key in weights:
                raise _NotMappableError(f"weight {key} occurs twice")
            weights[key] = _array(constants[name], key)
    if not weights:
        raise _NotMappableError("it has no convolutions")
    return weights


def constants_of(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Tensors that no input changes. torch's exporter writes equal ones once and hands them on through Identity."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:  # in running order: what a node reads stands before it
        if len(node.output) != 1:
            continue
        if node.op_type == "Identity" and len(node.input) == 1 and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
        elif node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    return constants


def module_of(node_name: str, inputs: Sequence[str]) -> str | None:
    """The module of a convolution, told by the name of its weight ("model.0.conv.weight") or its node, or None."""
    weight = inputs[1] if len(inputs) > 1 else ""
    if re.fullmatch(r"model\.\d+\.[A-Za-z0-9_.]*weight", weight):
        return weight.removesuffix(".weight")
    if _MODULE_NODE.fullmatch(node_name) is None:
        return None
    # /model.22/cv3.2/cv3.2.0/conv/Conv: members of a Sequential repeat the name of their parent.
    parts: list[str] = []
    for part in node_name.split("/")[1:-1]:
        if parts and part.startswith(f"{parts[-1]}."):
            parts[-1] = part
        else:
            parts.append(part)
    return ".".join(parts)


def _array(tensor: onnx.TensorProto, key: str) -> NDArray[np.float32]:
    types = require_onnx().TensorProto
    if tensor.data_type not in {types.FLOAT, types.FLOAT16, types.DOUBLE, types.BFLOAT16}:
        raise _NotMappableError(f"weight {key} is no floating point tensor")
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            values = require_onnx("numpy_helper").to_array(tensor).astype(np.float32)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{key[:80]}: its data does not match its shape and type: {error}") from error
    return np.asarray(values, dtype=np.float32)


def _class_names(text: str | None) -> tuple[str, ...] | None:
    """Class names as ultralytics writes them: the text of a Python dict or list, in any order of keys."""
    if text is None:
        return None
    inner = text.strip()
    if len(inner) > _LARGEST_PROPERTY_CHARACTERS or inner[:1] + inner[-1:] not in {"{}", "[]"}:
        raise CheckpointError(f"names: got {text[:80]!r}, expected {{0: 'name', ...}} or ['name', ...]")
    pattern = _NAMED_CLASS if inner[0] == "{" else _LISTED_CLASS
    inner = inner[1:-1].rstrip()
    position = 0
    by_index: dict[object, object] = {}
    while position < len(inner):
        match = pattern.match(inner, position)
        if match is None:
            raise CheckpointError(
                f"names: cannot read {inner[position : position + 80]!r}, expected a number and a quoted text"
            )
        index = int(match[1]) if pattern is _NAMED_CLASS else len(by_index)
        if index in by_index:
            raise CheckpointError(f"names: class {index} is given twice")
        by_index[index] = _quoted_text(match[match.lastindex or 1])
        position = match.end()
    return class_names_by_index(by_index) if pattern is _NAMED_CLASS else check_class_names(by_index.values())


def _quoted_text(literal: str) -> str:
    """The value of one quoted text; a literal can hold nothing but characters."""
    try:
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise CheckpointError(f"names: cannot read {literal[:80]!r}: {error}") from error
    return str(value)


def _image_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"\s*[\[(]?\s*(\d{1,5})\s*(?:,\s*(\d{1,5})\s*)?[\])]?\s*", text[:100])
    if match is None:
        raise CheckpointError(f"imgsz: got {text[:80]!r}, expected [height, width]")
    return image_size_from([int(group) for group in match.groups() if group is not None])


def _keypoint_shape(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"\s*[\[(]\s*(\d{1,5})\s*,\s*(\d{1,5})\s*[\])]\s*", text[:100])
    return keypoint_shape_from([int(group) for group in match.groups()] if match is not None else text)


def _keypoint_names(text: str | None) -> tuple[str, ...] | dict[int, tuple[str, ...]] | None:
    """Names of keypoints as ultralytics writes them: the text of a Python dict {class id: [name, ...]}."""
    if text is None:
        return None
    inner = text.strip()
    if len(inner) > _LARGEST_PROPERTY_CHARACTERS or inner[:1] + inner[-1:] != "{}":
        raise CheckpointError(f"kpt_names: got {text[:80]!r}, expected {{0: ['name', ...], ...}}")
    inner = inner[1:-1].rstrip()
    position = 0
    by_class: dict[object, object] = {}
    while position < len(inner):
        opening = _LIST_OF_CLASS.match(inner, position)
        end = position if opening is None else opening.end()
        names: list[str] = []
        while opening is not None and (item := _ITEM.match(inner, end)) is not None:
            names.append(_quoted_text(item[1]))
            end = item.end()
        closing = _END_OF_LIST.match(inner, end)
        if opening is None or closing is None or int(opening[1]) in by_class:
            raise CheckpointError(
                f"kpt_names: cannot read {inner[end : end + 80]!r}, expected each class once, with a list of texts"
            )
        by_class[int(opening[1])] = names
        position = closing.end()
    return keypoint_names_from(by_class)
