"""`build`: what is in the file, which options it refuses, and that it appears whole or not at all."""

import math
import os
import subprocess
import sys

import numpy as np
import onnx
import openvino
import pytest
from rfkernels.models.yolov8.graph import network_graph
from rfkernels.models.yolov8.network import Network
from weight_files import TorchFile, safetensors_bytes, whole_model

from rfkernels.builder import BuildOptions, build
from rfkernels.errors import CheckpointError, InvalidArgumentError, ModelFileError, RfkernelsError
from rfkernels.model_metadata import METADATA_KEY, Preprocessing, read_model_metadata

NETWORK = Network("detect", "n", 3)
NAMES = ("cat", "dog", "bird")


@pytest.fixture
def weights(detector_weights, tmp_path):
    """A state dict without names or size."""
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors_bytes(detector_weights))
    return path


@pytest.fixture
def output(tmp_path):
    return tmp_path / "model.onnx"


OPTIONS = BuildOptions(image_size=64, class_names=NAMES)


def test_the_file_carries_everything_about_the_model(detector_weights, output, tmp_path):
    file = TorchFile()
    model = whole_model(file, detector_weights, names=dict(enumerate(NAMES)), args={"imgsz": [96, 64]})
    file.write(tmp_path / "best.pt", {"model": model})
    report = build(tmp_path / "best.pt", output)
    assert report.output_path == output
    assert report.file_bytes == output.stat().st_size
    assert report.parameter_count == 3_006_217
    assert report.notes == ()
    assert read_model_metadata(output) == report.metadata
    assert (report.metadata.class_names, report.metadata.image_size) == (NAMES, (96, 64))
    assert (report.metadata.family, report.metadata.scale, report.metadata.batch) == ("yolov8", "n", 1)
    assert report.metadata.source.file == "best.pt"
    assert [entry.key for entry in onnx.load(output).metadata_props] == [METADATA_KEY]
    compiled = openvino.Core().compile_model(str(output), "CPU")
    assert compiled.output("box_8").shape == openvino.Shape([1, 64, 12, 8])
    assert compiled.output("class_32").shape == openvino.Shape([1, 3, 3, 2])


def test_same_weights_give_the_same_bytes(weights, tmp_path):
    first, second = tmp_path / "a.onnx", tmp_path / "b.onnx"
    build(weights, first, OPTIONS)
    build(weights, second, OPTIONS)
    assert first.read_bytes() == second.read_bytes()


def test_options_are_stored_and_override_the_file(weights, output):
    options = BuildOptions(
        image_size=(32, 96),
        class_names=["a", "b", "c"],
        batch="dynamic",
        convention="ultralytics",
        preprocessing=Preprocessing(resize_mode="stretch", pad_value=0),
    )
    metadata = build(weights, output, options).metadata
    assert metadata.image_size == (32, 96)
    assert metadata.class_names == ("a", "b", "c")
    assert (metadata.batch, metadata.convention) == ("dynamic", "ultralytics")
    assert (metadata.preprocessing.resize_mode, metadata.preprocessing.pad_value) == ("stretch", 0)
    assert onnx.load(output).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (BuildOptions(class_names=NAMES), "image_size.*--imgsz"),
        (BuildOptions(image_size=64), "class_names.*3 classes.*--names"),
        (BuildOptions(image_size=64, class_names=NAMES[:2]), "got 2 names, the head has 3 classes"),
        (BuildOptions(image_size=65, class_names=NAMES), "multiple"),
        (BuildOptions(image_size=0, class_names=NAMES), r"got \[0, 0\]"),
        (BuildOptions(image_size=(64, 64, 64), class_names=NAMES), "image_size"),
        (BuildOptions(image_size=64, class_names=NAMES, batch=0), "batch"),
        (BuildOptions(image_size=64, class_names=NAMES, convention="v9"), "convention"),
        (
            BuildOptions(image_size=64, class_names=NAMES, preprocessing=Preprocessing(resize_mode="squash")),
            "resize_mode",
        ),
        (BuildOptions(image_size=64, class_names=NAMES, preprocessing=Preprocessing(pad_value=300)), "pad_value"),
        (
            BuildOptions(image_size=64, class_names=NAMES, preprocessing={"static_crop": (math.nan, 90, 0, 100)}),
            "preprocessing: got a number that is not finite",
        ),
        (BuildOptions(image_size=64, class_names=["", "a" * 1001, "b"]), "names"),
    ],
)
def test_options_the_model_cannot_have(options, message, weights, output):
    with pytest.raises(InvalidArgumentError, match=message):
        build(weights, output, options)
    assert not output.exists()


@pytest.mark.parametrize("name", ["model.bin", "absent/model.onnx", "."])
def test_outputs_that_cannot_be(name, weights, tmp_path):
    with pytest.raises(InvalidArgumentError, match="output_path"):
        build(weights, tmp_path / name, OPTIONS)


def test_the_weights_file_is_never_overwritten(detector_weights, output):
    model = network_graph(detector_weights, NETWORK, image_size=(64, 64))
    output.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidArgumentError, match="weights file itself"):
        build(output, output, OPTIONS)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(weights, output, tmp_path, monkeypatch):
    output.write_bytes(b"old")

    def fail(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ModelFileError, match="No space left on device"):
        build(weights, output, OPTIONS)
    assert output.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "weights.safetensors"]


def test_a_reader_of_the_old_file_is_not_disturbed(weights, output):
    output.write_bytes(b"old")
    with output.open("rb") as reading:
        build(weights, output, OPTIONS)
        assert reading.read() == b"old"  # the new one has taken its place, not its contents
    assert output.stat().st_size > 1000


