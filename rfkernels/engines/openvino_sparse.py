"""Outputs computed at chosen pixels only: the branch that leads to one is cut off the network and run on its own.

A branch is what YOLOv8 has for boxes: convolution 3 x 3, SiLU, convolution 3 x 3, SiLU, convolution 1 x 1. A value of
its output depends on 5 x 5 pixels of the feature map before it, so for the few pixels of an image where an object may
be, a branch is three multiplications of matrices: the neighbourhoods of the pixels, one in a row, times the weights.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfkernels import _native
from rfkernels.engines.silent_openvino import openvino, opset
from rfkernels.errors import EngineError, InvalidArgumentError

# Convolutions of a branch, in running order: side of the kernel, and whether SiLU follows.
_SHAPE_OF_BRANCH = ((3, True), (3, True), (1, False))
_TAPS = 9
# OpenVINO prepares itself for every number of rows that it has not met: two milliseconds and more. Rows are therefore
# added, up to a half more, so that there are few numbers; those up to 1,024 are met before the first request.
_FEW_ROWS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)
_STEP_OF_MANY_ROWS = 512
_MOST_ROWS_PREPARED = 1024


@dataclass(frozen=True, eq=False)
class SparseBranch:
    """What leads from a feature map to an output.

    Attributes:
        name: of the output.
        feature_name: of the network's output that gives the feature map instead.
        height, width: of both, in pixels.
        weights: float32 [out, in, side, side] of each convolution; biases: float32 [out].
    """

    name: str
    feature_name: str
    height: int
    width: int
    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]

    @property
    def channels(self) -> int:
        """Of the output."""
        return len(self.biases[-1])


def cut_branches(network: openvino.Model, names: Sequence[str]) -> list[SparseBranch]:
    """Replace outputs of a network by the feature maps that they are computed from.

    Args:
        network: as read, changed in place.
        names: of the outputs wanted.

    Returns:
        The branches cut off, in the order of the names; none, and the network as it was, where any of them has another
        shape or is not there.
    """
    found: list[tuple[openvino.Node, SparseBranch, openvino.Output]] = []
    for result in network.get_results():
        name = next((name for name in names if name in result.input_value(0).get_names()), None)
        if name is None:
            continue
        branch, feature = _branch_before(result, name)
        if branch is None:
            return []
        found.append((result, branch, feature))
    if sorted(cut[1].name for cut in found) != sorted(names):
        return []
    found.sort(key=lambda cut: names.index(cut[1].name))
    for result, branch, feature in found:
        network.remove_result(result)
        replacement = opset.result(feature)
        replacement.output(0).get_tensor().set_names({branch.feature_name})
        network.add_results([replacement])
    network.validate_nodes_and_infer_types()
    return [branch for _, branch, _ in found]


def _branch_before(result: openvino.Node, name: str) -> tuple[SparseBranch | None, openvino.Output | None]:
    weights: list[NDArray[np.float32]] = []
    biases: list[NDArray[np.float32]] = []
    port = result.input_value(0)
    for side, has_activation in reversed(_SHAPE_OF_BRANCH):
        if has_activation:
            port = _before_silu(port)
        port, bias = (None, None) if port is None else _before_bias(port)
        port, weight = (None, None) if port is None else _before_convolution(port, side)
        if port is None or weight is None or bias is None or len(bias) != len(weight):
            return None, None
        weights.insert(0, weight)
        biases.insert(0, bias)
    shape = port.partial_shape
    if shape.rank.get_length() != 4 or shape[2].is_dynamic or shape[3].is_dynamic:
        return None, None
    height, width = shape[2].get_length(), shape[3].get_length()
    return SparseBranch(name, f"{name}_feature", height, width, tuple(weights), tuple(biases)), port


def _before_silu(port: openvino.Output) -> openvino.Output | None:
    node = port.get_node()
    if node.get_type_name() != "Multiply":
        return None
    sources = [node.input_value(index) for index in range(2)]
    for value, gate in (sources, sources[::-1]):
        if gate.get_node().get_type_name() == "Sigmoid" and gate.get_node().input_value(0) == value:
            return value
    return None


def _before_bias(port: openvino.Output) -> tuple[openvino.Output | None, NDArray[np.float32] | None]:
    node = port.get_node()
    if node.get_type_name() != "Add":
        return None, None
    sources = [node.input_value(index) for index in range(2)]
    for value, bias in (sources, sources[::-1]):
        numbers = _constant(bias)
        if numbers is not None and value.get_node().get_type_name() == "Convolution":
            per_channel = list(numbers.shape) in ([1, numbers.size, 1, 1], [numbers.size])
            return (value, numbers.reshape(-1)) if per_channel else (None, None)
    return None, None


def _before_convolution(port: openvino.Output, side: int) -> tuple[openvino.Output | None, NDArray[np.float32] | None]:
    node = port.get_node()
    weight = _constant(node.input_value(1))
    around = [side // 2] * 2
    facts = node.get_attributes()
    same = (
        list(facts["strides"]) == list(facts["dilations"]) == [1, 1]
        and list(facts["pads_begin"]) == list(facts["pads_end"]) == around
    )
    if weight is None or weight.shape[2:] != (side, side) or not same:
        return None, None
    return node.input_value(0), weight


def _constant(port: openvino.Output) -> NDArray[np.float32] | None:
    """Its numbers, seen in the shape that the port has: the ONNX reader writes a bias as a vector that is reshaped."""
    node = port.get_node()
    if node.get_type_name() == "Reshape":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or port.partial_shape.is_dynamic:
        return None
    return np.array(node.get_data(), np.float32).reshape(list(port.partial_shape.to_shape()))


def branches_network(branches: Sequence[SparseBranch], feature_type: openvino.Type) -> openvino.Model:
    """The branches as a network of their own; three inputs for each of them, one output.

    Inputs: features [pixels, C], the last of them zeros, which stand for what is outside; int32 [m, 9], the pixels
    around each for which the first convolution is computed; int32 [n, 9], those of these m around each pixel wanted,
    counted from 1, where 0 stands for what is outside.
    Output: float32 [n, channels].
    """
    parameters, results = [], []
    activate = _silu if feature_type == openvino.Type.bf16 else _silu_apart
    for branch in branches:
        first, second, third = (_as_matrix(weights) for weights in branch.weights)
        features = opset.parameter([-1, branch.weights[0].shape[1]], feature_type)
        outer = opset.parameter([-1, _TAPS], openvino.Type.i32)
        inner = opset.parameter([-1, _TAPS], openvino.Type.i32)
        hidden = activate(_linear(_rows_of(features, outer), first, branch.biases[0]))
        outside = opset.constant(np.zeros((1, len(first)), np.float32))
        hidden = activate(_linear(_rows_of(opset.concat([outside, hidden], 0), inner), second, branch.biases[1]))
        parameters += [features, outer, inner]
        results.append(opset.result(_linear(hidden, third, branch.biases[2])))
    network = openvino.Model(results, parameters, "sparse branches")
    # OpenVINO numbers nameless nodes through the life of a process, and looks a network up in its cache by names too.
    for index, node in enumerate(network.get_ordered_ops()):
        node.set_friendly_name(f"node {index}")
        for output in node.outputs():
            output.get_tensor().set_names({f"tensor {index}"})
    return network


def _as_matrix(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """[out, in, side, side] to [out, side * side * in], as the neighbours of a pixel lie in a row."""
    return np.ascontiguousarray(weights.transpose(0, 2, 3, 1).reshape(len(weights), -1))


def _rows_of(values: openvino.Node, neighbours: openvino.Node) -> openvino.Node:
    """[pixels, C] and [n, 9] to float32 [n, 9 * C]."""
    gathered = opset.gather(values, neighbours, opset.constant(np.int32(0)))
    channels = values.get_output_partial_shape(0)[1].get_length()
    shape = opset.constant(np.array([-1, _TAPS * channels], np.int64))
    return opset.convert(opset.reshape(gathered, shape, special_zero=False), "f32")


def _linear(values: openvino.Node, matrix: NDArray[np.float32], bias: NDArray[np.float32]) -> openvino.Node:
    product = opset.matmul(values, opset.constant(matrix), transpose_a=False, transpose_b=True)
    return opset.add(product, opset.constant(bias[None]))


def _silu(values: openvino.Node) -> openvino.Node:
    return opset.multiply(values, opset.sigmoid(values))


def _silu_apart(values: openvino.Node) -> openvino.Node:
    """The same, but not fused into the product before it: the kernel that takes SiLU in divides a float32 sum among
    threads in one way for few rows and in another for many, so that a value would depend on what else is asked for.
    """
    axis = opset.constant(np.int64(0))
    return opset.squeeze(_silu(opset.unsqueeze(values, axis)), axis)


@dataclass(eq=False)
class _Rows:
    """Memory that a request reads rows of neighbours from, as long as they can be; the tensor's shape says how many."""

    tensor: openvino.Tensor
    array: NDArray[np.int32]
    count: int

    def shorten(self, count: int) -> None:
        """Tell the request how many there are."""
        if count != self.count:
            self.tensor.shape = [count, _TAPS]
            self.count = count


