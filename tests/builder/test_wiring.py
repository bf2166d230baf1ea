"""ONNX graphs are emitted anew only where each convolution reads what it does in a detector; others are kept."""

import re

import numpy as np
import onnx
import pytest
from rfkernels.models.yolov8.graph import network_graph
from rfkernels.models.yolov8.network import Network

from rfkernels.builder import Checkpoint, DecodedGraph, expressions, read_checkpoint
from rfkernels.builder.wiring import difference_from_network

make = onnx.helper.make_node
NETWORK = Network("detect", "n", 3)


@pytest.fixture(scope="module")
def folded_weights(detector_weights):
    """By the names that the convolutions of a graph carry."""
    model = network_graph(detector_weights, NETWORK, image_size=(64, 64))
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {name: values for name, values in tensors.items() if name.startswith("model.")}


@pytest.fixture
def exported(detector_weights):
    """A graph wired as ultralytics exports it: halves cut by Split, one output after some decoding."""
    model = network_graph(detector_weights, NETWORK, image_size=(64, 64))
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Slice":
            layer = node.name.removesuffix(".second_half")
            halves = [f"{layer}.first_half", node.name]
            nodes.append(make("Split", [node.input[0]], halves, f"{layer}.split", axis=1))
        elif node.name.endswith(".concat") and f"{node.name.removesuffix('.concat')}.split" in {n.name for n in nodes}:
            layer = node.name.removesuffix(".concat")
            halves = [f"{layer}.first_half", f"{layer}.second_half"]
            nodes.append(make("Concat", [*halves, *node.input[1:]], [node.name], node.name, axis=1))
        else:
            nodes.append(node)
    for stride in (8, 16, 32):
        nodes.append(make("Concat", [f"box_{stride}", f"class_{stride}"], [f"cells_{stride}"], axis=1))
        nodes.append(make("Flatten", [f"cells_{stride}"], [f"rows_{stride}"]))
    nodes.append(make("Concat", ["rows_8", "rows_16", "rows_32"], ["output0"], axis=1))
    replace_nodes(model, nodes)
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("output0", onnx.TensorProto.FLOAT, [1, None]))
    return model


def replace_nodes(model, nodes):
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def node_of(model, name):
    (node,) = [node for node in model.graph.node if node.name == name]
    return node


def insert_before(model, name, *nodes):
    index = next(index for index, node in enumerate(model.graph.node) if node.name == name)
    replace_nodes(model, [*model.graph.node[:index], *nodes, *model.graph.node[index:]])


def add_constant(model, name, values, dtype=np.int64):
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, dtype), name))
    return name


def set_attributes(model, name, **attributes):
    node = node_of(model, name)
    kept = [attribute for attribute in node.attribute if attribute.name not in attributes]
    changed = [onnx.helper.make_attribute(key, value) for key, value in attributes.items() if value is not None]
    del node.attribute[:]
    node.attribute.extend([*kept, *changed])


def replace_input(model, name, position, tensor):
    node_of(model, name).input[position] = tensor


# The same network, written differently.


def as_it_is(model):
    pass


