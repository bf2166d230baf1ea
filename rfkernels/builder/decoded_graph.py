"""Preparing an ONNX graph that is used as it is: its input fixed to one size, its decoded output checked by shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rfkernels.builder.read import DecodedGraph
from rfkernels.errors import CheckpointError, InvalidArgumentError
from rfkernels.models.graph import Batch
from rfkernels.models.onnx_package import require_onnx
from rfkernels.models.yolov8.layers import LARGEST_STRIDE, STRIDES

if TYPE_CHECKING:
    import onnx

_BOX_ROWS = 4


@dataclass(frozen=True)
class PreparedGraph:
    """The graph with fixed sizes, and what its shapes say."""

    model: onnx.ModelProto
    class_count: int
    image_size: tuple[int, int]


def prepare_decoded_graph(source: DecodedGraph, image_size: tuple[int, int] | None, batch: Batch) -> PreparedGraph:
    """Fix the size of a decoded detector's graph and check its output.

    The input must be one float32 tensor [batch, 3, height, width], the output one float32 tensor
    [batch, 4 + class count, anchors] with one anchor for each cell of strides 8, 16 and 32.

    Args:
        image_size: (height, width), or None for the size the file names.
        batch: pictures per run, or "dynamic", which needs a graph with a free batch dimension.
    Raises:
        CheckpointError: another form of graph; the message says which tensor, and what is expected.
        InvalidArgumentError: a size or batch the graph cannot have.
    """
    model = require_onnx().ModelProto()
    model.CopyFrom(source.model)
    _check_finite(model)
    graph_input = _only_input(model)
    output = _only_output(model)
    dimensions = graph_input.type.tensor_type.shape.dim
    size = _fixed_image_size(dimensions, image_size, source.image_size)
    _fix_batch(dimensions[0], batch)
    for dimension, side in zip(dimensions[2:], size, strict=True):
        dimension.dim_value = side
    class_count = _class_count(model, output.name, size)
    anchors = sum((size[0] // stride) * (size[1] // stride) for stride in STRIDES)
    fixed = output.type.tensor_type.shape
    del fixed.dim[:]
    fixed.dim.add().CopyFrom(dimensions[0])
    for length in (_BOX_ROWS + class_count, anchors):
        fixed.dim.add().dim_value = length
    del model.graph.value_info[:]
    del model.metadata_props[:]
    _check(model)
    return PreparedGraph(model, class_count, size)


def _only_input(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initializers]
    if len(inputs) != 1:
        raise CheckpointError(f"ONNX graph: got {len(inputs)} inputs, expected one [batch, 3, height, width]")
    graph_input: onnx.ValueInfoProto = inputs[0]
    tensor = graph_input.type.tensor_type
    dimensions = tensor.shape.dim
    if tensor.elem_type != require_onnx().TensorProto.FLOAT or len(dimensions) != 4 or dimensions[1].dim_value != 3:
        raise CheckpointError(
            f"ONNX input {graph_input.name[:80]!r}: expected float32 [batch, 3, height, width]; "
            "export it in full precision"
        )
    return graph_input


def _only_output(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    if len(model.graph.output) != 1:
        raise CheckpointError(
            f"ONNX graph: got {len(model.graph.output)} outputs, expected one [batch, 4 + class count, anchors]"
        )
    output: onnx.ValueInfoProto = model.graph.output[0]
    return output


def _fixed_image_size(
    dimensions: onnx.TensorShapeProto.Dimension, wanted: tuple[int, int] | None, named: tuple[int, int] | None
) -> tuple[int, int]:
    height, width = (int(dimension.dim_value) for dimension in dimensions[2:])
    if height and width:
        if wanted is not None and wanted != (height, width):
            raise InvalidArgumentError(
                f"image_size: got {list(wanted)}, but this graph is fixed to {[height, width]} and its weights cannot "
                "be taken out of it; export it at that size, or build from the .pt file"
            )
        size = (height, width)
    else:
        chosen = wanted or named
        if chosen is None:
            raise InvalidArgumentError("image_size: the file does not name one; give [height, width] (--imgsz)")
        size = chosen
    if any(side % LARGEST_STRIDE or side <= 0 for side in size):
        raise CheckpointError(f"image size: got {list(size)}, expected multiples of {LARGEST_STRIDE}")
    return size


def _fix_batch(dimension: onnx.TensorShapeProto.Dimension, batch: Batch) -> None:
    fixed = int(dimension.dim_value)
    if fixed and fixed != batch:
        raise InvalidArgumentError(
            f"batch: got {batch!r}, but this graph is fixed to {fixed}; build from the .pt file instead"
        )
    if batch == "dynamic":
        dimension.dim_param = "batch"
    else:
        dimension.dim_value = batch


def _class_count(model: onnx.ModelProto, output_name: str, size: tuple[int, int]) -> int:
    """Class count from the output's shape, worked out by shape inference from the fixed input."""
    without_shapes = require_onnx().ModelProto()
    without_shapes.CopyFrom(model)
    del without_shapes.graph.value_info[:]
    without_shapes.graph.output[0].type.tensor_type.ClearField("shape")
    try:
        inferred = require_onnx("shape_inference").infer_shapes(without_shapes, strict_mode=True, data_prop=True)
    except Exception as error:
        # Shape inference raises its own error type and, for malformed nodes, several others.
        if isinstance(error, MemoryError):
            raise
        raise CheckpointError(f"ONNX graph: its shapes do not fit together: {_first_line(error)}") from error
    found = _dimensions(inferred.graph.output[0])
    declared = _dimensions(model.graph.output[0])
    anchors = sum((size[0] // stride) * (size[1] // stride) for stride in STRIDES)
    rows = (found[1] if len(found) == 3 else 0) or (declared[1] if len(declared) == 3 else 0)
    columns = (found[2] if len(found) == 3 else 0) or anchors
    if rows <= _BOX_ROWS or columns != anchors:
        raise CheckpointError(
            f"ONNX output {output_name[:80]!r}: got shape {found or declared}, "
            f"expected [batch, 4 + class count, {anchors}] (a detector's decoded boxes and scores, before NMS)"
        )
    return rows - _BOX_ROWS


def _dimensions(value: onnx.ValueInfoProto) -> list[int]:
    return [int(dimension.dim_value) for dimension in value.type.tensor_type.shape.dim]


def _check_finite(model: onnx.ModelProto) -> None:
    types = require_onnx().TensorProto
    for tensor in model.graph.initializer:
        if tensor.data_type in {types.FLOAT, types.FLOAT16, types.DOUBLE}:
            try:
                values = require_onnx("numpy_helper").to_array(tensor)
            except (ValueError, TypeError) as error:
                raise CheckpointError(
                    f"{tensor.name[:80]}: its data does not match its shape and type: {error}"
                ) from error
            if not np.isfinite(values).all():
                raise CheckpointError(f"{tensor.name[:80]}: got values that are not finite, expected numbers")


def _check(model: onnx.ModelProto) -> None:
    try:
        require_onnx("checker").check_model(model)
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        raise CheckpointError(f"ONNX graph: not valid: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
