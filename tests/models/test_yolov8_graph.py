"""The emitted graphs, run by OpenVINO in float32, against the network in plain NumPy; and what the file is made of."""

import math
import re

import numpy as np
import onnx
import openvino
import pytest
from plain_yolov8 import EPSILON, live_network, live_weights, plain_heads
from rfkernels.models.graph import fold_batch_norm
from rfkernels.models.yolov8.graph import network_graph
from rfkernels.models.yolov8.network import Network
from rfkernels.models.yolov8.recognise import recognise
from rfkernels.models.yolov8.weights import convolutions

from rfkernels.errors import CheckpointError, InvalidArgumentError

NETWORK = Network("detect", "n", 3)
OUTPUTS = ["box_8", "box_16", "box_32", "class_8", "class_16", "class_32"]


@pytest.fixture(scope="module")
def nano():
    return live_weights("n", class_count=3, seed=0)


def run(model, images):
    """What OpenVINO computes of a network, or of its file's bytes."""
    core = openvino.Core()
    file = model if isinstance(model, bytes) else model.SerializeToString()
    compiled = core.compile_model(core.read_model(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result = compiled({"images": images})
    return {output.get_any_name(): result[output] for output in compiled.outputs}


# A random network amplifies rounding errors, the deeper the more: float32 engines differ from float64 by up to 1.4e-3
# of the largest value on pictures this small. A wrong block changes outputs by about their own size.
TOLERANCE = 5e-3


def assert_equal_heads(actual, expected):
    """Equal, and alive, because constant outputs would be equal whatever the graph does."""
    assert list(actual) == list(expected)
    for name, values in expected.items():
        assert values.std(axis=tuple(range(values.ndim))[-2:]).mean() > 0.1 or values[0].size == 1, name
        assert actual[name].shape == (1, *values.shape), name
        np.testing.assert_allclose(actual[name][0], values, rtol=0, atol=TOLERANCE * np.abs(values).max(), err_msg=name)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (96, 160), (640, 384)])
def test_graph_equals_the_definition_at_awkward_sizes(height, width, nano):
    image = np.random.default_rng(height).random((3, height, width), dtype=np.float32)
    model = network_graph(nano, NETWORK, image_size=(height, width))
    assert_equal_heads(run(model, image[None]), plain_heads(nano, "n", 3, image))


@pytest.mark.parametrize(
    "network",
    [
        *(Network("detect", *rest) for rest in (("n", 1), ("s", 80), ("m", 2), ("l", 365), ("x", 5))),
        *(Network("segment", *rest) for rest in (("n", 80), ("s", 1), ("m", 3), ("l", 2), ("x", 4))),
        Network("pose", "n", 1, (17, 3)),
        Network("pose", "s", 3, (4, 2)),
        Network("pose", "m", 2, (1, 2)),
        Network("pose", "l", 1, (5, 3)),
        Network("pose", "x", 80, (90, 3)),
    ],
    ids=str,
)
def test_every_network_of_levels_equals_the_definition(network):
    channels = math.prod(network.keypoint_shape or (0,))
    weights, image, outputs = live_network(
        network.scale, network.class_count, 1, (64, 96), network.task, keypoint_channels=channels
    )
    assert recognise(weights, network.keypoint_shape) == network
    file = network_graph(weights, network, image_size=(64, 96)).SerializeToString()
    assert_equal_heads(run(file, image[None]), outputs)
    onnx.checker.check_model(file, full_check=True)


@pytest.mark.parametrize(
    ("scale", "class_count", "side"), [("n", 1000, 32), ("s", 1, 64), ("m", 10, 65), ("l", 2, 50), ("x", 3, 37)]
)
def test_every_classifier_equals_the_definition_at_any_size(scale, class_count, side):
    network = Network("classify", scale, class_count)
    # Made up at 64 x 64: scaled to a single pixel, which may be near 0, weights would be without bounds.
    weights = live_weights(scale, class_count, 1, "classify")
    assert recognise(weights) == network
    image = np.random.default_rng(side).random((3, side, side), dtype=np.float32)
    outputs = plain_heads(weights, scale, class_count, image, "classify")
    file = network_graph(weights, network, image_size=(side, side)).SerializeToString()
    assert_equal_heads(run(file, image[None]), outputs)
    onnx.checker.check_model(file, full_check=True)


def test_dynamic_batch_gives_what_single_pictures_give(nano):
    images = np.random.default_rng(3).random((3, 3, 64, 32), dtype=np.float32)
    model = network_graph(nano, NETWORK, image_size=(64, 32), batch="dynamic")
    together = run(model, images)
    for index in range(3):
        alone = run(model, images[index : index + 1])
        for name in OUTPUTS:
            np.testing.assert_allclose(together[name][index], alone[name][0], rtol=1e-4, atol=1e-4)


