"""The graph of a YOLOv8 network: batch normalisation folded, ending at the raw outputs of its head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rfkernels.models.graph import Batch, GraphWriter, Operations, Weights, fold_batch_norm
from rfkernels.models.yolov8 import heads
from rfkernels.models.yolov8.layers import HEAD_SOURCES, SCALES, STRIDES, Convolution, Layer, layer_convolutions
from rfkernels.models.yolov8.network import LARGEST_SIDE, SMALLEST_SIDE, Network
from rfkernels.models.yolov8.weights import check_weights

from rfkernels.errors import InvalidArgumentError

if TYPE_CHECKING:
    import onnx

INPUT_NAME = "images"


def network_graph(
    weights: Weights,
    network: Network,
    *,
    image_size: tuple[int, int],
    batch: Batch = 1,
    batch_norm_epsilon: float | None = None,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Emit the ONNX graph of a YOLOv8 network.

    Input `images` float32 [batch, 3, height, width], RGB in 0..1. Outputs float32, before any activation unless said
    otherwise, for stride s = 8, 16 and 32:

        detect, segment, pose   `box_s` [batch, 64, height/s, width/s], channel = side * 16 + bin with sides left, top,
                                right, bottom; `class_s` [batch, class_count, height/s, width/s], logits
        segment                 `coefficients_s` [batch, 32, height/s, width/s], and `prototypes`
                                [batch, 32, height/4, width/4], after SiLU
        pose                    `keypoints_s` [batch, count * values, height/s, width/s], channel = point * values +
                                (x, y, logit of the confidence)
        classify                `logits` [batch, class_count], before softmax

    Args:
        weights: by the keys of a state dict ("model.0.conv.weight", ...), folded or with batch normalisation.
        image_size: height and width in pixels. For classify a square of 32 to 16384; else multiples of 32, which need
            not be equal.
        batch: pictures per run, or "dynamic".
        batch_norm_epsilon: None is the task's own.
        metadata: text properties stored in the file.
    Raises:
        InvalidArgumentError: a scale, image size or batch the network cannot have.
        CheckpointError: weights that are missing, unknown, of another shape, or not finite; the message names the key.
    """
    _check_arguments(network, image_size, batch)
    check_weights(weights, network)
    suffix = "" if network.task == "detect" else f"-{network.task}"
    graph = GraphWriter(f"yolov8{network.scale}{suffix}")
    write_network(graph, weights, network, batch_norm_epsilon)
    outputs = heads.output_shapes(network, image_size)
    return graph.finish({INPUT_NAME: (3, *image_size)}, outputs, batch=batch, metadata=metadata or {})


def write_network(
    graph: Operations, weights: Weights, network: Network, batch_norm_epsilon: float | None = None
) -> None:
    """Walk the layer table from INPUT_NAME to the outputs of the head, one call of `graph` for each operation.

    Args:
        weights: those that `check_weights` has found right for this network.
        batch_norm_epsilon: None is the task's own.
    """
    epsilon = network.batch_norm_epsilon if batch_norm_epsilon is None else batch_norm_epsilon
    writer = _Yolov8Writer(graph, weights, network, epsilon)
    features = writer.layers()
    if network.is_classifier:
        writer.classifier(features[-1])
        return
    levels = [features[source] for source in HEAD_SOURCES]
    writer.branches(levels)
    if network.task == "segment":
        writer.prototypes(levels[0])


def _check_arguments(network: Network, image_size: tuple[int, int], batch: Batch) -> None:
    if network.scale not in SCALES:
        raise InvalidArgumentError(f"scale: got {network.scale!r}, expected one of {', '.join(SCALES)}")
    kind = "whole number" if network.stride == 1 else f"multiple of {network.stride}"
    for side, name in zip(image_size, ("height", "width"), strict=True):
        if (
            isinstance(side, bool)
            or not isinstance(side, int)
            or side % network.stride
            or not SMALLEST_SIDE <= side <= LARGEST_SIDE
        ):
            raise InvalidArgumentError(
                f"image_size: got {name} {side}, expected a {kind} from {SMALLEST_SIDE} to {LARGEST_SIDE}"
            )
    if network.is_classifier and image_size[0] != image_size[1]:
        raise InvalidArgumentError(
            f"image_size: got {image_size[0]} x {image_size[1]}, a classifier takes squares; give one side"
        )
    if batch != "dynamic" and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
        raise InvalidArgumentError(f'batch: got {batch!r}, expected a number of pictures from 1, or "dynamic"')


class _Yolov8Writer:
    """Turns rows of the layer table, and the head, into operations."""

    def __init__(self, graph: Operations, weights: Weights, network: Network, batch_norm_epsilon: float) -> None:
        self._graph = graph
        self._weights = weights
        self._network = network
        self._epsilon = batch_norm_epsilon

    def layers(self) -> list[str]:
        """All layers before the head; the output tensor of each."""
        outputs: list[str] = []
        for layer in self._network.layers:
            sources = [INPUT_NAME if source < 0 else outputs[source] for source in layer.sources]
            outputs.append(self._layer(layer, sources))
        return outputs

    def branches(self, levels: list[str]) -> None:
        """The branches of each level; the last convolution of each writes an output of the graph."""
        for branch in heads.branches(self._network):
            for level, stride in enumerate(STRIDES):
                first, second, third = heads.branch_convolutions(self._network, branch, level)
                hidden = self._block(second, self._block(first, levels[level]))
                weight, bias = self._plain(third)
                self._graph.convolution(third.name, hidden, weight, bias, output=f"{branch.output}_{stride}")

    def prototypes(self, first_level: str) -> None:
        """The masks that coefficients weight, at a quarter of the image's size."""
        made = heads.prototypes(self._network)
        weight, bias = self._plain(made.upsample)
        enlarged = self._graph.transposed_convolution(
            made.upsample.name, self._block(made.first, first_level), weight, bias
        )
        self._block(made.third, self._block(made.second, enlarged), output=heads.PROTOTYPES_OUTPUT)

    def classifier(self, features: str) -> None:
        """A block, the mean over the image, and a matrix."""
        block, matrix = heads.classifier(self._network)
        means = self._graph.channel_means(f"{self._network.head_name}.means", self._block(block, features))
        weight, bias = self._plain(matrix)
        self._graph.linear(matrix.name, means, weight, bias, output=heads.LOGITS_OUTPUT)

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

    def _block(self, convolution: Convolution, source: str, *, output: str | None = None) -> str:
        """Convolution, folded batch normalisation, SiLU."""
        name = convolution.name
        weight, bias = fold_batch_norm(self._weights, name, self._epsilon)
        folded = self._graph.convolution(f"{name}.conv", source, weight, bias, stride=convolution.stride)
        return self._graph.silu(f"{name}.act", folded, output=output)

    def _plain(self, convolution: Convolution) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight and bias of what has no batch normalisation."""
        return self._weights[f"{convolution.name}.weight"], self._weights[f"{convolution.name}.bias"]

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