def split_by_attribute(model):
    for node in model.graph.node:
        if node.op_type == "Split":
            set_attributes(model, node.name, split=[channels_of(model, node) // 2] * 2)


def split_by_input(model):
    for node in list(model.graph.node):
        if node.op_type == "Split":
            half = channels_of(model, node) // 2
            node_of(model, node.name).input.append(add_constant(model, f"{node.name}.sizes", [half, half]))


def split_by_count(model):
    for node in model.graph.node:
        if node.op_type == "Split":
            set_attributes(model, node.name, num_outputs=2, axis=-3)


def slices_for_split(model):
    """What some optimisers make of Split; bounds in Constant nodes, counted from the end, or past it."""
    nodes = []
    for node in model.graph.node:
        if node.op_type != "Split":
            nodes.append(node)
            continue
        half = channels_of(model, node) // 2
        bounds = {"zero": 0, "half": half, "minus": -half, "end": 2**63 - 1, "axis": 1}
        for name, value in bounds.items():
            tensor = onnx.numpy_helper.from_array(np.array([value]))
            nodes.append(make("Constant", [], [f"{node.name}.{name}"], value=tensor))
        for output, (start, stop) in zip(node.output, (("zero", "half"), ("minus", "end")), strict=True):
            bounds = [f"{node.name}.{name}" for name in (start, stop, "axis", "axis")]
            nodes.append(make("Slice", [node.input[0], *bounds], [output], output))
    replace_nodes(model, nodes)


def channels_of(model, split):
    name = split.name.replace(".split", ".cv1.conv.weight")
    return next(tensor.dims[0] for tensor in model.graph.initializer if tensor.name == name)


def factors_exchanged(model):
    for node in model.graph.node:
        if node.op_type in ("Mul", "Add"):
            node.input[:] = list(reversed(node.input))


def pads_by_rule(model):
    for node in model.graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type in ("Conv", "MaxPool") and list(attributes["strides"].ints) == [1, 1]:
            kernel = attributes["kernel_shape"].ints[0]
            rule = "VALID" if kernel == 1 else ("SAME_LOWER" if kernel == 5 else "SAME_UPPER")
            set_attributes(model, node.name, pads=None, strides=None, auto_pad=rule)


def attributes_left_out(model):
    for node in model.graph.node:
        sizes = next((list(value.ints) for value in node.attribute if value.name == "kernel_shape"), None)
        if node.op_type == "Conv" and sizes == [1, 1]:
            set_attributes(model, node.name, kernel_shape=None, strides=None, pads=None, dilations=None)


def attributes_written_out(model):
    for node in model.graph.node:
        if node.op_type in ("Conv", "MaxPool"):
            set_attributes(model, node.name, dilations=[1, 1], auto_pad="NOTSET")
        if node.op_type == "Conv":
            set_attributes(model, node.name, group=1)


def older_upsample(model):
    for node in model.graph.node:
        if node.op_type == "Resize":
            scales = node.input[2]
            node.op_type = "Upsample" if node.name == "model.10" else "Resize"
            node.input[:] = [node.input[0], scales]
            set_attributes(model, node.name, coordinate_transformation_mode=None, nearest_mode=None)


def through_identity_and_casts(model):
    """Exporters of half precision put their Casts wherever there is room."""
    replace_input(model, "model.0.conv", 0, "cast")
    replace_input(model, "model.1.conv", 0, "same")
    replace_input(model, "model.10", 2, "scales")
    replace_nodes(
        model,
        [
            *model.graph.node,
            make("Cast", ["images"], ["cast"], to=onnx.TensorProto.FLOAT16),
            make("Identity", ["model.0.act"], ["same"]),
            make("Cast", ["upsample.2"], ["scales"], to=onnx.TensorProto.FLOAT),
        ],
    )


def weights_through_identity(model):
    """torch writes equal tensors once and hands them on: the biases of a head that nobody has trained."""
    names = ["model.22.cv2.1.2.bias", "model.22.cv2.2.2.weight"]
    for tensor in model.graph.initializer:
        if tensor.name in names:
            tensor.name += ".shared"
    replace_nodes(model, [*(make("Identity", [f"{name}.shared"], [name]) for name in names), *model.graph.node])


def concatenations_nested(model):
    inputs = list(node_of(model, "model.4.concat").input)
    insert_before(model, "model.4.concat", make("Concat", inputs[1:3], ["inner"], "inner", axis=1))
    node_of(model, "model.4.concat").input[:] = [inputs[0], "inner", *inputs[3:]]


def slices_of_slices(model):
    """The second half of layer 2 (channels 16 to 32) as a slice of a slice."""
    names = [add_constant(model, f"bound.{value}", [value]) for value in (8, 32, 24, 1)]
    outer = make("Slice", ["model.2.cv1.act", names[0], names[1], names[3]], ["outer"], "outer")
    inner = make("Slice", ["outer", names[0], names[2], names[3]], ["inner"], "inner")
    insert_before(model, "model.2.m.0.cv1.conv", outer, inner)
    replace_input(model, "model.2.m.0.cv1.conv", 0, "inner")
    node_of(model, "model.2.m.0.add").input[0] = "inner"


SAME = [
    as_it_is,
    split_by_attribute,
    split_by_input,
    split_by_count,
    slices_for_split,
    factors_exchanged,
    pads_by_rule,
    attributes_left_out,
    attributes_written_out,
    older_upsample,
    through_identity_and_casts,
    weights_through_identity,
    concatenations_nested,
    slices_of_slices,
]


@pytest.mark.parametrize("change", SAME, ids=[change.__name__ for change in SAME])
def test_the_same_network_written_differently(change, exported, detector_weights, tmp_path):
    change(exported)
    (tmp_path / "model.onnx").write_bytes(exported.SerializeToString())
    checkpoint = read_checkpoint(tmp_path / "model.onnx")
    assert isinstance(checkpoint, Checkpoint), checkpoint.reason
    arguments = {"network": NETWORK, "image_size": (64, 64)}
    assert network_graph(checkpoint.weights, **arguments) == network_graph(detector_weights, **arguments)


# Another network of the same weights.


def inputs(name, *tensors):
    def change(model):
        node_of(model, name).input[:] = tensors

    return change


def source(name, tensor):
    return lambda model: replace_input(model, name, 0, tensor)


def attributes(name, **changed):
    return lambda model: set_attributes(model, name, **changed)


def operator(name, kind):
    def change(model):
        node_of(model, name).op_type = kind

    return change


def constant_input(name, position, values, dtype=np.int64):
    def change(model):
        node = node_of(model, name)
        node.input[:] = [*node.input[:position], *[""] * (position - len(node.input)), "changed"]
        add_constant(model, "changed", values, dtype)

    return change


def preprocessing(model):
    insert_before(model, "model.0.conv", make("Mul", ["images", add_constant(model, "by", [2], np.float32)], ["more"]))
    replace_input(model, "model.0.conv", 0, "more")


def pixels_of_bytes(model):
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    insert_before(model, "model.0.conv", make("Cast", ["images"], ["cast"], to=onnx.TensorProto.FLOAT))
    replace_input(model, "model.0.conv", 0, "cast")


def rounding(model):
    insert_before(model, "model.1.conv", make("Cast", ["model.0.act"], ["rounded"], to=onnx.TensorProto.INT32))
    replace_input(model, "model.1.conv", 0, "rounded")


def two_inputs(model):
    model.graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1, 3, 64, 64]))


