"""The same weights read from every kind of file are the same arrays."""

import numpy as np
import onnx
import pytest
from rfkernels.models.yolov8.graph import network_graph
from rfkernels.models.yolov8.network import Network
from weight_files import Call, Global, TorchFile, safetensors_bytes, whole_model, write_zip

from rfkernels.builder import Checkpoint, DecodedGraph, read_checkpoint
from rfkernels.errors import CheckpointError

NETWORK = Network("detect", "n", 3)
NAMES = ("cat", "dog", 'it\'s a "bird"')


def assert_weights(checkpoint, weights):
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.network == NETWORK
    assert checkpoint.weights.keys() == weights.keys()
    for key, values in weights.items():
        assert checkpoint.weights[key].dtype == np.float32
        np.testing.assert_array_equal(checkpoint.weights[key], values, err_msg=key)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("slot", ["model", "ema", None])
def test_whole_models(half, slot, detector_weights, tmp_path):
    file = TorchFile()
    model = whole_model(
        file,
        detector_weights,
        half=half,
        epsilon=0.002,
        names=dict(enumerate(NAMES)),
        task="detect",
        stride=file.tensor(np.array([8.0, 16.0, 32.0], np.float32)),
        args={"imgsz": [320, 640], "model": "yolov8n.yaml"},
    )
    tree = model if slot is None else {"epoch": -1, "model": None, "best_fitness": 0.5, slot: model}
    file.write(tmp_path / "best.pt", tree)
    checkpoint = read_checkpoint(tmp_path / "best.pt")
    assert_weights(checkpoint, detector_weights)
    assert checkpoint.class_names == NAMES
    assert checkpoint.image_size == (320, 640)
    assert checkpoint.batch_norm_epsilon == 0.002
    assert checkpoint.source_file == "best.pt"


def test_the_moving_average_is_preferred(detector_weights, tmp_path):
    file = TorchFile()
    wrong = {key: values * 2 for key, values in detector_weights.items()}
    tree = {"model": whole_model(file, wrong), "ema": whole_model(file, detector_weights), "train_args": {"imgsz": 96}}
    file.write(tmp_path / "last.pt", tree)
    checkpoint = read_checkpoint(tmp_path / "last.pt")
    assert_weights(checkpoint, detector_weights)
    assert checkpoint.image_size == (96, 96)


@pytest.mark.parametrize("prefix", ["model.", "", "model.model.", "module.model."])
@pytest.mark.parametrize("slot", ["state_dict", None])
def test_state_dicts(prefix, slot, detector_weights, tmp_path):
    file = TorchFile()
    tree = {key.replace("model.", prefix, 1): file.tensor(values) for key, values in detector_weights.items()}
    tree[f"{prefix}0.bn.num_batches_tracked"] = file.tensor(np.array(5))
    file.write(tmp_path / "weights.pth", tree if slot is None else {slot: tree})
    checkpoint = read_checkpoint(tmp_path / "weights.pth")
    assert_weights(checkpoint, detector_weights)
    assert (checkpoint.class_names, checkpoint.image_size) == (None, None)


def test_strided_views_and_offsets_are_followed(detector_weights, tmp_path):
    file = TorchFile()
    tree = {key: file.tensor(values) for key, values in detector_weights.items()}
    key = "model.4.cv1.conv.weight"
    values = detector_weights[key]
    shuffled = np.concatenate([np.full(7, 9, np.float32), values.transpose(1, 0, 2, 3).ravel()])
    strides = (1, values.shape[0], 1, 1)
    tree[key] = file.tensor(shuffled, offset=7, shape=values.shape, strides=strides)
    file.write(tmp_path / "weights.pt", tree)
    assert_weights(read_checkpoint(tmp_path / "weights.pt"), detector_weights)


