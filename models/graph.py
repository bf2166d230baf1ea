"""Writing ONNX graphs from a layer table and weights: what all families share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from rfkernels.models.onnx_package import require_onnx

from rfkernels.errors import CheckpointError

if TYPE_CHECKING:
    import onnx

Weights = Mapping[str, NDArray[np.float32]]
Batch = int | Literal["dynamic"]

OPSET_VERSION = 17
# The oldest file format that carries opset 17: read by every ONNX Runtime since 1.12, OpenVINO and TensorRT alike.
IR_VERSION = 8


def fold_batch_norm(weights: Weights, module: str, epsilon: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The convolution that equals `module`'s convolution followed by its batch normalisation.

        weight' = weight * gamma / sqrt(variance + epsilon)
        bias'   = beta - mean * gamma / sqrt(variance + epsilon)

    computed in float64 and stored in float32.

    Args:
        weights: `<module>.conv.weight` [out, in, k, k] and `<module>.bn.{weight, bias, running_mean, running_var}`
            [out], or, from a checkpoint that is folded already, `<module>.conv.{weight, bias}`.
    Returns:
        weight float32 [out, in, k, k], bias float32 [out].
    Raises:
        CheckpointError: a variance is negative, or a folded value does not fit float32.
    """
    convolution = weights[f"{module}.conv.weight"]
    if f"{module}.conv.bias" in weights:
        return convolution, weights[f"{module}.conv.bias"]
    variance = weights[f"{module}.bn.running_var"].astype(np.float64)
    if (variance < 0).any():
        raise CheckpointError(
            f"{module}.bn.running_var: got a negative variance ({variance.min():g}), expected 0 or more"
        )
    factor = weights[f"{module}.bn.weight"].astype(np.float64) / np.sqrt(variance + epsilon)
    weight = convolution.astype(np.float64) * factor.reshape(-1, 1, 1, 1)
    bias = weights[f"{module}.bn.bias"].astype(np.float64) - weights[f"{module}.bn.running_mean"] * factor
    with np.errstate(over="ignore"):
        folded = weight.astype(np.float32), bias.astype(np.float32)
    if not all(np.isfinite(values).all() for values in folded):
        raise CheckpointError(f"{module}: folding its batch normalisation gives values that do not fit float32")
    return folded