def attribute_twice(model):
    node_of(model, "model.1.conv").attribute.append(onnx.helper.make_attribute("strides", [2, 2]))


def waits_for_itself(model):
    node_of(model, "model.9.cv1.conv").input[0] = "model.9.cv1.act"


def gap_between_slices(model):
    """Channels 0 to 16 and 20 to 32 are no whole of 32, though the convolution after them would not notice."""
    split = node_of(model, "model.2.split")
    insert_before(
        model, "model.2.split", make("Split", [split.input[0]], ["a", "b", "c"], "three", axis=1, split=[16, 4, 12])
    )
    node_of(model, "model.2.concat").input[:2] = ["a", "c"]


def bilinear_upsample(model):
    older_upsample(model)
    set_attributes(model, "model.10", mode="linear")


def sliced(position, values):
    """Slices for Split, and one input of a slice of layer 2 changed."""

    def change(model):
        slices_for_split(model)
        replace_input(model, "model.2.second_half", position, add_constant(model, "changed", values))

    return change


def sliced_along_two_axes(model):
    sliced(3, [1, 2])(model)
    for position, values in ((1, [16, 0]), (2, [32, 1])):
        replace_input(model, "model.2.second_half", position, add_constant(model, f"changed{position}", values))


def names_of_two_exchanged(model):
    """Two convolutions of one shape change places: all weights are there, each in the other's place."""
    first, second = "model.4.m.0.cv1.conv", "model.4.m.1.cv1.conv"
    for parameter, position in (("weight", 1), ("bias", 2)):
        replace_input(model, first, position, f"{second}.{parameter}")
        replace_input(model, second, position, f"{first}.{parameter}")


