"""Whether the convolutions of an ONNX graph are wired as those of the network that rfkernels would emit in its place.

Names and shapes of weights do not show what a convolution reads. So the graph in the file is reduced to expressions
over its convolutions ("SiLU of convolution model.0.conv"), the layer table is walked into the same expressions, and for
each convolution the two must agree. What follows the outputs of the head (decoding, suppression) is not compared.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rfkernels.builder.expressions import Expression, Expressions, Window, innermost_difference, shown
from rfkernels.builder.onnx_file import constants_of, module_of
from rfkernels.models.graph import Weights
from rfkernels.models.onnx_package import require_onnx
from rfkernels.models.yolov8.graph import INPUT_NAME, write_network
from rfkernels.models.yolov8.network import Network

if TYPE_CHECKING:
    import onnx

_MOST_CONSTANT_ELEMENTS = 64
_CHANNEL_AXES = (1, -3)
_UPSAMPLING = 2
_NO_WINDOW = Window((), (), (), ())
_WINDOW_ATTRIBUTES = ("kernel_shape", "strides", "pads", "dilations", "auto_pad", "group")


def difference_from_network(model: onnx.ModelProto, weights: Weights, network: Network) -> str | None:
    """The first convolution that does not read, or move over, what it does in a network, and why; None: there is none.

    Args:
        weights: those of the graph, found by `check_weights` to be the network's.
    """
    expressions = Expressions()
    reader = _GraphReader(expressions, weights)
    found = reader.read(model)
    expected = _TableRecorder(expressions)
    write_network(expected, weights, network)
    for module, convolution in expected.convolutions.items():
        difference = _difference(expressions, found.get(module), convolution)
        if difference is not None:
            return f"convolution {module} {difference}"
    for output, expression in expected.outputs.items():
        if not reader.has(expression):
            return f"{output} are {expressions.described(expression)} in YOLOv8, which the graph does not compute"
    return None


@dataclass(frozen=True)
class _Convolution:
    """What a convolution reads and how it moves over that; a matrix moves over nothing."""

    source: int
    window: Window
    group: int
    kind: str = "Conv"


class _TableRecorder:
    """Stands where a GraphWriter would, and records what each convolution of the layer table reads."""

    def __init__(self, expressions: Expressions) -> None:
        self.convolutions: dict[str, _Convolution] = {}
        # Outputs of the head that something else than a convolution gives.
        self.outputs: dict[str, int] = {}
        self._expressions = expressions
        self._tensors = {INPUT_NAME: expressions.image()}

    def _named(self, name: str, expression: int | None) -> str:
        assert expression is not None, f"{name}: the layer table says what cannot be"
        self._tensors[name] = expression
        return name

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
        window = Window.same(int(weight.shape[2]), stride)
        self.convolutions[name] = _Convolution(self._tensors[source], window, group=1)
        return self._named(output or name, self._expressions.convolution(name, int(weight.shape[0])))

    def transposed_convolution(
        self, name: str, source: str, weight: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> str:
        kernel = (int(weight.shape[2]),) * 2
        window = Window(kernel, kernel, (0,) * 4, (1, 1))
        self.convolutions[name] = _Convolution(self._tensors[source], window, 1, "ConvTranspose")
        return self._named(name, self._expressions.convolution(name, int(weight.shape[1])))

    def silu(self, name: str, source: str, *, output: str | None = None) -> str:
        expression = self._expressions.of_one("SiLU", self._tensors[source])
        if output is not None:
            self.outputs[output] = expression
        return self._named(output or name, expression)

    def add(self, name: str, left: str, right: str) -> str:
        return self._named(name, self._expressions.add(self._tensors[left], self._tensors[right]))

    def concat(self, name: str, sources: Sequence[str]) -> str:
        return self._named(name, self._expressions.concat(self._tensors[source] for source in sources))

    def slice_channels(self, name: str, source: str, start: int, stop: int) -> str:
        return self._named(name, self._expressions.slice_channels(self._tensors[source], start, stop))

    def max_pool(self, name: str, source: str, kernel: int) -> str:
        window = Window.same(kernel, stride=1)
        return self._named(name, self._expressions.of_one("MaxPool", self._tensors[source], window))

    def upsample_nearest(self, name: str, source: str, factor: int) -> str:
        assert factor == _UPSAMPLING
        return self._named(name, self._expressions.of_one("upsampling", self._tensors[source]))

    def channel_means(self, name: str, source: str) -> str:
        pooled = self._expressions.of_one("GlobalAveragePool", self._tensors[source])
        return self._named(name, self._expressions.of_one("Flatten", pooled))

    def linear(
        self,
        name: str,
        source: str,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        output: str | None = None,
    ) -> str:
        self.convolutions[name] = _Convolution(self._tensors[source], _NO_WINDOW, 1, "Gemm")
        return self._named(output or name, self._expressions.convolution(name, int(weight.shape[0])))


class _GraphReader:
    """Reduces the nodes of a graph from a file to expressions. What it does not know is an expression of its own."""

    def __init__(self, expressions: Expressions, weights: Weights) -> None:
        self._expressions = expressions
        self._weights = weights
        self._convolutions: dict[str, _Convolution] = {}
        self._tensors: dict[str, int] = {}
        self._constants: dict[str, onnx.TensorProto] = {}
        types = require_onnx().TensorProto
        self._floating_types = (types.FLOAT, types.FLOAT16, types.DOUBLE, types.BFLOAT16)
        self._handlers: dict[str, Callable[[onnx.NodeProto], int | None]] = {
            "Conv": self._convolution,
            "ConvTranspose": self._transposed_convolution,
            "Gemm": self._matrix,
            "GlobalAveragePool": lambda node: self._expressions.of_one("GlobalAveragePool", self._source(node)),
            "Flatten": self._flattening,
            "Sigmoid": lambda node: self._expressions.of_one("Sigmoid", self._source(node)),
            "Mul": self._product,
            "Add": self._sum,
            "Concat": self._concatenation,
            "Slice": self._slice,
            "MaxPool": self._pooling,
            "Resize": self._resize,
            "Upsample": self._upsample,
            "Identity": self._source,
            "Cast": self._cast,
        }

    def read(self, model: onnx.ModelProto) -> dict[str, _Convolution]:
        """The convolutions of a graph by their modules."""
        self._constants = constants_of(model)
        initializers = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in initializers]
        # Whole numbers would be 0 to 255: another network, though every node were the same.
        if len(inputs) == 1 and inputs[0].type.tensor_type.elem_type in self._floating_types:
            self._tensors[inputs[0].name] = self._expressions.image()
        for node in _running_order(model.graph.node):
            self._read_node(node)
        return self._convolutions

    def has(self, expression: int) -> bool:
        """Whether any tensor of the graph is this expression."""
        return expression in self._tensors.values()

    def _read_node(self, node: onnx.NodeProto) -> None:
        if len({attribute.name for attribute in node.attribute}) != len(node.attribute):
            return  # which of two values an engine would take is not known
        if node.op_type == "Split":
            self._split(node)
            return
        handler = self._handlers.get(node.op_type)
        if not node.output or not node.input:
            return
        expression = handler(node) if handler is not None else None
        if expression is None:
            expression = self._expressions.other(node.op_type, node.output[0])
        self._tensors[node.output[0]] = expression

    def _source(self, node: onnx.NodeProto, position: int = 0) -> int:
        name = node.input[position]
        if name not in self._tensors:
            return self._expressions.other("", name)
        return self._tensors[name]

    def _convolution(self, node: onnx.NodeProto) -> int | None:
        module = module_of(node.name, node.input)
        if module is None:
            return None
        weight = self._weights[f"{module}.weight"]
        attributes = _attributes(node)
        group = int(attributes["group"].i) if "group" in attributes else 1
        self._convolutions[module] = _Convolution(self._source(node), _window(attributes, weight.shape[2:]), group)
        return self._expressions.convolution(module, int(weight.shape[0]))

    def _transposed_convolution(self, node: onnx.NodeProto) -> int | None:
        module = module_of(node.name, node.input)
        if module is None or f"{module}.weight" not in self._weights:
            return None
        weight = self._weights[f"{module}.weight"]
        attributes = _attributes(node)
        has_defaults = all(
            name in _WINDOW_ATTRIBUTES or (name == "output_padding" and not any(attribute.ints))
            for name, attribute in attributes.items()
        )
        if not has_defaults:  # an output_shape, or padding at one side
            return None
        group = int(attributes["group"].i) if "group" in attributes else 1
        window = _window(attributes, weight.shape[2:])
        self._convolutions[module] = _Convolution(self._source(node), window, group, node.op_type)
        return self._expressions.convolution(module, int(weight.shape[1]) * group)

    def _matrix(self, node: onnx.NodeProto) -> int | None:
        """A Gemm that multiplies by a weight [out, in] and adds a bias, nothing more."""
        module = module_of(node.name, node.input)
        if module is None or len(node.input) != 3 or f"{module}.weight" not in self._weights:
            return None
        numbers = {name: attribute.f or attribute.i for name, attribute in _attributes(node).items()}
        if {"alpha": 1, "beta": 1, "transA": 0} | numbers != {"alpha": 1, "beta": 1, "transA": 0, "transB": 1}:
            return None
        self._convolutions[module] = _Convolution(self._source(node), _NO_WINDOW, 1, node.op_type)
        return self._expressions.convolution(module, int(self._weights[f"{module}.weight"].shape[0]))

    def _flattening(self, node: onnx.NodeProto) -> int | None:
        """All but the batch in one dimension. Only after a mean of each channel is that what follows the channels."""
        source = self._source(node)
        attributes = _attributes(node)
        if ("axis" in attributes and attributes["axis"].i != 1) or self._expressions[source].kind != (
            "GlobalAveragePool"
        ):
            return None
        return self._expressions.of_one("Flatten", source)

    def _product(self, node: onnx.NodeProto) -> int | None:
        if len(node.input) != 2:
            return None
        left, right = self._source(node), self._source(node, 1)
        for gate, source in ((left, right), (right, left)):
            if self._expressions[gate] == Expression("Sigmoid", (source,)):
                return self._expressions.of_one("SiLU", source)
        return None

    def _sum(self, node: onnx.NodeProto) -> int | None:
        if len(node.input) != 2:
            return None
        left, right = self._source(node), self._source(node, 1)
        return self._expressions.add(left, right)

    def _concatenation(self, node: onnx.NodeProto) -> int | None:
        attributes = _attributes(node)
        if "axis" not in attributes or attributes["axis"].i not in _CHANNEL_AXES:
            return None
        return self._expressions.concat(self._source(node, position) for position in range(len(node.input)))

    def _split(self, node: onnx.NodeProto) -> None:
        """Every output of a Split; those whose sizes are not known stay unknown."""
        attributes = _attributes(node)
        if not node.input or "axis" not in attributes or attributes["axis"].i not in _CHANNEL_AXES:
            return
        source = self._source(node)
        total = self._expressions.channels(source)
        sizes: list[int] | None
        if len(node.input) > 1 and node.input[1]:
            sizes = self._whole_numbers(node, 1)
        elif "split" in attributes:
            sizes = [int(size) for size in attributes["split"].ints]
        else:
            sizes = _even_sizes(total or 0, len(node.output))
        if sizes is None or len(sizes) != len(node.output):
            return
        start = 0
        for name, size in zip(node.output, sizes, strict=True):
            part = self._expressions.slice_channels(source, start, start + size)
            if part is not None:
                self._tensors[name] = part
            start += size

    def _slice(self, node: onnx.NodeProto) -> int | None:
        if not 4 <= len(node.input) <= 5:
            return None
        starts, stops, axes = (self._whole_numbers(node, position) for position in (1, 2, 3))
        steps = self._whole_numbers(node, 4) if len(node.input) == 5 and node.input[4] else [1]
        source = self._source(node)
        total = self._expressions.channels(source)
        if total is None or not starts or not stops or not axes or axes[0] not in _CHANNEL_AXES or steps != [1]:
            return None
        if not len(starts) == len(stops) == len(axes) == 1:
            return None
        start, stop = (bound + total if bound < 0 else bound for bound in (starts[0], stops[0]))
        return self._expressions.slice_channels(source, start, min(stop, total))

    def _pooling(self, node: onnx.NodeProto) -> int | None:
        return self._expressions.of_one("MaxPool", self._source(node), _window(_attributes(node), ()))

    def _resize(self, node: onnx.NodeProto) -> int | None:
        """Resize by scales. Its older form (opset 10) is Upsample by another name."""
        if len(node.input) == 2:
            return self._upsample(node)
        attributes = _attributes(node)
        wanted = {"mode": b"nearest", "coordinate_transformation_mode": b"asymmetric", "nearest_mode": b"floor"}
        if any(name not in attributes or attributes[name].s != value for name, value in wanted.items()):
            return None
        has_sizes = len(node.input) > 3 and node.input[3] != ""
        if len(node.input) < 3 or has_sizes or "axes" in attributes:
            return None
        return self._upsampling(node, 2)

    def _upsample(self, node: onnx.NodeProto) -> int | None:
        attributes = _attributes(node)
        if len(node.input) != 2 or ("mode" in attributes and attributes["mode"].s != b"nearest"):
            return None
        return self._upsampling(node, 1)

    def _upsampling(self, node: onnx.NodeProto, scales_position: int) -> int | None:
        if self._constant(node, scales_position) != [1, 1, _UPSAMPLING, _UPSAMPLING]:
            return None
        return self._expressions.of_one("upsampling", self._source(node))

    def _cast(self, node: onnx.NodeProto) -> int | None:
        """Between floating point types a tensor stays what it is: precision is no wiring."""
        attributes = _attributes(node)
        if "to" not in attributes or attributes["to"].i not in self._floating_types:
            return None
        constant = self._constants.get(node.input[0])
        if constant is not None and constant.data_type in self._floating_types:
            self._constants[node.output[0]] = constant
        return self._source(node)

    def _constant(self, node: onnx.NodeProto, position: int) -> list[float] | None:
        """The numbers of a small constant that a node reads."""
        tensor = self._constants.get(node.input[position])
        if tensor is None or math.prod(tensor.dims) > _MOST_CONSTANT_ELEMENTS:
            return None
        try:
            numbers: list[float] = require_onnx("numpy_helper").to_array(tensor).reshape(-1).tolist()
        except (ValueError, TypeError):
            return None  # data that does not match its shape and type: nothing that can be relied on
        return numbers

    def _whole_numbers(self, node: onnx.NodeProto, position: int) -> list[int] | None:
        numbers = self._constant(node, position)
        if numbers is None or not all(type(number) is int for number in numbers):
            return None
        return [int(number) for number in numbers]


def _running_order(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes after those whose tensors they read: exporters of half precision put their Casts at the end of the file.

    Nodes that wait for each other, or for such, are left out.
    """
    producers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    readers: dict[int, list[int]] = {}
    awaited = [0] * len(nodes)
    for index, node in enumerate(nodes):
        for producer in {producers[name] for name in node.input if name in producers}:
            readers.setdefault(producer, []).append(index)
            awaited[index] += 1
    ready = deque(index for index, count in enumerate(awaited) if count == 0)
    while ready:
        index = ready.popleft()
        yield nodes[index]
        for reader in readers.get(index, ()):
            awaited[reader] -= 1
            if awaited[reader] == 0:
                ready.append(reader)


