"""The graph of a YOLOv8 detector: batch normalisation folded, ending at the raw head convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rfkernels.models.graph import Batch, GraphWriter, Operations, Weights, fold_batch_norm
from rfkernels.models.yolov8.layers import (
    BOX_CHANNELS,
    DETECT_BATCH_NORM_EPSILON,
    HEAD_INDEX,
    HEAD_SOURCES,
    LARGEST_STRIDE,
    SCALES,
    STRIDES,
    Convolution,
    Layer,
    Scale,
    detect_head_convolutions,
    layer_convolutions,
    layers,
)
from rfkernels.models.yolov8.recognise import check_detect_weights

from rfkernels.errors import InvalidArgumentError

if TYPE_CHECKING:
    import onnx

INPUT_NAME = "images"
LARGEST_SIDE = 16384


def detect_graph(
    weights: Weights,
    *,
    scale: str,
    class_count: int,
    image_size: tuple[int, int],
    batch: Batch = 1,
    batch_norm_epsilon: float = DETECT_BATCH_NORM_EPSILON,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Emit the ONNX graph of a YOLOv8 detector.

    Input `images` float32 [batch, 3, height, width], RGB in 0..1. Outputs, before any activation, for stride s = 8, 16
    and 32: `box_s` float32 [batch, 64, height/s, width/s], channel = side * 16 + bin with sides left, top, right,
    bottom; `class_s` float32 [batch, class_count, height/s, width/s], logits.

    Args:
        weights: by the keys of a state dict ("model.0.conv.weight", ...), folded or with batch normalisation.
        scale: n, s, m, l or x.
        image_size: height and width in pixels, multiples of 32; they need not be equal.
        batch: pictures per run, or "dynamic".
        metadata: text properties stored in the file.
    Raises:
        InvalidArgumentError: an image size or batch the network cannot have.
        CheckpointError: weights that are missing, unknown, of another shape, or not finite; the message names the key.
    """
    _check_arguments(scale, image_size, batch)
    check_detect_weights(weights, SCALES[scale], class_count)
    graph = GraphWriter(f"yolov8{scale}")
    write_detector(graph, weights, scale, class_count, batch_norm_epsilon)
    height, width = image_size
    outputs: dict[str, tuple[int, int, int]] = {}
    for kind, channels in (("box", BOX_CHANNELS), ("class", class_count)):
        for stride in STRIDES:
            outputs[f"{kind}_{stride}"] = (channels, height // stride, width // stride)
    return graph.finish({INPUT_NAME: (3, height, width)}, outputs, batch=batch, metadata=metadata or {})


def write_detector(
    graph: Operations,
    weights: Weights,
    scale: str,
    class_count: int,
    batch_norm_epsilon: float = DETECT_BATCH_NORM_EPSILON,
) -> None:
    """Walk the layer table of a detector from INPUT_NAME to its six outputs, one call of `graph` for each operation.

    Args:
        weights: those that `check_detect_weights` has found right for this scale and class count.
    """
    writer = _Yolov8Writer(graph, weights, batch_norm_epsilon)
    features = writer.backbone_and_neck(layers(SCALES[scale]))
    writer.detect_head([features[source] for source in HEAD_SOURCES], SCALES[scale], class_count)


def _check_arguments(scale: str, image_size: tuple[int, int], batch: Batch) -> None:
    if scale not in SCALES:
        raise InvalidArgumentError(f"scale: got {scale!r}, expected one of {', '.join(SCALES)}")
    for side, name in zip(image_size, ("height", "width"), strict=True):
        if isinstance(side, bool) or side % LARGEST_STRIDE or not LARGEST_STRIDE <= side <= LARGEST_SIDE:
            raise InvalidArgumentError(
                f"image_size: got {name} {side}, "
                f"expected a multiple of {LARGEST_STRIDE} from {LARGEST_STRIDE} to {LARGEST_SIDE}"
            )
    if batch != "dynamic" and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise InvalidArgumentError(f'batch: got {batch!r}, expected a number of pictures from 1, or "dynamic"')


class _Yolov8Writer:
    """Turns rows of the layer table into operations."""

    def __init__(self, graph: Operations, weights: Weights, batch_norm_epsilon: float) -> None:
        self._graph = graph
        self._weights = weights
        self._epsilon = batch_norm_epsilon

    def backbone_and_neck(self, table: tuple[Layer, ...]) -> list[str]:
        """All layers before the head; the output tensor of each."""
        outputs: list[str] = []
        for layer in table:
            sources = [INPUT_NAME if source < 0 else outputs[source] for source in layer.sources]
            outputs.append(self._layer(layer, sources))
        return outputs

    def detect_head(self, features: list[str], scale: Scale, class_count: int) -> None:
        """The six branches; the last convolution of each writes an output of the graph."""
        blocks = {convolution.name: convolution for convolution in detect_head_convolutions(scale, class_count)}
        for kind, branch in (("box", "cv2"), ("class", "cv3")):
            for level, stride in enumerate(STRIDES):
                name = f"model.{HEAD_INDEX}.{branch}.{level}"
                hidden = self._block(blocks[f"{name}.0"], features[level])
                hidden = self._block(blocks[f"{name}.1"], hidden)
                weight, bias = self._weights[f"{name}.2.weight"], self._weights[f"{name}.2.bias"]
                self._graph.convolution(f"{name}.2", hidden, weight, bias, output=f"{kind}_{stride}")

    def _layer(self, layer: Layer, sources: list[str]) -> str:
        convolutions = {convolution.name: convolution for convolution in layer_convolutions(layer)}
        if layer.kind == "convolution":
            return self._block(convolutions[layer.name], sources[0])
        if layer.kind == "c2f":
            return self._c2f(layer, convolutions, sources[0])
        if layer.kind == "sppf":
            return self._sppf(layer, convolutions, sources[0])
        if layer.kind == "upsample":
            return self._graph.upsample_nearest(layer.name, sources[0], factor=2)
        return self._graph.concat(layer.name, sources)

    def _block(self, convolution: Convolution, source: str) -> str:
        """Convolution, folded batch normalisation, SiLU."""
        name = convolution.name
        weight, bias = fold_batch_norm(self._weights, name, self._epsilon)
        output = self._graph.convolution(f"{name}.conv", source, weight, bias, stride=convolution.stride)
        return self._graph.silu(f"{name}.act", output)

    def _c2f(self, layer: Layer, convolutions: dict[str, Convolution], source: str) -> str:
        """Two halves of one convolution, the second through a chain of bottlenecks, everything concatenated.

        The first convolution's output enters the concatenation whole, so that only its second half has to be cut out.
        """
        whole = self._block(convolutions[f"{layer.name}.cv1"], source)
        hidden = layer.out_channels // 2
        chained = self._graph.slice_channels(f"{layer.name}.second_half", whole, hidden, 2 * hidden)
        parts = [whole]
        for repeat in range(layer.repeats):
            name = f"{layer.name}.m.{repeat}"
            output = self._block(convolutions[f"{name}.cv1"], chained)
            output = self._block(convolutions[f"{name}.cv2"], output)
            chained = self._graph.add(f"{name}.add", chained, output) if layer.shortcut else output
            parts.append(chained)
        return self._block(convolutions[f"{layer.name}.cv2"], self._graph.concat(f"{layer.name}.concat", parts))

    def _sppf(self, layer: Layer, convolutions: dict[str, Convolution], source: str) -> str:
        """Three chained 5x5 maxima, concatenated with what they were taken of."""
        parts = [self._block(convolutions[f"{layer.name}.cv1"], source)]
        for pool in range(3):
            parts.append(self._graph.max_pool(f"{layer.name}.m.{pool}", parts[-1], kernel=5))
        return self._block(convolutions[f"{layer.name}.cv2"], self._graph.concat(f"{layer.name}.concat", parts))
