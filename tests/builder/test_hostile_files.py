"""Files made to break their reader: zip archives, safetensors and ONNX files that lie, and files of other kinds.

Each is refused with a clear error, and nothing in it is executed or written (the `refused` fixture).
"""

import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import onnx
import pytest
from rfkernels.models.yolov8.graph import network_graph
from rfkernels.models.yolov8.network import Network
from weight_files import TorchFile, pickled, safetensors_bytes, write_zip

from rfkernels.builder import build
from rfkernels.errors import CheckpointError

NETWORK = Network("detect", "n", 3)
KEY = "model.0.conv.weight"


# Zip files.


def test_compressed_entries(refused, detector_weights, tmp_path):
    file = TorchFile()
    entries = {"archive/data.pkl": pickled({"0": file.tensor(detector_weights[KEY])})} | file.entries()
    write_zip(tmp_path / "weights.pt", entries, zipfile.ZIP_DEFLATED)
    refused(tmp_path / "weights.pt", "is compressed")


def test_a_zip_bomb(refused, tmp_path):
    write_zip(tmp_path / "weights.pt", {"archive/data.pkl": bytes(200 * 1024 * 1024)}, zipfile.ZIP_DEFLATED)
    refused(tmp_path / "weights.pt", "is compressed")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_entries_that_occur_twice(refused, tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.pt", "w") as archive:
        for _ in range(2):
            archive.writestr("archive/data.pkl", pickled({}))
    refused(tmp_path / "weights.pt", "occurs twice")


@pytest.mark.parametrize("name", ["../evil", "archive/../../evil", "/etc/evil", "archive\\evil", "C:/evil", "a//b"])
def test_names_that_are_paths(name, refused, tmp_path):
    write_zip(tmp_path / "weights.pt", {"archive/data.pkl": pickled({}), name: b"evil"})
    refused(tmp_path / "weights.pt", "a name that torch.save would not write")


@pytest.mark.parametrize("entries", [{"a/data.pkl": b"", "b/data.pkl": b""}, {"a/b/data.pkl": b""}, {"a/other": b""}])
def test_no_single_pickle(entries, refused, tmp_path):
    write_zip(tmp_path / "weights.pt", entries)
    refused(tmp_path / "weights.pt", "data.pkl, expected one")


def test_big_endian_files(refused, tmp_path):
    write_zip(tmp_path / "weights.pt", {"archive/data.pkl": pickled({}), "archive/byteorder": b"big"})
    refused(tmp_path / "weights.pt", "byteorder")


def stored_zip(weights):
    """A good file as bytes, and where its central directory begins."""
    file = TorchFile()
    tree = {key: file.tensor(values) for key, values in weights.items()}
    buffer = io.BytesIO()
    write_zip(buffer, {"archive/data.pkl": pickled(tree)} | file.entries())
    data = buffer.getvalue()
    directory = struct.unpack_from("<I", data, len(data) - 22 + 16)[0]
    return bytearray(data), directory


# Offsets into an entry of the central directory, and what is written there.
DIRECTORY_LIES = {
    "sizes past the file": ([(20, 2**31 - 1), (24, 2**31 - 1)], "past the end"),
    "sizes that differ": ([(20, 10)], "is compressed"),
    "header past the file": ([(42, 2**31 - 1)], "outside the file"),
    "header of another entry": ([(42, 7)], "disagrees"),
}


@pytest.mark.parametrize("name", DIRECTORY_LIES)
def test_directories_that_lie(name, refused, detector_weights, tmp_path):
    lies, message = DIRECTORY_LIES[name]
    data, directory = stored_zip(detector_weights)
    for offset, value in lies:
        struct.pack_into("<I", data, directory + offset, value)
    (tmp_path / "weights.pt").write_bytes(data)
    refused(tmp_path / "weights.pt", message)


def test_entries_that_overlap(refused, detector_weights, tmp_path):
    data, directory = stored_zip(detector_weights)
    size = struct.unpack_from("<I", data, directory + 24)[0]
    for offset in (20, 24):
        struct.pack_into("<I", data, directory + offset, size + 5000)
    (tmp_path / "weights.pt").write_bytes(data)
    refused(tmp_path / "weights.pt", "overlaps")


def test_encrypted_entries(refused, detector_weights, tmp_path):
    data, directory = stored_zip(detector_weights)
    data[directory + 8] |= 1
    (tmp_path / "weights.pt").write_bytes(data)
    refused(tmp_path / "weights.pt", "encrypted")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_truncated_zip_files(share, refused, detector_weights, tmp_path):
    data, _ = stored_zip(detector_weights)
    (tmp_path / "weights.pt").write_bytes(data[: int(len(data) * share)])
    refused(tmp_path / "weights.pt", "not a readable zip file")


# Files that are something else.


@pytest.mark.parametrize("suffix", ["pt", "pth", "safetensors", "onnx"])
@pytest.mark.parametrize("kind", ["empty", "one byte", "random", "text", "zeros", "another zip"])
def test_files_that_are_something_else(suffix, kind, refused, tmp_path):
    path = tmp_path / f"weights.{suffix}"
    contents = {
        "empty": b"",
        "one byte": b"\x80",
        "random": np.random.default_rng(0).bytes(50_000),
        "text": b"import os\n" * 100,
        "zeros": bytes(10_000),
    }
    if kind == "another zip":
        write_zip(path, {"word/document.xml": b"<xml/>"})
    else:
        path.write_bytes(contents[kind])
    refused(path, "weights")


def test_files_from_before_zip(refused, tmp_path):
    (tmp_path / "weights.pt").write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2))
    refused(tmp_path / "weights.pt", "before version 1.6")


