"""Segment, pose and classify: read from every kind of file, built, and refused where a file is not what it says."""

import json

import numpy as np
import onnx
import openvino
import pytest
from plain_yolov8 import live_weights
from rfkernels.models.yolov8.graph import network_graph
from rfkernels.models.yolov8.network import Network
from weight_files import ABSENT, TorchFile, module, safetensors_bytes, whole_model

from rfkernels.builder import BuildOptions, build, read_checkpoint
from rfkernels.cli.main import main
from rfkernels.errors import CheckpointError, InvalidArgumentError, ModelFileError
from rfkernels.model_metadata import Keypoints, ModelMetadata, Preprocessing, read_model_metadata

NETWORKS = {
    "segment": Network("segment", "n", 2),
    "pose": Network("pose", "n", 2, (4, 2)),
    "classify": Network("classify", "n", 2),
}
TASKS = {
    "segment": "instance-segmentation",
    "pose": "keypoint-detection",
    "classify": "classification",
}
HEADS = {"segment": "model.22", "pose": "model.22", "classify": "model.9"}
OPTIONS = BuildOptions(image_size=64, class_names=("cat", "dog"))


@pytest.fixture(params=NETWORKS)
def task(request):
    return request.param


def write_whole_model(path, weights, network, changed=None, epsilon=1e-3, **attributes):
    file = TorchFile()
    model = whole_model(file, weights, half=False, changed=changed, epsilon=epsilon, network=network, **attributes)
    file.write(path, {"model": model})
    return path


def write_onnx(path, weights, network, change=None, **properties):
    model = network_graph(weights, NETWORKS[network], image_size=(64, 64))
    if change is not None:
        change(model)
    onnx.helper.set_model_props(model, properties)
    path.write_bytes(model.SerializeToString())
    return path


def assert_weights(checkpoint, weights, network):
    assert checkpoint.network == network
    assert checkpoint.weights.keys() == weights.keys()
    for key, values in weights.items():
        np.testing.assert_array_equal(checkpoint.weights[key], values, err_msg=key)


@pytest.mark.parametrize("epsilon", [1e-5, 0.25])
def test_whole_models_and_their_epsilon(epsilon, task, weights_of_task, tmp_path):
    weights = weights_of_task[task]
    changed = {"model.22": {"kpt_shape": [4, 2]}} if task == "pose" else None
    path = write_whole_model(tmp_path / "a.pt", weights, task, changed, epsilon, task=task, args={"imgsz": 224})
    checkpoint = read_checkpoint(path)
    assert_weights(checkpoint, weights, NETWORKS[task])
    assert (checkpoint.batch_norm_epsilon, checkpoint.image_size) == (epsilon, (224, 224))


def test_the_epsilon_of_a_file_that_does_not_say_it(task, weights_of_task, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes(weights_of_task[task]))
    checkpoint = read_checkpoint(tmp_path / "a.safetensors")
    assert_weights(checkpoint, weights_of_task[task], NETWORKS[task])
    assert checkpoint.batch_norm_epsilon == (1e-5 if task == "classify" else 1e-3)


@pytest.mark.parametrize("stride", ["1", "32", "8", "64"])
def test_strides_that_a_file_may_name(stride, task, weights_of_task, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes(weights_of_task[task], {"stride": stride}))
    if stride in ("32", "1" if task == "classify" else "32"):
        read_checkpoint(tmp_path / "a.safetensors")
    else:
        with pytest.raises(CheckpointError, match=f"stride: got {stride}, expected"):
            read_checkpoint(tmp_path / "a.safetensors")


def test_onnx_files_are_emitted_anew(task, weights_of_task, tmp_path):
    path = write_onnx(tmp_path / "a.onnx", weights_of_task[task], task, task=task)
    checkpoint = read_checkpoint(path)
    assert checkpoint.network == NETWORKS[task]
    arguments = {"network": NETWORKS[task], "image_size": (96, 96)}
    assert network_graph(checkpoint.weights, **arguments) == network_graph(weights_of_task[task], **arguments)