def test_folded_weights_give_the_same_file(nano):
    folded = dict(nano)
    for convolution in convolutions(NETWORK):
        if convolution.batch_norm:
            weight, bias = fold_batch_norm(nano, convolution.name, EPSILON)
            for key in ("weight", "bias", "running_mean", "running_var"):
                del folded[f"{convolution.name}.bn.{key}"]
            folded |= {f"{convolution.name}.conv.weight": weight, f"{convolution.name}.conv.bias": bias}
    arguments = {"network": NETWORK, "image_size": (64, 64)}
    assert network_graph(folded, **arguments) == network_graph(nano, **arguments)


def test_same_weights_give_the_same_bytes_in_any_order(nano):
    shuffled = dict(sorted(nano.items(), reverse=True))
    first, second = (
        network_graph(weights, NETWORK, image_size=(64, 64), metadata={"b": "2", "a": "1"}).SerializeToString(
            deterministic=True
        )
        for weights in (nano, shuffled)
    )
    assert first == second


def test_the_file_is_what_engines_fuse(nano):
    model = network_graph(nano, NETWORK, image_size=(64, 64), batch=2)
    onnx.checker.check_model(model, full_check=True)
    assert (model.opset_import[0].version, model.ir_version) == (17, 8)
    operators = [node.op_type for node in model.graph.node]
    assert {kind: operators.count(kind) for kind in set(operators)} == {
        "Conv": 63,
        "Sigmoid": 57,
        "Mul": 57,
        "Slice": 8,
        "Add": 6,
        "Concat": 13,
        "MaxPool": 3,
        "Resize": 2,
    }
    names = [node.name for node in model.graph.node]
    assert names[:3] == ["model.0.conv", "model.0.act.sigmoid", "model.0.act"]
    assert {"model.2.m.0.cv1.conv", "model.9.m.2", "model.22.cv3.2.2"} <= set(names)
    assert [dimension.dim_value for dimension in model.graph.input[0].type.tensor_type.shape.dim] == [2, 3, 64, 64]


@pytest.mark.parametrize("size", [(0, 32), (33, 32), (32, -32), (32, 16416), (True, 32)])
def test_image_sizes_the_network_cannot_have(size, nano):
    with pytest.raises(InvalidArgumentError, match="image_size"):
        network_graph(nano, NETWORK, image_size=size)


@pytest.mark.parametrize("size", [(31, 31), (64, 32), (16385, 16385), (64.0, 64.0), (True, True)])
def test_image_sizes_a_classifier_cannot_have(size):
    weights = live_weights("n", 3, seed=0, task="classify")
    with pytest.raises(InvalidArgumentError, match="image_size"):
        network_graph(weights, Network("classify", "n", 3), image_size=size)


def test_scales_that_there_are_not(nano):
    with pytest.raises(InvalidArgumentError, match="scale: got 'z'"):
        network_graph(nano, Network("detect", "z", 3), image_size=(32, 32))


@pytest.mark.parametrize("batch", [0, -1, True, "many", 1.5])
def test_batches_the_network_cannot_have(batch, nano):
    with pytest.raises(InvalidArgumentError, match="batch"):
        network_graph(nano, NETWORK, image_size=(32, 32), batch=batch)


def changed(weights, key, change):
    result = dict(weights)
    if change is None:
        del result[key]
    else:
        result[key] = change(result[key].copy())
    return result


def with_value(value):
    def change(array):
        array.flat[-1] = value
        return array

    return change


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("model.4.cv1.conv.weight", None, "missing"),
        ("model.22.cv2.1.2.bias", None, "missing"),
        ("model.0.bn.running_var", None, "missing"),
        ("model.4.cv1.conv.weight", lambda array: array[:-1], r"got shape \(63, 64, 1, 1\), expected \(64, 64, 1, 1\)"),
        ("model.22.cv3.1.2.weight", lambda array: array[..., 0], "got shape"),
        ("model.12.m.0.cv2.conv.weight", with_value(np.nan), "NaN"),
        ("model.22.cv2.0.2.bias", with_value(np.inf), "infinite"),
        ("model.6.cv1.bn.running_var", with_value(-0.5), "negative variance"),
        ("model.6.cv1.bn.running_mean", lambda array: np.full_like(array, 3.4e38), "do not fit float32"),
        ("model.6.cv1.bn.weight", lambda array: array.astype(np.float64), "float64"),
        ("model.22.dfl.conv.weight", lambda array: array + 1, "fixed values"),
    ],
)
def test_weights_that_are_wrong_are_named(key, change, message, nano):
    with pytest.raises(CheckpointError, match=message) as caught:
        network_graph(changed(nano, key, change), NETWORK, image_size=(32, 32))
    assert key.removesuffix(".bn.running_mean") in str(caught.value)