def test_bfloat16_and_double(detector_weights, tmp_path):
    exact = {
        key: (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        for key, values in detector_weights.items()
    }
    file = TorchFile()
    tree = {}
    for index, (key, values) in enumerate(exact.items()):
        upper = (values.view(np.uint32) >> 16).astype(np.uint16)
        as_bfloat16 = file.tensor(upper, kind="BFloat16Storage")
        tree[key] = as_bfloat16 if index % 2 else file.tensor(values.astype(np.float64))
    file.write(tmp_path / "weights.pt", tree)
    assert_weights(read_checkpoint(tmp_path / "weights.pt"), exact)


def test_names_of_older_files_are_recorded_and_never_called(detector_weights, tmp_path):
    file = TorchFile()
    model = whole_model(
        file,
        detector_weights,
        names=list(NAMES),
        args=Call(Global("ultralytics.yolo.utils", "IterableSimpleNamespace"), (), {"imgsz": 640}),
        criterion=Call(Global("__builtin__", "getattr"), ("detect", "forward")),
        save_dir=Call(Global("pathlib", "PosixPath"), ("runs", "train")),
        best=Call(
            Global("numpy.core.multiarray", "scalar"), (Call(Global("numpy", "dtype"), ("f8", False, True)), "x")
        ),
    )
    file.write(tmp_path / "old.pt", {"model": model})
    checkpoint = read_checkpoint(tmp_path / "old.pt")
    assert_weights(checkpoint, detector_weights)
    assert checkpoint.class_names == NAMES
    assert checkpoint.image_size == (640, 640)


@pytest.mark.parametrize("dtype", ["F32", "F16"])
@pytest.mark.parametrize(
    ("names", "size"), [('{"1": "dog", "0": "cat", "2": "bird"}', "[96, 64]"), ('["cat", "dog", "bird"]', "64")]
)
def test_safetensors(dtype, names, size, detector_weights, tmp_path):
    metadata = {"task": "object-detection", "names": names, "imgsz": size, "stride": "32", "format": "pt"}
    (tmp_path / "weights.safetensors").write_bytes(safetensors_bytes(detector_weights, metadata, dtype=dtype))
    checkpoint = read_checkpoint(tmp_path / "weights.safetensors")
    assert_weights(checkpoint, detector_weights)
    assert checkpoint.class_names == ("cat", "dog", "bird")
    assert checkpoint.image_size == ((96, 64) if size.startswith("[") else (64, 64))


def exported(weights, **properties):
    """An ONNX file that carries weights under their names, as exporters write it."""
    model = network_graph(weights, NETWORK, image_size=(64, 64))
    onnx.helper.set_model_props(model, properties)
    return model


def test_onnx_with_names_of_modules(detector_weights, tmp_path):
    names = "{2: \"it's a \\\"bird\\\"\", 0: 'cat', 1: 'dog'}"
    model = exported(detector_weights, task="detect", names=names, imgsz="[64, 96]")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    checkpoint = read_checkpoint(tmp_path / "model.onnx")
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.class_names == NAMES
    assert checkpoint.image_size == (64, 96)
    arguments = {"network": NETWORK, "image_size": (64, 64)}
    assert network_graph(checkpoint.weights, **arguments) == network_graph(detector_weights, **arguments)


def test_onnx_whose_nodes_alone_have_names_of_modules(detector_weights, tmp_path):
    model = exported(detector_weights)
    for index, node in enumerate(model.graph.node):
        if node.op_type == "Conv":
            parts = node.name.split(".")
            # As torch writes them: members of a Sequential repeat the name of their parent.
            steps = [f"model.{parts[1]}"]
            for part in parts[2:]:
                steps.append(f"{steps.pop()}.{part}" if part.isdigit() and len(steps) > 1 else part)
            node.name = "/" + "/".join([*steps, "Conv"])
            for position, name in enumerate(node.input[1:], start=1):
                next(tensor for tensor in model.graph.initializer if tensor.name == name).name = f"t{index}_{position}"
                node.input[position] = f"t{index}_{position}"
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    checkpoint = read_checkpoint(tmp_path / "model.onnx")
    assert isinstance(checkpoint, Checkpoint)
    assert checkpoint.weights.keys() >= {
        "model.2.m.0.cv1.conv.weight",
        "model.22.cv3.2.2.bias",
        "model.22.cv2.1.0.conv.bias",
    }


@pytest.mark.parametrize("kind", ["renamed", "another activation", "another pooling"])
def test_onnx_that_cannot_be_emitted_anew_is_kept(kind, detector_weights, tmp_path):
    model = exported(detector_weights)
    for node in model.graph.node:
        if kind == "renamed" and node.op_type == "Conv":
            next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1]).name = f"w_{node.name}"
            node.input[1] = f"w_{node.name}"
        if kind == "another activation" and node.op_type == "Sigmoid":
            node.op_type = "Relu"
        if kind == "another pooling" and node.op_type == "MaxPool":
            del node.attribute[:]
            node.attribute.extend([onnx.helper.make_attribute("kernel_shape", [3, 3])])
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    kept = read_checkpoint(tmp_path / "model.onnx")
    assert isinstance(kept, DecodedGraph)
    assert {"renamed": "name", "another activation": "SiLU", "another pooling": "MaxPool"}[kind] in kept.reason


@pytest.mark.parametrize(("task", "suffix"), [("segment", "onnx"), ("pose", "safetensors")])
def test_other_tasks_are_refused(task, suffix, detector_weights, tmp_path):
    path = tmp_path / f"weights.{suffix}"
    if suffix == "onnx":
        path.write_bytes(exported(detector_weights, task=task).SerializeToString())
    else:
        path.write_bytes(safetensors_bytes(detector_weights, {"task": task}))
    with pytest.raises(CheckpointError, match=f"task: got '{task}', but the weights are those of YOLOv8n detect"):
        read_checkpoint(path)


def test_another_activation_is_refused(detector_weights, tmp_path):
    file = TorchFile()
    file.write(tmp_path / "a.pt", whole_model(file, detector_weights, activation="torch.nn.modules.activation.ReLU"))
    with pytest.raises(CheckpointError, match=r"model\.\d+\S*\.act: got ReLU, expected SiLU"):
        read_checkpoint(tmp_path / "a.pt")


def test_progress_is_told(detector_weights, tmp_path):
    told = []
    (tmp_path / "weights.safetensors").write_bytes(safetensors_bytes(detector_weights))
    read_checkpoint(tmp_path / "weights.safetensors", lambda *step: told.append(step))
    size = (tmp_path / "weights.safetensors").stat().st_size
    assert told[-1] == ("weights", len(detector_weights), len(detector_weights))
    assert ("checksum", size, size) in told


def test_a_state_dict_in_a_zip_of_another_folder_name(detector_weights, tmp_path):
    file = TorchFile()
    tree = {key: file.tensor(values) for key, values in detector_weights.items()}
    file.write(tmp_path / "a.pt", tree)
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        entries = {name.replace("archive", "best weights"): archive.read(name) for name in archive.namelist()}
    write_zip(tmp_path / "b.pt", entries)
    assert_weights(read_checkpoint(tmp_path / "b.pt"), detector_weights)