def test_what_is_built(task, weights_of_task, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes(weights_of_task[task], {"task": TASKS[task]}))
    report = build(tmp_path / "a.safetensors", tmp_path / "model.onnx", OPTIONS)
    metadata = read_model_metadata(tmp_path / "model.onnx")
    assert report.metadata == metadata
    assert report.network == NETWORKS[task]
    assert (metadata.task, metadata.scale, metadata.class_names) == (TASKS[task], "n", ("cat", "dog"))
    assert metadata.stride == (1 if task == "classify" else 32)
    mode = "shortest_side_crop" if task == "classify" else "letterbox"
    assert metadata.preprocessing == Preprocessing(resize_mode=mode)
    assert (metadata.keypoints is not None) == (task == "pose")
    folded = sum(
        values.size
        for key, values in weights_of_task[task].items()
        if not key.endswith((".bn.weight", ".running_mean", ".running_var", ".dfl.conv.weight"))
    )
    assert report.parameter_count == folded  # The shift of a normalisation becomes a bias, its factor disappears.
    compiled = openvino.Core().compile_model(str(tmp_path / "model.onnx"), "CPU")
    shapes = {output.any_name: list(output.shape) for output in compiled.outputs}
    assert shapes.get("prototypes") == ([1, 32, 16, 16] if task == "segment" else None)
    assert shapes.get("keypoints_16") == ([1, 8, 4, 4] if task == "pose" else None)
    assert shapes.get("logits") == ([1, 2] if task == "classify" else None)


@pytest.mark.parametrize(("side", "fits"), [(32, True), (37, True), (225, True), (31, False), (16385, False)])
def test_sides_of_a_classifier(side, fits, weights_of_task, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes(weights_of_task["classify"]))
    options = BuildOptions(image_size=side, class_names=("cat", "dog"))
    if fits:
        report = build(tmp_path / "a.safetensors", tmp_path / "model.onnx", options)
        assert report.metadata.image_size == (side, side)
    else:
        with pytest.raises(InvalidArgumentError, match=r"imgsz|image_size"):
            build(tmp_path / "a.safetensors", tmp_path / "model.onnx", options)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, Preprocessing(resize_mode="shortest_side_crop")),
        ({}, Preprocessing(resize_mode="shortest_side_crop")),
        ({"mean": (0.5, 0.5, 0.5)}, Preprocessing(resize_mode="shortest_side_crop", mean=(0.5, 0.5, 0.5))),
        ({"resize_mode": "stretch"}, Preprocessing(resize_mode="stretch")),
        (Preprocessing(pad_value=0), Preprocessing(pad_value=0)),
    ],
)
def test_preprocessing_is_the_tasks_own_but_for_what_is_wanted(wanted, expected, weights_of_task, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes(weights_of_task["classify"]))
    options = BuildOptions(image_size=64, class_names=("cat", "dog"), preprocessing=wanted)
    report = build(tmp_path / "a.safetensors", tmp_path / "model.onnx", options)
    assert report.metadata.preprocessing == expected


@pytest.mark.parametrize("wanted", [{"resize": "stretch"}, "stretch", {1: 2}])
def test_preprocessing_that_there_is_not(wanted, weights_of_task, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes(weights_of_task["classify"]))
    options = BuildOptions(image_size=64, class_names=("cat", "dog"), preprocessing=wanted)
    with pytest.raises(
        InvalidArgumentError, match=r"preprocessing: got .*expected a mapping of resize_mode, pad_value"
    ):
        build(tmp_path / "a.safetensors", tmp_path / "model.onnx", options)


# Whole models whose modules are others.

IDENTITY = "torch.nn.modules.linear.Identity"