class Operations(Protocol):
    """What a layer table is turned into: every method takes names of tensors and returns the name of the one it makes.

    `GraphWriter` writes nodes; what wants to know how a network is wired, and not to write it, has another.
    """

    def convolution(
        self,
        name: str,
        source: str,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        stride: int = 1,
        output: str | None = None,
    ) -> str:
        """A convolution with "same" padding."""

    def transposed_convolution(
        self, name: str, source: str, weight: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> str:
        """A transposed convolution whose windows lie side by side: every pixel becomes kernel x kernel pixels."""

    def silu(self, name: str, source: str, *, output: str | None = None) -> str:
        """x * Sigmoid(x)."""

    def add(self, name: str, left: str, right: str) -> str:
        """Element by element."""

    def concat(self, name: str, sources: Sequence[str]) -> str:
        """Along the channels."""

    def slice_channels(self, name: str, source: str, start: int, stop: int) -> str:
        """Channels start to stop, stop excluded."""

    def max_pool(self, name: str, source: str, kernel: int) -> str:
        """Stride 1, the size stays."""

    def upsample_nearest(self, name: str, source: str, factor: int) -> str:
        """Every pixel becomes factor x factor pixels."""

    def channel_means(self, name: str, source: str) -> str:
        """[batch, channels, height, width] to [batch, channels]: the mean of each channel."""

    def linear(
        self,
        name: str,
        source: str,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        output: str | None = None,
    ) -> str:
        """[batch, in] to [batch, out]: source * weight' + bias."""


class GraphWriter:
    """Collects nodes and weights in running order and turns them into one ONNX model.

    Every method adds nodes and returns the name of the tensor they produce. Names are those of the modules of the
    checkpoint, so that a profile or an error of an engine can be read against it. The same calls give the same bytes.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._helper = require_onnx("helper")
        self._numpy_helper = require_onnx("numpy_helper")
        self._float32 = require_onnx().TensorProto.FLOAT
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        """A weight or constant of the graph; one that has been added under this name already is used again."""
        if name not in self._initializers:
            self._initializers[name] = self._numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def node(
        self, operator: str, inputs: Sequence[str], name: str, output: str | None = None, **attributes: object
    ) -> str:
        """One node with one output, which has the node's name unless another is given."""
        output = output or name
        self._nodes.append(self._helper.make_node(operator, list(inputs), [output], name=name, **attributes))
        return output

    def convolution(
        self,
        name: str,
        source: str,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        stride: int = 1,
        output: str | None = None,
    ) -> str:
        """A convolution with "same" padding. weight float32 [out, in, k, k] with odd k, bias float32 [out]."""
        kernel = int(weight.shape[2])
        return self.node(
            "Conv",
            [source, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)],
            name,
            output,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[kernel // 2] * 4,
        )

    def transposed_convolution(
        self, name: str, source: str, weight: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> str:
        """Every pixel becomes kernel x kernel pixels. weight float32 [in, out, k, k], bias float32 [out]."""
        kernel = int(weight.shape[2])
        return self.node(
            "ConvTranspose",
            [source, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)],
            name,
            kernel_shape=[kernel, kernel],
            strides=[kernel, kernel],
        )

    def silu(self, name: str, source: str, *, output: str | None = None) -> str:
        """x * Sigmoid(x): the form that OpenVINO and TensorRT fuse into the convolution before it."""
        return self.node("Mul", [source, self.node("Sigmoid", [source], f"{name}.sigmoid")], name, output)

    def add(self, name: str, left: str, right: str) -> str:
        """Element by element."""
        return self.node("Add", [left, right], name)

    def concat(self, name: str, sources: Sequence[str]) -> str:
        """Along the channels."""
        return self.node("Concat", sources, name, axis=1)

    def slice_channels(self, name: str, source: str, start: int, stop: int) -> str:
        """Channels start to stop, stop excluded."""
        bounds = [self.constant(f"channels.{value}", np.array([value], np.int64)) for value in (start, stop)]
        axis = self.constant("channels.axis", np.array([1], np.int64))
        return self.node("Slice", [source, *bounds, axis], name)

    def max_pool(self, name: str, source: str, kernel: int) -> str:
        """Stride 1, the size stays. kernel is odd."""
        return self.node(
            "MaxPool", [source], name, kernel_shape=[kernel, kernel], strides=[1, 1], pads=[kernel // 2] * 4
        )

    def upsample_nearest(self, name: str, source: str, factor: int) -> str:
        """Every pixel becomes factor x factor pixels."""
        scales = self.constant(f"upsample.{factor}", np.array([1, 1, factor, factor], np.float32))
        return self.node(
            "Resize",
            [source, "", scales],
            name,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def channel_means(self, name: str, source: str) -> str:
        """[batch, channels, height, width] to [batch, channels]: the mean of each channel."""
        return self.node("Flatten", [self.node("GlobalAveragePool", [source], f"{name}.pool")], name, axis=1)

    def linear(
        self,
        name: str,
        source: str,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        output: str | None = None,
    ) -> str:
        """[batch, in] to [batch, out]. weight float32 [out, in], bias float32 [out]."""
        inputs = [source, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
        return self.node("Gemm", inputs, name, output, transB=1)

    def finish(
        self,
        inputs: Mapping[str, Sequence[int]],
        outputs: Mapping[str, Sequence[int]],
        *,
        batch: Batch,
        metadata: Mapping[str, str],
    ) -> onnx.ModelProto:
        """The whole model. Inputs and outputs are float32: name -> shape without the batch dimension."""
        size: int | str = "batch" if batch == "dynamic" else batch

        def described(tensors: Mapping[str, Sequence[int]]) -> list[onnx.ValueInfoProto]:
            make = self._helper.make_tensor_value_info
            return [make(name, self._float32, [size, *shape]) for name, shape in tensors.items()]

        graph = self._helper.make_graph(
            self._nodes, self._name, described(inputs), described(outputs), list(self._initializers.values())
        )
        model: onnx.ModelProto = self._helper.make_model(
            graph,
            opset_imports=[self._helper.make_opsetid("", OPSET_VERSION)],
            ir_version=IR_VERSION,
            producer_name="rfkernels",
        )
        self._helper.set_model_props(model, dict(metadata))
        return model
