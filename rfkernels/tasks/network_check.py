"""Whether a compiled network has the inputs and outputs that its model's metadata describe."""

from __future__ import annotations

from rfkernels.engines import Engine
from rfkernels.errors import InvalidArgumentError, ModelFileError
from rfkernels.model_metadata import ModelMetadata

# Of the outputs box_8, class_8, ... that the models of this version have.
HEAD_STRIDES = (8, 16, 32)
BOX_OUTPUTS = tuple(f"box_{stride}" for stride in HEAD_STRIDES)
# Four sides of 16 bins each.
BOX_CHANNELS = 64
MASK_COEFFICIENTS = 32
PROTOTYPE_STRIDE = 4

_Shapes = dict[str, tuple[int | None, ...]]


def check_network(engine: Engine, metadata: ModelMetadata) -> None:
    """Metadata and graph come from one file, but nothing else has compared them: a result may not depend on it.

    Raises:
        ModelFileError: the network's inputs and outputs are not those that the metadata describe.
        InvalidArgumentError: the engine computes other outputs at chosen pixels than all boxes in the order of levels.
    """
    batch = None if metadata.batch == "dynamic" else metadata.batch
    expected_input = (batch, 3, *metadata.image_size)
    found = [(tensor.dtype, tensor.shape) for tensor in engine.inputs]
    # bfloat16 is what an engine may make of it.
    if found not in ([("float32", expected_input)], [("bfloat16", expected_input)]):
        raise ModelFileError(f"the network's inputs are {found}, its metadata say one float32 {expected_input}")
    shapes: _Shapes = {output.name: output.shape for output in engine.outputs + engine.sparse_outputs}
    if metadata.output_format == "decoded":
        rows = 4 + len(metadata.class_names)
        fits = len(shapes) == 1 and all(len(shape) == 3 and shape[1] in (None, rows) for shape in shapes.values())
        expected = f"one [batch, {rows}, anchors]"
    else:
        wanted = _output_shapes(metadata, batch)
        fits, expected = shapes == wanted, str(wanted)
    if not fits:
        raise ModelFileError(f"the network's outputs are {shapes}, its metadata say {expected}; build the model again")
    # The anchors of candidates are numbered through the levels, and so are the pixels of sparse outputs.
    sparse = tuple(output.name for output in engine.sparse_outputs)
    if sparse not in ((), BOX_OUTPUTS):
        raise InvalidArgumentError(f"engine has the sparse outputs {sparse}; ask it for {BOX_OUTPUTS}, in this order")


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