@pytest.mark.parametrize(
    ("task", "path", "attributes", "message"),
    [
        ("segment", "model.22", {"class": "ultralytics.nn.modules.head.Detect"}, "got Detect, expected Segment"),
        ("segment", "model.22", {"nm": 16}, "nm: got 16, expected 32"),
        ("segment", "model.22", {"npr": 32}, "npr: got 32, expected 64"),
        ("segment", "model.22", {"stride": [4.0, 8.0, 16.0]}, r"stride: got \[4.0, 8.0, 16.0\]"),
        ("segment", "model.22.proto", {"class": "ultralytics.nn.modules.block.Proto26"}, "got Proto26, expected Proto"),
        ("segment", "model.22.proto.upsample", {"class": "torch.nn.modules.conv.Conv2d"}, "expected ConvTranspose2d"),
        ("segment", "model.22.proto.upsample", {"stride": (1, 1)}, r"stride: got \(1, 1\), expected 2"),
        ("segment", "model.22.proto.upsample", {"output_padding": (1, 1)}, "output_padding: got"),
        ("segment", "model.22.proto.upsample", {"padding": ABSENT}, "padding: got nothing, expected 0"),
        ("segment", "model.22.proto.cv3.act", {"class": IDENTITY}, "got Identity, expected SiLU"),
        ("segment", "model.22.cv4", {"class": "torch.nn.modules.container.Sequential"}, "expected ModuleList"),
        ("pose", "model.22", {"class": "ultralytics.nn.modules.head.OBB"}, "got OBB, expected Pose"),
        ("pose", "model.22", {"nk": 51}, "nk: got 51, expected 8"),
        ("pose", "model.22.cv4.1", {"children": lambda children: dict(reversed(children.items()))}, "got members 2"),
        ("classify", "model.9", {"class": "ultralytics.nn.modules.head.Detect"}, "got Detect, expected Classify"),
        ("classify", "model.9", {"f": -2}, "f: got -2, expected -1"),
        ("classify", "model.9.pool", {"output_size": 2}, "output_size: got 2, expected 1"),
        ("classify", "model.9.pool", {"class": "torch.nn.modules.pooling.AdaptiveMaxPool2d"}, "expected AdaptiveAvg"),
        ("classify", "model.9.drop", {"class": IDENTITY}, "got Identity, expected Dropout"),
        ("classify", "model.9.linear", {"class": "torch.nn.modules.linear.NonDynamic"}, "expected Linear"),
        ("classify", "model.9.conv.conv", {"stride": (2, 2)}, r"stride: got \(2, 2\), expected 1"),
    ],
)
def test_one_thing_changed_in_a_head(task, path, attributes, message, weights_of_task, tmp_path):
    file = write_whole_model(tmp_path / "a.pt", weights_of_task[task], task, {path: attributes})
    with pytest.raises(CheckpointError, match=rf"{path}(\.\w+)?: .*{message}|{path}\.{message}"):
        read_checkpoint(file)


def test_a_module_too_many_in_a_head(task, weights_of_task, tmp_path):
    more = {HEADS[task]: {"children": lambda children: children | {"more": module(IDENTITY)}}}
    path = write_whole_model(tmp_path / "a.pt", weights_of_task[task], task, more)
    with pytest.raises(CheckpointError, match=r"\.more: got Identity, expected no such module"):
        read_checkpoint(path)


# Graphs of the same weights that are other networks: only a detector's can be used as it is.


def node_of(model, name):
    return next(node for node in model.graph.node if node.name == name)


def attribute(name, **values):
    def change(model):
        node = node_of(model, name)
        kept = [one for one in node.attribute if one.name not in values]
        del node.attribute[:]
        node.attribute.extend([*kept, *(onnx.helper.make_attribute(key, value) for key, value in values.items())])

    return change


def source(name, tensor):
    def change(model):
        node_of(model, name).input[0] = tensor

    return change


def operator(name, kind):
    def change(model):
        node_of(model, name).op_type = kind

    return change


def without_name(name):
    def change(model):
        node = node_of(model, name)
        next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1]).name = "nameless"
        node.input[1] = "nameless"
        node.name = "nameless"

    return change


UPSAMPLE, MATRIX = "model.22.proto.upsample", "model.9.linear"