def test_unknown_weights_are_named(nano):
    with pytest.raises(
        CheckpointError, match=r"model\.23\.conv\.weight: not a weight of YOLOv8n detect with 3 classes"
    ):
        network_graph(nano | {"model.23.conv.weight": np.zeros(1, np.float32)}, NETWORK, image_size=(32, 32))


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        ({"model.22.cv4.0.2.weight": (1, 16, 1, 1)}, "YOLOv8-obb"),
        ({"model.22.cv4.0.logit_scale": (1,)}, "YOLOv8-world"),
        ({"model.22.cv3.0.0.0.conv.weight": (64, 1, 3, 3)}, "YOLO11"),
        ({"model.23.cv3.0.0.0.conv.weight": (64, 1, 3, 3), "model.23.proto.cv1.conv.weight": (1,)}, "YOLO11"),
        ({"model.28.cv2.3.2.weight": (64, 64, 1, 1)}, "YOLOv8-p2"),
        ({"model.30.cv2.3.2.weight": (64, 64, 1, 1)}, "YOLOv8-p6"),
        ({"model.30.cv2.3.2.weight": (1,), "model.30.cv4.0.2.weight": (51, 51, 1, 1)}, "YOLOv8-p6"),
        ({"model.23.one2one_cv2.0.0.conv.weight": (64, 64, 3, 3)}, "YOLOv10"),
        ({"model.24.m.0.weight": (255, 128, 1, 1), "model.24.m.2.weight": (255, 128, 1, 1)}, "YOLOv5"),
        ({"model.2.cv3.conv.weight": (64, 64, 1, 1)}, "YOLOv5u"),
        ({"model.24.cv3.0.2.weight": (1,)}, "whose head is layer 24"),
    ],
)
def test_other_networks_are_refused_by_name(extra, name, nano):
    weights = nano | {key: np.zeros(shape, np.float32) for key, shape in extra.items()}
    with pytest.raises(CheckpointError, match=f"{name}.*this version builds YOLOv8 detect, segment, pose and classify"):
        recognise(weights)


@pytest.mark.parametrize(
    ("head", "extra", "name"), [(10, (), "YOLO11-cls"), (9, ("model.2.cv3.conv.weight",), "YOLOv5-cls")]
)
def test_other_classifiers_are_refused_by_name(head, extra, name):
    keys = ("model.0.conv.weight", "model.2.m.0.cv1.conv.weight", f"model.{head}.linear.weight", *extra)
    with pytest.raises(CheckpointError, match=f"{name}.*this version builds"):
        recognise({key: np.zeros((16, 3, 3, 3), np.float32) for key in keys})


def pose_weights(channels, **given):
    weights = {
        key: np.zeros(shape, np.float32)
        for key, shape in {
            "model.0.conv.weight": (16, 3, 3, 3),
            "model.22.cv3.0.2.weight": (2, 64, 1, 1),
            "model.22.cv3.0.2.bias": (2,),
            "model.22.cv4.0.2.weight": (channels, 64, 1, 1),
        }.items()
    }
    return recognise(weights, **given)


@pytest.mark.parametrize(
    ("channels", "shape"), [(51, (17, 3)), (8, (4, 2)), (15, (5, 3)), (2, (1, 2)), (3, (1, 3)), (34, (17, 2))]
)
def test_a_shape_of_keypoints_that_channels_leave_no_choice_of(channels, shape):
    assert pose_weights(channels) == Network("pose", "n", 2, shape)


@pytest.mark.parametrize("shape", [(6, 2), (4, 3)])
def test_a_shape_of_keypoints_that_is_given(shape):
    assert pose_weights(12, keypoint_shape=shape) == Network("pose", "n", 2, shape)


@pytest.mark.parametrize(
    ("channels", "given", "message"),
    [
        (12, None, r"12 channels may be 6x2 or 4x3: give .*--keypoint-shape"),
        (51, (17, 2), r"got \[17, 2\], which is 34 numbers, but the head gives 51"),
        (5, None, "got 5 channels, expected 2 or 3 for each keypoint"),
    ],
)
def test_shapes_of_keypoints_that_are_open_or_wrong(channels, given, message):
    with pytest.raises(CheckpointError, match=message):
        pose_weights(channels, keypoint_shape=given)


@pytest.mark.parametrize(
    ("task", "key"),
    [
        ("segment", "model.22.proto.upsample.bias"),
        ("segment", "model.22.proto.cv3.conv.weight"),
        ("pose", "model.22.cv4.1.0.bn.bias"),
        ("classify", "model.9.conv.bn.weight"),
    ],
)
def test_weights_of_other_heads_that_are_wrong_are_named(task, key):
    network = Network(task, "n", 2, (2, 2) if task == "pose" else None)
    weights = live_weights("n", 2, 0, task, keypoint_channels=4)
    with pytest.raises(CheckpointError, match=rf"{re.escape(key)}: missing; YOLOv8n {task} with 2 classes"):
        network_graph(changed(weights, key, None), network, image_size=(32, 32))
    with pytest.raises(CheckpointError, match=rf"{re.escape(key)}: got shape .*, expected "):
        network_graph(changed(weights, key, lambda array: array[:1]), network, image_size=(32, 32))
    with pytest.raises(CheckpointError, match=rf"{re.escape(key)}: got 1 values that are not finite"):
        network_graph(changed(weights, key, with_value(np.nan)), network, image_size=(32, 32))


def test_weights_that_are_no_yolov8_at_all():
    with pytest.raises(CheckpointError, match=r"model\.0\.conv\.weight: missing.*'fc\.weight'"):
        recognise({"fc.weight": np.zeros((3, 3), np.float32)})