class SparseSession:
    """A request for the branches, and the memory of the feature maps that they read.

    Args:
        compiled: `branches_network`.
        branches: of the same.
        features: for each branch [batch * height * width + 1, C], the last row zeros.
    """

    def __init__(
        self, compiled: openvino.CompiledModel, branches: Sequence[SparseBranch], features: Sequence[NDArray[Any]]
    ) -> None:
        self._request = compiled.create_infer_request()
        #: Of the last run, what OpenVINO took, without the preparation of its inputs.
        self.seconds_in_runtime = 0.0
        self._branches = branches
        self._pixel_counts = [branch.height * branch.width for branch in branches]
        self._row_counts = numbers_of_rows(max(self._pixel_counts))
        # Room for all rows that a branch can be asked for: a request fills the beginning, and is told its length.
        # Handing over other memory would cost the request eight times as much as that.
        self._outer = [self._lend_rows(3 * index + 1, count) for index, count in enumerate(self._pixel_counts)]
        self._inner = [self._lend_rows(3 * index + 2, count) for index, count in enumerate(self._pixel_counts)]
        self._outer_arrays = [lent.array for lent in self._outer]
        self._inner_arrays = [lent.array for lent in self._inner]
        # For each image of the batch the rows of its features: images lie one behind the other in each map, and one
        # row of zeros behind them all.
        batch = (len(features[0]) - 1) // self._pixel_counts[0]
        self._grids = [
            [(branch.height, branch.width, image * count, batch * count) for branch, count in self._branch_sizes()]
            for image in range(batch)
        ]
        self._kept: list[Any] = list(features)
        for index, values in enumerate(features):
            feature_type = compiled.inputs[3 * index].element_type
            self._request.set_input_tensor(
                3 * index, openvino.Tensor(values, openvino.Shape(list(values.shape)), feature_type)
            )

    def _branch_sizes(self) -> Iterator[tuple[SparseBranch, int]]:
        return zip(self._branches, self._pixel_counts, strict=True)

    def _lend_rows(self, port: int, count: int) -> _Rows:
        tensor = openvino.Tensor(openvino.Type.i32, openvino.Shape([count, _TAPS]))
        self._request.set_input_tensor(port, tensor)
        return _Rows(tensor, tensor.data, count)

    def run(self, pixels: NDArray[Any], counts: Sequence[int], image: int) -> list[NDArray[np.float32]]:
        """Values [n, channels] of every branch at its `pixels` of an image; valid until the next call.

        See `rfkernels.engines.Session.run_sparse`.
        """
        self.seconds_in_runtime = 0.0
        if pixels.ndim != 1:
            raise InvalidArgumentError(f"pixels have shape {pixels.shape}; give [n]")
        # Before anything else: memory is lent for as many rows as they say. NumPy's whole numbers would wrap in a sum.
        try:
            read = list(map(operator.index, counts))
        except TypeError:
            read = []
        if len(read) != len(self._branches) or sum(read) != len(pixels) or min(read) < 0:
            names = ", ".join(branch.name for branch in self._branches)
            raise InvalidArgumentError(
                f"counts is {counts}; give how many of the {len(pixels)} pixels belong to {names}"
            )
        if len(pixels) == 0:
            return [np.empty((0, branch.channels), np.float32) for branch in self._branches]
        self._place(pixels, read, image)
        outputs = self._infer()
        return [values[:count] for values, count in zip(outputs, read, strict=True)]

    def prepare(self) -> None:
        """Let OpenVINO meet the numbers of rows that requests will ask for; it keeps what it makes of them for all."""
        for rows in self._row_counts[self._row_counts <= _MOST_ROWS_PREPARED].tolist():
            for lent in self._outer + self._inner:
                lent.array[...] = 0
                lent.shorten(min(rows, len(lent.array)))
            self._infer()

    def _infer(self) -> tuple[NDArray[np.float32], ...]:
        started = time.perf_counter()
        try:
            outputs = self._request.infer(share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO could not run the branches of the network: {error}") from error
        self.seconds_in_runtime = time.perf_counter() - started
        arrays: tuple[NDArray[np.float32], ...] = outputs.to_tuple()
        return arrays

    def _place(self, pixels: NDArray[Any], counts: Sequence[int], image: int) -> None:
        """Tell the request which rows every branch is to be computed for."""
        if pixels.dtype != np.int32 or not (pixels.flags.c_contiguous and pixels.flags.aligned):
            pixels = _as_int32(pixels)
        for index, count in enumerate(counts):
            if count > len(self._inner[index].array):  # a pixel may be asked for twice
                self._inner[index] = self._lend_rows(3 * index + 2, count)
                self._inner_arrays[index] = self._inner[index].array
        try:
            written = _native.write_neighbourhoods(
                pixels,
                counts,
                self._grids[image],
                self._outer_arrays,
                self._inner_arrays,
                self._row_counts,
            )
        except ValueError as error:
            message = str(error)
            for index, branch in enumerate(self._branches):
                message = message.replace(f"grids[{index}]", branch.name)
            raise InvalidArgumentError(message) from error
        for index, (outer_count, inner_count) in enumerate(written):
            self._outer[index].shorten(outer_count)
            self._inner[index].shorten(inner_count)


def numbers_of_rows(most: int) -> NDArray[np.int64]:
    """Those that OpenVINO is to meet, ascending, the last of them not below `most`."""
    many = range(_MOST_ROWS_PREPARED, most + _STEP_OF_MANY_ROWS, _STEP_OF_MANY_ROWS)
    return np.array([*_FEW_ROWS, *many], np.int64)


def _as_int32(pixels: NDArray[Any]) -> NDArray[np.int32]:
    if not np.issubdtype(pixels.dtype, np.integer):
        raise InvalidArgumentError(f"pixels are {pixels.dtype}; give whole numbers")
    if not (pixels.min() >= 0 and pixels.max() < 2**31):
        raise InvalidArgumentError(f"pixels reach from {pixels.min()} to {pixels.max()}; give int32 from 0")
    return np.require(pixels, np.int32, ("C_CONTIGUOUS", "ALIGNED"))