@pytest.mark.parametrize(
    ("task", "change", "reason"),
    [
        ("segment", attribute(UPSAMPLE, strides=[1, 1]), r"proto\.upsample has strides \[1, 1\]"),
        ("segment", attribute(UPSAMPLE, group=2), r"proto\.upsample has group 2"),
        ("segment", attribute(UPSAMPLE, output_padding=[1, 1]), r"proto\.upsample is not there"),
        ("segment", source(UPSAMPLE, "model.22.proto.cv1.conv"), r"proto\.upsample reads convolution model\.22\.proto"),
        ("segment", operator("model.22.proto.cv3.act.sigmoid", "HardSigmoid"), r"prototypes are SiLU of convolution"),
        ("segment", source("model.22.cv4.0.0.conv", "model.18.cv2.act"), r"cv4\.0\.0\.conv reads SiLU"),
        ("segment", without_name(UPSAMPLE), r"proto\.upsample\.weight: missing"),
        ("segment", without_name("model.22.cv4.2.2"), "has no name of a module"),
        ("pose", source("model.22.cv4.1.1.conv", "model.22.cv4.1.0.conv"), r"cv4\.1\.1\.conv reads convolution"),
        ("pose", without_name("model.0.conv"), "has no name of a module"),
        ("classify", attribute(MATRIX, alpha=0.5), r"model\.9\.linear is not there"),
        ("classify", attribute(MATRIX, transB=0), r"model\.9\.linear is not there"),
        ("classify", operator("model.9.means.pool", "GlobalMaxPool"), r"model\.9\.linear reads .*Flatten"),
        ("classify", attribute("model.9.means", axis=2), r"model\.9\.linear reads 'model\.9\.means'"),
        (
            "classify",
            source("model.9.means.pool", "model.9.conv.conv"),
            r"model\.9\.linear reads convolution model\.9\.conv\.conv",
        ),
    ],
)
def test_graphs_of_the_same_weights_that_are_other_networks(task, change, reason, weights_of_task, tmp_path):
    path = write_onnx(tmp_path / "a.onnx", weights_of_task[task], task, change, task=task)
    with pytest.raises(CheckpointError, match=rf"a {task} graph that .*{reason}.*build from the \.pt"):
        read_checkpoint(path)


# Keypoints: their shape, names and skeletons.


def built_keypoints(tmp_path, weights, metadata=None, **options):
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes(weights, metadata))
    options = BuildOptions(image_size=64, class_names=("cat", "dog"), **options)
    return build(tmp_path / "a.safetensors", tmp_path / "model.onnx", options).metadata.keypoints


NAMES = ["nose", "left", "right", "tail"]


@pytest.mark.parametrize(
    ("metadata", "options", "names", "skeletons"),
    [
        ({}, {}, [["0", "1", "2", "3"]] * 2, [[], []]),
        ({"kpt_names": NAMES, "skeleton": [[0, 1], [0, 2]]}, {}, [NAMES] * 2, [[(0, 1), (0, 2)]] * 2),
        ({"kpt_names": {"0": NAMES, "1": NAMES[:2]}}, {}, [NAMES, NAMES[:2]], [[], []]),
        ({"kpt_names": {"1": NAMES}, "skeleton": {"1": [[3, 0]]}}, {}, [["0", "1", "2", "3"], NAMES], [[], [(3, 0)]]),
        ({"kpt_names": NAMES}, {"keypoint_names": list("abcd")}, [list("abcd")] * 2, [[], []]),
        ({"kpt_names": NAMES, "skeleton": [[0, 1]]}, {"skeleton": [(2, 3)]}, [NAMES] * 2, [[(2, 3)]] * 2),
        ({"kpt_names": NAMES, "skeleton": [[0, 1]]}, {"skeleton": []}, [NAMES] * 2, [[], []]),
        ({}, {"keypoint_names": {0: ["a"]}, "skeleton": {1: [(0, 3)]}}, [["a"], list("0123")], [[], [(0, 3)]]),
    ],
)
def test_names_and_skeletons(metadata, options, names, skeletons, weights_of_task, tmp_path):
    metadata = {key: json.dumps(value) for key, value in metadata.items()}
    keypoints = built_keypoints(tmp_path, weights_of_task["pose"], metadata, **options)
    assert (keypoints.count, keypoints.values) == (4, 2)
    assert keypoints.names == tuple(map(tuple, names))
    assert keypoints.skeletons == tuple(map(tuple, skeletons))