def test_an_interrupted_write_leaves_nothing(weights, output, tmp_path):
    def interrupt(stage, _done, _total):
        if stage == "write":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(weights, output, OPTIONS, interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def decoded_model(weights, *, batch=1, **properties):
    """A detector with an output [batch, 4 + classes, anchors] and weights that have no names of modules."""
    model = network_graph(weights, NETWORK, image_size=(64, 96), batch=batch)
    graph = model.graph
    names = {tensor.name: f"t{index}" for index, tensor in enumerate(graph.initializer)}
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    make = onnx.helper.make_node
    for name, values in (("first", [0]), ("last", [4]), ("channels", [1]), ("flat", [0, 7, -1])):
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, np.int64), name))
    for stride in (8, 16, 32):
        graph.node.append(make("Slice", [f"box_{stride}", "first", "last", "channels"], [f"corners_{stride}"]))
        graph.node.append(make("Concat", [f"corners_{stride}", f"class_{stride}"], [f"cells_{stride}"], axis=1))
        graph.node.append(make("Reshape", [f"cells_{stride}", "flat"], [f"rows_{stride}"]))
    graph.node.append(make("Concat", [f"rows_{stride}" for stride in (8, 16, 32)], ["output0"], axis=2))
    del graph.output[:]
    size = batch if batch != "dynamic" else "batch"
    shape = [size, 7, 12 * 8 + 6 * 4 + 3 * 2]
    graph.output.append(onnx.helper.make_tensor_value_info("output0", onnx.TensorProto.FLOAT, shape))
    onnx.helper.set_model_props(model, properties)
    return model


def test_a_decoded_graph_without_names_is_kept(detector_weights, output, tmp_path):
    model = decoded_model(detector_weights, names="['cat', 'dog', 'bird']", task="detect")
    (tmp_path / "export.onnx").write_bytes(model.SerializeToString())
    report = build(tmp_path / "export.onnx", output)
    assert report.metadata.output_format == "decoded"
    assert (report.metadata.family, report.metadata.scale) == ("unknown", None)
    assert (report.metadata.class_names, report.metadata.image_size) == (NAMES, (64, 96))
    assert "used as it is" in report.notes[0]
    image = np.random.default_rng(0).random((1, 3, 64, 96), dtype=np.float32)
    compiled = [openvino.Core().compile_model(str(path), "CPU") for path in (output, tmp_path / "export.onnx")]
    results = [model({"images": image}) for model in compiled]
    assert results[0]["output0"].shape == (1, 7, 126)
    np.testing.assert_array_equal(results[0]["output0"], results[1]["output0"])


def test_a_decoded_graph_with_free_sizes_is_fixed(detector_weights, output, tmp_path):
    model = decoded_model(detector_weights, batch="dynamic")
    for dimension, name in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], ("height", "width"), strict=True):
        dimension.dim_param = name
    for dimension, name in zip(model.graph.output[0].type.tensor_type.shape.dim, "abc", strict=True):
        dimension.dim_param = name
    (tmp_path / "export.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidArgumentError, match="image_size"):
        build(tmp_path / "export.onnx", output, BuildOptions(class_names=NAMES))
    build(tmp_path / "export.onnx", output, BuildOptions(class_names=NAMES, image_size=(32, 64), batch=2))
    compiled = openvino.Core().compile_model(str(output), "CPU")
    assert compiled.input(0).shape == openvino.Shape([2, 3, 32, 64])
    assert compiled.output(0).shape == openvino.Shape([2, 7, 42])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (BuildOptions(image_size=128, class_names=NAMES), "fixed to"),
        (BuildOptions(batch=2, class_names=NAMES), "fixed to 1"),
        (BuildOptions(), "class_names"),
        (BuildOptions(class_names=NAMES[:1]), "3 classes"),
    ],
)
def test_options_a_kept_graph_cannot_have(options, message, detector_weights, output, tmp_path):
    (tmp_path / "export.onnx").write_bytes(decoded_model(detector_weights).SerializeToString())
    with pytest.raises(InvalidArgumentError, match=message):
        build(tmp_path / "export.onnx", output, options)
    assert not output.exists()


def with_two_outputs(model):
    model.graph.output.append(model.graph.output[0])


def with_half_precision_input(model):
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16


def with_four_input_channels(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4


def with_another_output(model):
    model.graph.output[0].name = "rows_8"


def with_infinite_weight(model):
    tensor = model.graph.initializer[0]
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] = np.inf
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def with_a_broken_node(model):
    model.graph.node[-1].input[0] = "nowhere"


@pytest.mark.parametrize(
    "change",
    [
        with_two_outputs,
        with_half_precision_input,
        with_four_input_channels,
        with_another_output,
        with_infinite_weight,
        with_a_broken_node,
    ],
)
def test_graphs_of_another_form_are_refused(change, detector_weights, output, tmp_path):
    model = decoded_model(detector_weights)
    change(model)
    (tmp_path / "export.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError):
        build(tmp_path / "export.onnx", output, BuildOptions(class_names=NAMES))
    assert not output.exists()


def test_a_built_model_is_no_weights_file(weights, output, tmp_path):
    build(weights, output, OPTIONS)
    with pytest.raises(CheckpointError, match="made by rfkernels build already"):
        build(output, tmp_path / "again.onnx")


def test_without_onnx_the_error_says_what_to_install(weights, output, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RfkernelsError, match=r'pip install "onnx>=1.17"'):
        build(weights, output, OPTIONS)


def test_importing_the_builder_needs_neither_torch_nor_onnx(tmp_path):
    code = "import sys, rfkernels.builder; print(sorted({'torch', 'onnx', 'openvino'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    assert result.stdout.strip() == b"[]"