def _attributes(node: onnx.NodeProto) -> dict[str, onnx.AttributeProto]:
    return {attribute.name: attribute for attribute in node.attribute}


def _window(attributes: dict[str, onnx.AttributeProto], kernel_of_weight: Sequence[int]) -> Window:
    """Attributes of a Conv or MaxPool, with ONNX's own values for those that are absent."""

    def numbers(name: str, default: Sequence[int]) -> tuple[int, ...]:
        return tuple(int(number) for number in (attributes[name].ints if name in attributes else default))

    kernel = numbers("kernel_shape", kernel_of_weight)
    ones = (1,) * len(kernel)
    strides, dilations = numbers("strides", ones), numbers("dilations", ones)
    pads: tuple[int, ...] | str = numbers("pads", (0,) * (2 * len(kernel)))
    rule = attributes["auto_pad"].s.decode("utf-8", "replace") if "auto_pad" in attributes else "NOTSET"
    if rule == "VALID":
        pads = (0,) * (2 * len(kernel))
    elif rule != "NOTSET":
        # With steps of one and odd kernels "same" is the same on both sides, else it depends on the size of the input.
        odd = rule in ("SAME_UPPER", "SAME_LOWER") and all(length % 2 for length in kernel)
        pads = tuple(length // 2 for length in kernel) * 2 if odd and strides == dilations == ones else rule[:80]
    return Window(kernel, strides, pads, dilations)


def _even_sizes(total: int, count: int) -> list[int] | None:
    """Sizes of a Split without any: equal, but for a smaller last one."""
    if not 0 < count <= total:
        return None
    size = -(-total // count)
    return [size] * (count - 1) + [total - size * (count - 1)]


def _difference(expressions: Expressions, got: _Convolution | None, expected: _Convolution) -> str | None:
    if got is None:
        return "is not there, or has an attribute twice"
    if got.source != expected.source:
        pair = innermost_difference(expressions, got.source, expected.source)
        return f"reads {expressions.described(pair[0])} where YOLOv8's reads {expressions.described(pair[1])}"
    if got.kind != expected.kind:
        return f"is a {got.kind}, YOLOv8's is a {expected.kind}"
    for name, wanted in [*vars(expected.window).items(), ("group", expected.group)]:
        value = got.group if name == "group" else getattr(got.window, name)
        if value != wanted:
            return f"has {name} {shown(value)}, YOLOv8's has {shown(wanted)}"
    return None