@pytest.mark.parametrize("generated", [True, False])
def test_coco_names_what_nobody_has_named(generated, tmp_path):
    weights = live_weights("n", 2, 0, "pose", keypoint_channels=51)
    names = {str(index): [str(number) for number in range(17)] for index in range(2)}
    keypoints = built_keypoints(tmp_path, weights, {"kpt_names": json.dumps(names)} if generated else None)
    assert (keypoints.count, keypoints.values) == (17, 3)
    assert keypoints.names[1][:3] == ("nose", "left_eye", "right_eye")
    assert keypoints.names[0][-1] == "right_ankle"
    assert len(keypoints.skeletons[0]) == 19
    joined = {frozenset(keypoints.names[0][end] for end in edge) for edge in keypoints.skeletons[0]}
    assert {frozenset(("left_wrist", "left_elbow")), frozenset(("right_knee", "right_hip"))} < joined


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"kpt_names": NAMES[:3]}, "got 3 names, expected one for each of 4"),
        ({"kpt_names": {"2": NAMES}}, "got class 2, the head has 2 classes"),
        ({"kpt_names": {"x": NAMES}}, "a class that is no number"),
        ({"kpt_names": {"0": [*NAMES, "more"]}}, "got 5 names for a class, expected 1 to 4"),
        ({"kpt_names": {"0": []}}, "expected a list of 1 to"),
        ({"kpt_names": [1.5, "a", "b", "c"]}, "got a float"),
        ({"kpt_names": "abcd"}, "expected a list of 1 to"),
        ({"skeleton": [[0, 4]]}, r"got \[0, 4\], expected keypoints 0 to 3"),
        ({"skeleton": [[0, 0]]}, "pairs of two different keypoints"),
        ({"skeleton": [[0, -1]]}, "pairs of two different keypoints"),
        ({"skeleton": [[0, 10**30]]}, "pairs of two different keypoints"),
        ({"skeleton": [[0, 1, 2]]}, "pairs of two different keypoints"),
        ({"skeleton": {"0": [[0, True]]}}, "pairs of two different keypoints"),
        ({"kpt_names": {"0": ["a"]}, "skeleton": [[0, 1]]}, "expected keypoints 0 to 0"),
        ({"kpt_shape": [17, 3]}, r"got \[17, 3\], which is 51 numbers, but the head gives 8"),
        ({"kpt_shape": [2, 4]}, "kpt_shape: expected"),
        ({"kpt_shape": [0, 3]}, "kpt_shape: expected"),
        ({"kpt_shape": 4}, "kpt_shape: expected"),
    ],
)
def test_files_that_lie_about_keypoints(metadata, message, weights_of_task, tmp_path):
    with pytest.raises(CheckpointError, match=message):
        built_keypoints(tmp_path, weights_of_task["pose"], {key: json.dumps(value) for key, value in metadata.items()})


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("pose", {"keypoint_shape": (2, 4)}, "keypoint_shape"),
        ("pose", {"keypoint_shape": "4x2"}, "keypoint_shape"),
        ("pose", {"keypoint_names": "abcd"}, "keypoint_names: expected a list"),
        ("pose", {"keypoint_names": ["a"]}, "^keypoint_names: got 1 names, expected one for each of 4"),
        ("pose", {"keypoint_names": {0: ["a"] * 5}}, "^keypoint_names: got 5 names for a class, expected 1 to 4"),
        ("pose", {"keypoint_names": {9: ["a"]}}, "^keypoint_names: got class 9"),
        ("pose", {"skeleton": [(0, 9)]}, "expected keypoints 0 to 3"),
        ("segment", {"keypoint_shape": (4, 2)}, "keypoint_shape: got .* has no keypoints"),
        ("segment", {"keypoint_names": ["a"]}, "keypoint_names: given, but a.safetensors has no keypoints"),
        ("classify", {"skeleton": []}, "skeleton: given, but a.safetensors has no keypoints"),
    ],
)
def test_options_about_keypoints_that_a_network_cannot_have(task, options, message, weights_of_task, tmp_path):
    with pytest.raises(InvalidArgumentError, match=message):
        built_keypoints(tmp_path, weights_of_task[task], **options)


