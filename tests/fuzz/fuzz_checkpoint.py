"""Fuzzes the readers of weights files and of model metadata with atheris (libFuzzer).

    pip install atheris onnx
    python tests/fuzz/fuzz_checkpoint.py -max_total_time=60

Whatever the bytes, a reader may return or raise the library's own error; anything else is a finding. The first byte of
an input chooses the reader. Without a corpus folder in the arguments, well-formed small files are made to start from.
"""

import io
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["rfkernels"]):
    from rfkernels.models.yolov8.network import Network

    from rfkernels.builder import pickle_data, torch_file
    from rfkernels.builder.expressions import Expressions
    from rfkernels.builder.onnx_file import read_onnx_file
    from rfkernels.builder.safetensors_file import read_safetensors_file
    from rfkernels.builder.structure import check_structure
    from rfkernels.builder.torch_file import read_torch_file
    from rfkernels.builder.wiring import _GraphReader
    from rfkernels.errors import RfkernelsError
    from rfkernels.model_metadata import METADATA_KEY, ModelMetadata, Source, read_onnx_properties

sys.path.insert(0, str(Path(__file__).parent.parent / "builder"))

import numpy as np
import onnx
from weight_files import TorchFile, pickled, safetensors_bytes, whole_model, write_zip


def read_torch(file, size):
    """With the check that a file of complete weights meets after its reader."""
    raw = read_torch_file(file, size)
    if raw.modules is not None:
        check_structure(raw.modules, Network("detect", "n", 1), [])


def read_graph(data):
    """With the reduction that a graph of complete weights meets after its reader."""
    file = read_onnx_file(io.BytesIO(data), len(data))
    if file.raw is not None:
        _GraphReader(Expressions(), file.raw.weights).read(file.model)


def read_pickle_in_zip(data):
    """The bytes as the pickle of a well-formed archive: the fuzzer need not find out how a zip file is made."""
    buffer = io.BytesIO()
    write_zip(buffer, {"archive/data.pkl": data, "archive/data/0": bytes(64), "archive/data/1": bytes(64)})
    read_torch(buffer, buffer.tell())


def read_metadata(data):
    text = read_onnx_properties(io.BytesIO(data), len(data)).get(METADATA_KEY)
    if text is not None:
        metadata = ModelMetadata.from_json(text)
        assert ModelMetadata.from_json(metadata.to_json()) == metadata


READERS = [
    read_pickle_in_zip,
    lambda data: read_torch(io.BytesIO(data), len(data)),
    lambda data: read_safetensors_file(io.BytesIO(data), len(data)),
    read_graph,
    read_metadata,
    lambda data: ModelMetadata.from_json(data.decode("utf-8", "replace")),
    lambda data: pickle_data.read_pickle(data, torch_file._is_allowed),
]


def test_one_input(data):
    if not data:
        return
    try:
        READERS[data[0] % len(READERS)](data[1:])
    except RfkernelsError as error:
        str(error).encode()


def seeds():
    """One well-formed small file for each reader."""
    weights = {
        "model.0.conv.weight": np.ones((2, 3, 1, 1), np.float32),
        "model.0.bn.weight": np.ones(2, np.float32),
        "model.0.bn.running_var": np.ones(2, np.float32),
    }
    file = TorchFile()
    tree = {
        "ema": whole_model(file, weights, names={0: "a"}, task="detect", args={"imgsz": 64}),
        "epoch": 1,
        "fitness": 0.5,
    }
    archive = io.BytesIO()
    file.write(archive, tree)
    metadata = ModelMetadata(
        task="object-detection",
        family="yolov8",
        scale="n",
        class_names=("a",),
        image_size=(64, 64),
        stride=32,
        batch=1,
        output_format="raw_heads",
        source=Source("a.pt", "0" * 64),
    )
    images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, 8, 8])
    nodes = [
        onnx.helper.make_node(
            "Conv", ["images", "model.0.conv.weight"], ["x"], name="/model.0/conv/Conv", pads=[1] * 4
        ),
        onnx.helper.make_node("Sigmoid", ["x"], ["gate"]),
        onnx.helper.make_node("Mul", ["x", "gate"], ["silu"]),
        onnx.helper.make_node("Split", ["silu"], ["first", "second"], axis=1),
        onnx.helper.make_node("MaxPool", ["second"], ["pooled"], kernel_shape=[1, 1]),
        onnx.helper.make_node("Concat", ["first", "pooled"], ["y"], axis=1),
    ]
    tensor = onnx.numpy_helper.from_array(weights["model.0.conv.weight"], "model.0.conv.weight")
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 2, 8, 8])
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [images], [output], [tensor]))
    onnx.helper.set_model_props(model, {"names": "{0: 'a', 1: \"b\"}", "imgsz": "[64, 64]", "task": "detect"})
    exported = model.SerializeToString()
    onnx.helper.set_model_props(model, {METADATA_KEY: metadata.to_json()})
    built = model.SerializeToString()
    header = {"task": "detect", "names": '["a"]', "imgsz": "[64, 64]", "stride": "32"}
    contents = [
        pickled(tree),
        archive.getvalue(),
        safetensors_bytes(weights, header),
        exported,
        built,
        metadata.to_json().encode(),
        pickled(tree),
    ]
    return [bytes([index]) + content for index, content in enumerate(contents)]


def main():
    arguments = list(sys.argv)
    with tempfile.TemporaryDirectory() as folder:
        for index, seed in enumerate(seeds()):
            test_one_input(seed)
            Path(folder, f"seed-{index}").write_bytes(seed)
        if not any(Path(argument).is_dir() for argument in arguments[1:]):
            arguments.append(folder)
        atheris.Setup([*arguments, "-max_len=20000"], test_one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