# The reason begins so; " | " stands for any text.
DIFFERENT = {
    # What convolutions read.
    "no shortcut": (
        source("model.4.m.1.cv1.conv", "model.4.m.0.cv2.act"),
        "model.4.m.1.cv1.conv reads SiLU of convolution model.4.m.0.cv2.conv | reads add of",
    ),
    "another addend": (
        inputs("model.4.m.1.add", "model.4.second_half", "model.4.m.1.cv2.act"),
        "model.4.cv2.conv reads slice 32, 64 of SiLU of convolution model.4.cv1.conv | reads add of",
    ),
    "addend twice": (
        inputs("model.4.m.0.add", "model.4.m.0.cv2.act", "model.4.m.0.cv2.act"),
        "model.4.m.1.cv1.conv reads SiLU | reads slice 32, 64",
    ),
    "product for sum": (
        operator("model.4.m.0.add", "Mul"),
        "model.4.m.1.cv1.conv reads 'model.4.m.0.add' (Mul) | reads add of",
    ),
    "the other half": (
        source("model.2.m.0.cv1.conv", "model.2.first_half"),
        "model.2.m.0.cv1.conv reads slice 0, 16 of | reads slice 16, 32",
    ),
    "halves exchanged": (
        inputs("model.2.concat", "model.2.second_half", "model.2.first_half", "model.2.m.0.add"),
        "model.2.cv2.conv reads concat of slice 16, 32",
    ),
    "another laye": (
        inputs("model.11", "model.10", "model.5.act"),
        "model.12.cv1.conv reads SiLU of convolution model.5.conv where",
    ),
    "another orde": (
        inputs("model.11", "model.6.cv2.act", "model.10"),
        "model.12.cv1.conv reads SiLU of convolution model.6.cv2.conv | reads upsampling of",
    ),
    "another level of the head": (
        source("model.22.cv2.0.0.conv", "model.18.cv2.act"),
        "model.22.cv2.0.0.conv reads SiLU of convolution model.18.cv2.conv where",
    ),
    "weights exchanged": (names_of_two_exchanged, "model.4.m.0.cv1.conv reads"),
    "preprocessing": (preprocessing, "model.0.conv reads 'more' (Mul) | reads the image"),
    "pixels of bytes": (pixels_of_bytes, "model.0.conv reads | where | reads the image"),
    "two inputs": (two_inputs, "model.0.conv reads 'images' (of no node) | reads the image"),
    "unknown tenso": (inputs("model.1.act", "model.1.conv", "nowhere"), "model.2.cv1.conv reads 'model.1.act' (Mul)"),
    "rounding": (rounding, "model.1.conv reads 'rounded' (Cast) | reads SiLU"),
    "waits for itself": (waits_for_itself, "model.9.cv1.conv is not there"),
    # Activations.
    "another activation": (
        operator("model.3.act.sigmoid", "HardSigmoid"),
        "model.4.cv1.conv reads 'model.3.act' (Mul) | reads SiLU of convolution model.3.conv",
    ),
    "sigmoid alone": (
        source("model.4.cv1.conv", "model.3.act.sigmoid"),
        "model.4.cv1.conv reads Sigmoid of convolution model.3.conv | reads SiLU",
    ),
    "gate of another tenso": (
        inputs("model.4.m.0.cv2.act", "model.4.m.0.cv2.conv", "model.4.m.0.cv1.act.sigmoid"),
        "model.4.m.1.cv1.conv reads 'model.4.m.0.cv2.act' (Mul) where | reads SiLU of",
    ),
    # Slices and concatenations.
    "uneven split": (
        attributes("model.2.split", split=[20, 12]),
        "model.2.m.0.cv1.conv reads slice 20, 32 | reads slice 16, 32",
    ),
    "sizes that do not fit": (
        attributes("model.2.split", split=[16, 17]),
        "model.2.m.0.cv1.conv reads 'model.2.second_half'",
    ),
    "one size": (constant_input("model.2.split", 1, [32]), "model.2.m.0.cv1.conv reads 'model.2.second_half'"),
    "sizes that are no numbers": (
        constant_input("model.2.split", 1, [16, 16], np.float32),
        "model.2.m.0.cv1.conv reads 'model.2.second_half'",
    ),
    "split along rows": (attributes("model.2.split", axis=2), "model.2.m.0.cv1.conv reads 'model.2.second_half'"),
    "split along ONNX's own axis": (
        attributes("model.2.split", axis=None),
        "model.2.m.0.cv1.conv reads 'model.2.second_half'",
    ),
    "concatenation along rows": (
        attributes("model.14", axis=2),
        "model.15.cv1.conv reads 'model.14' (Concat) | reads concat",
    ),
    "gap between slices": (gap_between_slices, "model.2.cv2.conv reads concat of slice 0, 16 | and slice 20, 32 of"),
    "steps of a slice": (sliced(4, [2]), "model.2.m.0.cv1.conv reads 'model.2.second_half' (Slice)"),
    "slice of rows": (sliced(3, [2]), "model.2.m.0.cv1.conv reads 'model.2.second_half' (Slice)"),
    "slice of rows too": (sliced_along_two_axes, "model.2.m.0.cv1.conv reads 'model.2.second_half' (Slice)"),
    # Pooling and upsampling.
    "bilinear Upsample": (bilinear_upsample, "model.12.cv1.conv reads 'model.10' (Upsample)"),
    "another pooling": (
        attributes("model.9.m.1", kernel_shape=[3, 3], pads=[1] * 4),
        "model.9.cv2.conv reads MaxPool kernel [3, 3] | reads MaxPool kernel [5, 5]",
    ),
    "steps of a pooling": (
        attributes("model.9.m.1", strides=[2, 2]),
        "model.9.cv2.conv reads MaxPool | strides [2, 2]",
    ),
    "gaps of a pooling": (
        attributes("model.9.m.0", dilations=[2, 2]),
        "model.9.cv2.conv reads MaxPool | dilations [2, 2]",
    ),
    "averages": (operator("model.9.m.2", "AveragePool"), "model.9.cv2.conv reads 'model.9.m.2' (AveragePool)"),
    "bilinear": (
        attributes("model.10", mode="linear"),
        "model.12.cv1.conv reads 'model.10' (Resize) | reads upsampling",
    ),
    "another grid": (
        attributes("model.10", coordinate_transformation_mode="align_corners"),
        "model.12.cv1.conv reads 'model.10'",
    ),
    "the grid of ONNX": (
        attributes("model.10", coordinate_transformation_mode=None),
        "model.12.cv1.conv reads 'model.10'",
    ),
    "another nearest": (attributes("model.13", nearest_mode="ceil"), "model.15.cv1.conv reads 'model.13'"),
    "another scale": (constant_input("model.13", 2, [1, 1, 2, 3], np.float32), "model.15.cv1.conv reads 'model.13'"),
    "sizes beside scales": (constant_input("model.13", 3, [1, 64, 8, 8]), "model.15.cv1.conv reads 'model.13'"),
    "scales of some axes": (attributes("model.13", axes=[0, 1, 3, 2]), "model.15.cv1.conv reads 'model.13'"),
    # How convolutions move.
    "stride": (
        attributes("model.5.conv", strides=[1, 1]),
        "model.5.conv has strides [1, 1], YOLOv8's has [2, 2]",
    ),
    "pads": (attributes("model.5.conv", pads=[0, 0, 2, 2]), "model.5.conv has pads [0, 0, 2, 2] | [1, 1, 1, 1]"),
    "pads by rule": (
        attributes("model.5.conv", auto_pad="SAME_UPPER", pads=None),
        "model.5.conv has pads SAME_UPPER | [1, 1, 1, 1]",
    ),
    "no pads": (
        attributes("model.6.m.0.cv1.conv", auto_pad="VALID", pads=None),
        "model.6.m.0.cv1.conv has pads [0, 0, 0, 0]",
    ),
    "dilation": (attributes("model.22.cv3.1.1.conv", dilations=[2, 2]), "model.22.cv3.1.1.conv has dilations [2, 2]"),
    "group": (attributes("model.8.cv1.conv", group=2), "model.8.cv1.conv has group 2, YOLOv8's has 1"),
    "kernel": (attributes("model.8.cv1.conv", kernel_shape=[3, 3]), "model.8.cv1.conv has kernel [3, 3] | [1, 1]"),
    "last convolution": (attributes("model.22.cv3.2.2", strides=[2, 2]), "model.22.cv3.2.2 has strides [2, 2]"),
    "attribute twice": (attribute_twice, "model.1.conv is not there, or has an attribute twice"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_another_network_of_the_same_weights_is_kept(name, exported, tmp_path):
    change, reason = DIFFERENT[name]
    change(exported)
    (tmp_path / "model.onnx").write_bytes(exported.SerializeToString())
    kept = read_checkpoint(tmp_path / "model.onnx")
    assert isinstance(kept, DecodedGraph)
    assert kept.model == exported
    pieces = [re.escape(piece) for piece in f"convolution {reason}".split(" | ")]
    assert re.match(".*".join(pieces), kept.reason), kept.reason


# Graphs made to take long.


def chain(model, operators, source="model.0.act"):
    """Nodes one after the other behind `source`, and what model.1 then reads."""
    nodes = []
    for index, (operator, count, given) in enumerate(operators):
        nodes.append(make(operator, [source] * count, [f"chain{index}"], f"chain{index}", **given))
        source = f"chain{index}"
    insert_before(model, "model.1.conv", *nodes)
    replace_input(model, "model.1.conv", 0, source)


HOSTILE = {
    "long chain": [("Sigmoid", 1, {})] * 20_000,
    "sums that double": [("Add", 2, {})] * 5_000,
    "concatenations that double": [("Concat", 2, {"axis": 1})] * 5_000,
    "concatenations that double behind pooling": [("Concat", 2, {"axis": 1}), ("MaxPool", 1, {})] * 3_000,
    "concatenations of many": [("Concat", 1_000, {"axis": 1})] * 50,
    "slices of one part": [("Split", 1, {"axis": 1})] * 5_000,
    "unknown operators": [("Softmax", 1, {})] * 5_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_the_work_is_bounded_by_the_number_of_nodes(name, exported, folded_weights, monkeypatch):
    before = len(exported.graph.node)
    chain(exported, HOSTILE[name])
    edges = sum(len(node.input) + len(node.output) for node in exported.graph.node)
    sizes = []
    intern = expressions.Expressions._intern

    def counted(self, expression, channels):
        sizes.append(1 + len(expression.sources))
        assert channels is None or channels <= 2**31
        return intern(self, expression, channels)

    monkeypatch.setattr(expressions.Expressions, "_intern", counted)
    reason = difference_from_network(exported, folded_weights, NETWORK)
    changed = name != "slices of one part"
    assert (reason is not None) == changed
    assert reason is None or (reason.startswith("convolution model.1.conv reads ") and len(reason) < 1000)
    assert before < len(exported.graph.node)
    assert sum(sizes) < 3 * edges + 64 * len(exported.graph.node)


def test_a_split_of_very_many_parts(exported, folded_weights):
    parts = [f"part{index}" for index in range(100_000)]
    insert_before(exported, "model.1.conv", make("Split", ["model.0.act"], parts, "parts", axis=1))
    assert difference_from_network(exported, folded_weights, NETWORK) is None
    replace_input(exported, "model.1.conv", 0, parts[0])
    assert "'part0'" in difference_from_network(exported, folded_weights, NETWORK)


def test_large_constants_are_not_read(exported, folded_weights, monkeypatch):
    replace_input(exported, "model.10", 2, add_constant(exported, "large", np.ones(1000), np.float32))
    read = []
    to_array = onnx.numpy_helper.to_array
    monkeypatch.setattr(onnx.numpy_helper, "to_array", lambda tensor: read.append(tensor.name) or to_array(tensor))
    assert "model.12.cv1.conv reads 'model.10'" in difference_from_network(exported, folded_weights, NETWORK)
    assert set(read) == {"upsample.2"}


def test_constants_that_lie(exported, folded_weights):
    """A constant whose data does not match its shape is none."""
    scales = add_constant(exported, "lie", [1, 1, 2, 2], np.float32)
    replace_input(exported, "model.10", 2, scales)
    assert difference_from_network(exported, folded_weights, NETWORK) is None
    exported.graph.initializer[-1].raw_data = b""
    assert "model.12.cv1.conv reads 'model.10'" in difference_from_network(exported, folded_weights, NETWORK)
    exported.graph.initializer[-1].dims[:] = [2**62, 2**62]
    assert "model.12.cv1.conv reads 'model.10'" in difference_from_network(exported, folded_weights, NETWORK)


def test_names_of_any_length(exported, folded_weights):
    name = "x" * 10**6
    insert_before(exported, "model.1.conv", make("Softmax", ["model.0.act"], [name], name))
    replace_input(exported, "model.1.conv", 0, name)
    assert len(difference_from_network(exported, folded_weights, NETWORK)) < 1000