def test_a_shape_that_contradicts_the_file(weights_of_task, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(safetensors_bytes(weights_of_task["pose"], {"kpt_shape": "[4, 2]"}))
    assert read_checkpoint(tmp_path / "a.safetensors", keypoint_shape=(4, 2)).network.keypoint_shape == (4, 2)
    with pytest.raises(InvalidArgumentError, match=r"keypoint_shape: got \[3, 2\], which is 6 numbers, .* gives 8"):
        read_checkpoint(tmp_path / "a.safetensors", keypoint_shape=(3, 2))


def test_a_pose_graph_that_says_neither_its_task_nor_its_shape(tmp_path):
    path = tmp_path / "a.onnx"
    weights = live_weights("n", 2, 0, "pose", keypoint_channels=12)
    path.write_bytes(network_graph(weights, Network("pose", "n", 2, (4, 3)), image_size=(64, 64)).SerializeToString())
    with pytest.raises(CheckpointError, match=r"12 channels may be 6x2 or 4x3: give .*--keypoint-shape"):
        read_checkpoint(path)
    with pytest.raises(InvalidArgumentError, match=r"keypoint_shape: got \[5, 3\], which is 15 numbers"):
        read_checkpoint(path, keypoint_shape=(5, 3))
    assert read_checkpoint(path, keypoint_shape=(4, 3)).network == Network("pose", "n", 2, (4, 3))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{0: ['a', \"it's\", 'c', 'd'], 1: ['x']}", {0: ("a", "it's", "c", "d"), 1: ("x",)}),
        ("{ 1 : [ 'a' , 'b' ] }", {1: ("a", "b")}),
        ("{0: ['a'", None),
        ("{0: 'a'}", None),
        ("{0: [exit()]}", None),
        ("{0: ['a'], 0: ['b']}", None),
        ("['a']", None),
        ("{0: ['a'] 1: ['b']}", None),
    ],
)
def test_names_in_an_onnx_file_are_the_text_of_a_dict(text, names, weights_of_task, tmp_path):
    path = write_onnx(tmp_path / "a.onnx", weights_of_task["pose"], "pose", kpt_shape="[4, 2]", kpt_names=text)
    if names is None:
        with pytest.raises(CheckpointError, match="kpt_names"):
            read_checkpoint(path)
    else:
        assert read_checkpoint(path).keypoint_names == names


def test_the_command_line_names_keypoints(weights_of_task, tmp_path, capsys):
    weights, model = tmp_path / "a.safetensors", tmp_path / "model.onnx"
    weights.write_bytes(safetensors_bytes(weights_of_task["pose"]))
    arguments = ["build", str(weights), "-o", str(model), "--imgsz", "64", "--names", "cat,dog"]
    keypoints = ["--keypoint-shape", "4x2", "--keypoint-names", ",".join(NAMES), "--skeleton", "0-1,2-3"]
    assert main([*arguments, *keypoints]) == 0
    assert "yolov8n for keypoint-detection, 2 classes" in capsys.readouterr().out
    skeleton = ((0, 1), (2, 3))
    assert read_model_metadata(model).keypoints == Keypoints(4, 2, (tuple(NAMES),) * 2, (skeleton,) * 2)
    for option, text in (("--keypoint-shape", "4"), ("--keypoint-shape", "axb"), ("--skeleton", "0-1-2")):
        assert main([*arguments, option, text]) != 0
        assert f"{option} " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", 0),
        ("values", 4),
        ("names", [["a"]]),
        ("names", [["a"] * 5, ["b"]]),
        ("names", [[], ["b"]]),
        ("names", ["a", "b"]),
        ("skeletons", [[]]),
        ("skeletons", [[[0, 2]], []]),
        ("skeletons", [[[0, 0]], []]),
        ("skeletons", [[[0]], []]),
        ("skeletons", [["01"], []]),
        ("more", 1),
    ],
)
def test_metadata_of_keypoints_that_no_build_writes(field, value, weights_of_task, tmp_path):
    built_keypoints(tmp_path, weights_of_task["pose"], keypoint_names={0: ["a", "b"], 1: ["c"]})
    document = read_model_metadata(tmp_path / "model.onnx").to_dict()
    assert ModelMetadata.from_json(json.dumps(document)).keypoints.names == (("a", "b"), ("c",))
    document["keypoints"][field] = value
    with pytest.raises(ModelFileError, match=rf"keypoints: .*{field}"):
        ModelMetadata.from_json(json.dumps(document))
    del document["keypoints"]
    with pytest.raises(ModelFileError, match="keypoints is missing"):
        ModelMetadata.from_json(json.dumps(document))
    document["task"] = "instance-segmentation"
    document["output_format"] = "decoded"
    with pytest.raises(ModelFileError, match="output_format"):
        ModelMetadata.from_json(json.dumps(document))
