"""Whether a compiled network has the inputs and outputs that its model's metadata describe."""

from __future__ import annotations

from rfkernels.engines import DeviceEngine, Engine, TensorSpecification
from rfkernels.errors import InvalidArgumentError, ModelFileError
from rfkernels.model_metadata import ModelMetadata

# Of the outputs box_8, class_8, ... that the models of this version have.
HEAD_STRIDES = (8, 16, 32)
BOX_OUTPUTS = tuple(f"box_{stride}" for stride in HEAD_STRIDES)
# Four sides of 16 bins each.
BOX_CHANNELS = 64
MASK_COEFFICIENTS = 32
PROTOTYPE_STRIDE = 4

# Element types that the ops on a device write and read.
_DEVICE_DTYPES = ("float32", "float16", "bfloat16")

_Shapes = dict[str, tuple[int | None, ...]]
_Tensors = tuple[TensorSpecification, ...]


def check_network(engine: Engine, metadata: ModelMetadata) -> None:
    """Metadata and graph come from one file, but nothing else has compared them: a result may not depend on it.

    Raises:
        ModelFileError: the network's inputs and outputs are not those that the metadata describe.
        InvalidArgumentError: the engine computes other outputs at chosen pixels than all boxes in the order of levels.
    """
    # bfloat16 is what an engine may make of it.
    _check_input(engine.inputs, metadata, ("float32", "bfloat16"))
    _check_outputs(engine.outputs + engine.sparse_outputs, metadata)
    # The anchors of candidates are numbered through the levels, and so are the pixels of sparse outputs.
    sparse = tuple(output.name for output in engine.sparse_outputs)
    if sparse not in ((), BOX_OUTPUTS):
        raise InvalidArgumentError(f"engine has the sparse outputs {sparse}; ask it for {BOX_OUTPUTS}, in this order")


def check_device_network(engine: DeviceEngine, metadata: ModelMetadata) -> None:
    """The same of an engine on a device, whose inputs and outputs were given their element types when it was built.

    Raises:
        ModelFileError: the network's inputs and outputs are not those that the metadata describe, or are of a type
            that the ops on a device do not write or read.
    """
    _check_input(engine.inputs, metadata, _DEVICE_DTYPES)
    _check_outputs(engine.outputs, metadata)
    unreadable = {output.name: output.dtype for output in engine.outputs if output.dtype not in _DEVICE_DTYPES}
    if unreadable:
        raise ModelFileError(
            f"the network's outputs have the element types {unreadable}; build the model again with outputs of one of "
            f"{', '.join(_DEVICE_DTYPES)}"
        )


def _check_input(inputs: _Tensors, metadata: ModelMetadata, dtypes: tuple[str, ...]) -> None:
    expected = (_batch_of(metadata), 3, *metadata.image_size)
    found = [(tensor.dtype, tensor.shape) for tensor in inputs]
    if found not in [[(dtype, expected)] for dtype in dtypes]:
        raise ModelFileError(f"the network's inputs are {found}, its metadata say one {dtypes[0]} {expected}")


def _check_outputs(outputs: _Tensors, metadata: ModelMetadata) -> None:
    shapes: _Shapes = {output.name: output.shape for output in outputs}
    if metadata.output_format == "decoded":
        rows = 4 + len(metadata.class_names)
        fits = len(shapes) == 1 and all(len(shape) == 3 and shape[1] in (None, rows) for shape in shapes.values())
        expected = f"one [batch, {rows}, anchors]"
    else:
        wanted = _output_shapes(metadata, _batch_of(metadata))
        fits, expected = shapes == wanted, str(wanted)
    if not fits:
        raise ModelFileError(f"the network's outputs are {shapes}, its metadata say {expected}; build the model again")


def _batch_of(metadata: ModelMetadata) -> int | None:
    return None if metadata.batch == "dynamic" else metadata.batch


def _output_shapes(metadata: ModelMetadata, batch: int | None) -> _Shapes:
    class_count = len(metadata.class_names)
    height, width = metadata.image_size
    if metadata.task == "classification":
        return {"logits": (batch, class_count)}
    kinds = [("box", BOX_CHANNELS), ("class", class_count)]
    shapes: _Shapes = {}
    if metadata.task == "instance-segmentation":
        kinds.append(("coefficients", MASK_COEFFICIENTS))
        shapes["prototypes"] = (batch, MASK_COEFFICIENTS, height // PROTOTYPE_STRIDE, width // PROTOTYPE_STRIDE)
    if metadata.keypoints is not None:
        kinds.append(("keypoints", metadata.keypoints.count * metadata.keypoints.values))
    for kind, channels in kinds:
        for stride in HEAD_STRIDES:
            shapes[f"{kind}_{stride}"] = (batch, channels, height // stride, width // stride)
    return shapes