def test_a_bare_pickle_with_a_payload(refused, tmp_path):
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'canary'}",)

    data = pickle.dumps(Payload(), 2)
    (tmp_path / "weights.pt").write_bytes(data)
    refused(tmp_path / "weights.pt", r"before version 1\.6|zip")


def test_a_folder_and_an_unknown_suffix(tmp_path):
    (tmp_path / "weights.pt").mkdir()
    with pytest.raises(CheckpointError, match="is not a file"):
        build(tmp_path / "weights.pt", tmp_path / "model.onnx")
    with pytest.raises(CheckpointError, match="no such file"):
        build(tmp_path / "absent.pt", tmp_path / "model.onnx")
    with pytest.raises(CheckpointError, match=r"\.pickle"):
        build(tmp_path / "weights.pickle", tmp_path / "model.onnx")


# Safetensors.


def entry(header, **changes):
    header[KEY] = header[KEY] | changes
    return header


HEADERS = {
    "offsets past the end": (lambda header: entry(header, data_offsets=[0, 10**12]), "outside"),
    "offsets in reverse": (lambda header: entry(header, data_offsets=[1728, 0]), "outside"),
    "negative offsets": (lambda header: entry(header, data_offsets=[-1728, 0]), "outside"),
    "offsets that are texts": (lambda header: entry(header, data_offsets=["0", "1"]), "outside"),
    "one offset": (lambda header: entry(header, data_offsets=[0]), "outside"),
    "shape that does not fit": (lambda header: entry(header, shape=[16, 3, 3, 4]), "need another number"),
    "shape that overflows": (lambda header: entry(header, shape=[2**62, 2**62]), "need another number"),
    "negative shape": (lambda header: entry(header, shape=[-16, 3, 3, -3]), "whole numbers"),
    "many dimensions": (lambda header: entry(header, shape=[1] * 100), "at most 8"),
    "shape of floats": (lambda header: entry(header, shape=[16.0, 3, 3, 3]), "whole numbers"),
    "unknown type": (lambda header: entry(header, dtype="F4_E2M1"), "got dtype"),
    "type that is a list": (lambda header: entry(header, dtype=["F32"]), "got dtype"),
    "missing field": (lambda header: header | {KEY: {"dtype": "F32"}}, "expected dtype, shape"),
    "entry that is a number": (lambda header: header | {KEY: 5}, "expected dtype, shape"),
    "list for a header": (lambda header: [header], "expected an object"),
    "metadata of numbers": (lambda header: header | {"__metadata__": {"stride": 32}}, "object of texts"),
    "names that are no JSON": (lambda header: header | {"__metadata__": {"names": "{0: 'a'}"}}, "not valid JSON"),
    "names that are a number": (lambda header: header | {"__metadata__": {"names": "5"}}, "names"),
    "half a character in names": (lambda header: header | {"__metadata__": {"names": '["\\ud800"]'}}, "Unicode"),
    "half a character in metadata": (lambda header: header | {"__metadata__": {"names": "\ud800"}}, "surrogates"),
    "half a character in a key": (lambda header: header | {"\ud800": 1}, "surrogates"),
    "another stride": (lambda header: header | {"__metadata__": {"stride": "64"}}, "stride: got 64"),
    "stride that is no number": (lambda header: header | {"__metadata__": {"stride": "²"}}, "stride"),
    "image size that is no number": (lambda header: header | {"__metadata__": {"imgsz": '"640"'}}, "imgsz"),
    "image size of one over": (lambda header: header | {"__metadata__": {"imgsz": "[1, 2, 3]"}}, "imgsz"),
    "no UTF-8": (lambda header: b'{"\xff": 1}', "not valid JSON"),
    "half a document": (lambda header: json.dumps(header).encode()[:-1], "not valid JSON"),
    "name given twice": (lambda header: b'{"a": 1, "a": 2}', "given twice"),
    "nested deep": (lambda header: b"[" * 100_000, "not valid JSON"),
    "number of many digits": (lambda header: b'{"a": ' + b"9" * 10_000 + b"}", "not valid JSON"),
    "nothing": (lambda header: {}, "arrays end at byte 0"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_lie(name, refused, detector_weights, tmp_path):
    change, message = HEADERS[name]
    weights = {KEY: detector_weights[KEY]} | detector_weights
    (tmp_path / "weights.safetensors").write_bytes(safetensors_bytes(weights, change_header=change))
    refused(tmp_path / "weights.safetensors", message)


def test_arrays_that_overlap(refused, detector_weights, tmp_path):
    def overlapping(header):
        first, second = list(header)[:2]
        header[second]["data_offsets"] = [header[first]["data_offsets"][0], header[first]["data_offsets"][0]]
        header[second]["data_offsets"][1] += np.prod(header[second]["shape"]).item() * 4
        return header

    (tmp_path / "weights.safetensors").write_bytes(safetensors_bytes(detector_weights, change_header=overlapping))
    refused(tmp_path / "weights.safetensors", "overlaps|unused")


@pytest.mark.parametrize("length", [0, 2**63, 2**64 - 1, 17 * 1024 * 1024])
def test_header_lengths_that_lie(length, refused, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(struct.pack("<Q", length) + b"{}" + bytes(100))
    refused(tmp_path / "weights.safetensors", "safetensors")


@pytest.mark.parametrize("change", [lambda data: data[:-5], lambda data: data + b"more"])
def test_safetensors_cut_or_lengthened(change, refused, detector_weights, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(change(safetensors_bytes(detector_weights)))
    refused(tmp_path / "weights.safetensors", "outside|truncated")


# ONNX.


def onnx_model(weights):
    return network_graph(weights, NETWORK, image_size=(64, 64))


PROPERTIES = {
    "names with a call": ({"names": "{0: __import__('os').system('true')}"}, "names: cannot read"),
    "names of an expression": ({"names": "{0: 'a' * 10**10}"}, "names: cannot read"),
    "names nested deep": ({"names": "{" + "[" * 100_000 + "}"}, "names: cannot read"),
    "names that do not end": ({"names": "{0: 'a"}, "names: got"),
    "names given twice": ({"names": "{0: 'a', 0: 'b'}"}, "given twice"),
    "names with gaps": ({"names": "{0: 'a', 2: 'b', 3: 'c'}"}, "indices"),
    "too few names": ({"names": "{0: 'a'}"}, "1 names"),
    "names of quotes and backslashes": ({"names": "{0: '" + "\\" * 9999 + "'}"}, "names"),
    "lone surrogates in names": ({"names": r"['\ud800', 'b', 'c']"}, "Unicode"),
    "image size of a text": ({"imgsz": "six hundred"}, "imgsz"),
    "image size of a call": ({"imgsz": "[exit(), 640]"}, "imgsz"),
    "image size of zero": ({"imgsz": "[0, 640]"}, "imgsz"),
    "another task": ({"task": "pose"}, "task: got 'pose', but the weights are those of YOLOv8n detect"),
    "no task of ours": ({"task": "obb"}, "task: got 'obb', expected one of detect, segment, pose, classify"),
}


@pytest.mark.parametrize("name", PROPERTIES)
def test_onnx_properties_that_lie(name, refused, detector_weights, tmp_path):
    properties, message = PROPERTIES[name]
    model = onnx_model(detector_weights)
    onnx.helper.set_model_props(model, properties)
    (tmp_path / "weights.onnx").write_bytes(model.SerializeToString())
    refused(tmp_path / "weights.onnx", message)


def external_data(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def foreign_operator(model):
    model.graph.node[3].domain = "evil.example"


def nested_graph(model):
    model.graph.node[3].attribute.append(onnx.helper.make_attribute("then_branch", onnx.GraphProto()))


def short_data(model):
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]


def huge_dimensions(model):
    model.graph.initializer[0].dims[0] = 2**62


def negative_dimensions(model):
    model.graph.initializer[0].dims[0] = -16


def not_a_number(model):
    model.graph.initializer[0].raw_data = b"\xff" * len(model.graph.initializer[0].raw_data)


def computed_weights(model):
    model.graph.initializer[0].name = "elsewhere"


def no_nodes(model):
    del model.graph.node[:]


@pytest.mark.parametrize(
    "change",
    [
        external_data,
        foreign_operator,
        nested_graph,
        short_data,
        huge_dimensions,
        negative_dimensions,
        not_a_number,
        computed_weights,
        no_nodes,
    ],
)
def test_onnx_graphs_that_lie(change, refused, detector_weights, tmp_path):
    model = onnx_model(detector_weights)
    change(model)
    (tmp_path / "weights.onnx").write_bytes(model.SerializeToString())
    refused(tmp_path / "weights.onnx", "ONNX|model.0.conv.weight")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99999])
def test_truncated_onnx_files(share, refused, detector_weights, tmp_path):
    data = onnx_model(detector_weights).SerializeToString()
    (tmp_path / "weights.onnx").write_bytes(data[: int(len(data) * share)])
    refused(tmp_path / "weights.onnx", "ONNX")


@pytest.mark.parametrize("text", [b"Sigmoid", b"model.0.conv.weight", b"kernel_shape", b"images"])
def test_onnx_texts_that_are_not_utf8(text, refused, detector_weights, tmp_path):
    data = onnx_model(detector_weights).SerializeToString()
    assert text in data
    (tmp_path / "weights.onnx").write_bytes(data.replace(text, b"\xff" * len(text)))
    refused(tmp_path / "weights.onnx", "not UTF-8")
