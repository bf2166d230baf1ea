"""Checkpoints made to break their reader: pickles that would run something, tensors that lie, weights that are wrong.

Each is refused with a clear error, and nothing in it is executed or written (the `refused` fixture).
"""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from weight_files import (
    Call,
    Global,
    Raw,
    TorchFile,
    module,
    pickled,
    whole_model,
    write_zip,
)

from rfkernels.builder import torch_file
from rfkernels.errors import CheckpointError

KEY = "model.0.conv.weight"


def state_dict(file, weights, **replaced):
    tree = {key: file.tensor(values) for key, values in weights.items()}
    return tree | replaced


# Pickles that would run something.


class Payload:
    """Pickles itself as a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def touch(canary):
    return f"touch {canary}"


PAYLOADS = {
    "os.system": lambda canary: Payload(os.system, touch(canary)),
    "eval": lambda canary: Payload(eval, f"open({str(canary)!r}, 'w')"),
    "exec": lambda canary: Payload(exec, f"open({str(canary)!r}, 'w')"),
    "open": lambda canary: Payload(open, str(canary), "w"),
    "Path.touch": lambda canary: Payload(Path.touch, canary),
    "import": lambda canary: Payload(__import__, "antigravity"),
    "hidden in a list": lambda canary: {"model": [1, {"a": Payload(os.system, touch(canary))}]},
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", PAYLOADS)
def test_calls_are_refused_by_name(name, protocol, refused, tmp_path):
    data = pickle.dumps(PAYLOADS[name](tmp_path / "canary"), protocol)
    path = tmp_path / "weights.pt"
    write_zip(path, {"archive/data.pkl": data, "archive/version": b"3\n"})
    refused(path, "(refers to|calls a Call).*nothing was executed")


def test_the_payloads_do_run_in_a_plain_unpickler(tmp_path):
    data = pickle.dumps(PAYLOADS["open"](tmp_path / "canary"), 2)
    pickle.loads(data).close()
    assert (tmp_path / "canary").exists()


ATTRIBUTE = Call(Global("builtins", "getattr"), (Global("pathlib", "Path"), "touch"))
TRICKS = {
    "calls what getattr gives": (Call(ATTRIBUTE, ("canary",)), "calls a Call"),
    "calls a list": (Call([], ()), "calls a list"),
    "calls with a list": (Call(Global("collections", "OrderedDict"), []), "with a list"),
    "ordered dict with arguments": (Call(Global("collections", "OrderedDict"), ([[1, 2]],)), "with arguments"),
    "state for a name": (Raw(b"cpathlib\nPath\n}b"), "gives state to a Name"),
    "state for a tuple": (Raw(b")}b"), "gives state to a tuple"),
    "dotted name": (Raw(b"cbuiltins\ngetattr.__self__.eval\n"), "refers to"),
    "name beside the allowed package": (Global("ultralytics_evil", "Run"), "refers to 'ultralytics_evil.Run'"),
    "torch function": (Global("torch", "load"), "refers to 'torch.load'"),
    "numpy function": (Global("numpy", "load"), "refers to 'numpy.load'"),
    "extension registry": (Raw(b"\x82\x01"), "opcode 0x82"),
    "text protocol instance": (Raw(b"(iposix\nsystem\n"), "opcode 0x69"),
    "object opcode": (Raw(b"(cpathlib\nPath\no"), "opcode 0x6f"),
    "text protocol number": (Raw(b"I1\n"), "opcode 0x49"),
    "out-of-band buffer": (Raw(b"\x97"), "opcode 0x97"),
    "name from numbers": (Raw(b"K\x01K\x02\x93"), "no text"),
    "name that does not end": (Raw(b"c" + b"a" * 2000), "does not end"),
    "name that is no UTF-8": (Raw(b"c\xff\xfe\nx\n"), "UTF-8"),
    "empty stack": (Raw(b"000"), "empty stack"),
    "pop through a mark": (Raw(b"K\x01(\x85"), "empty stack"),
    "mark that is missing": (Raw(b"t"), "mark is missing"),
    "many marks": (Raw(b"(" * 5000), "nested marks"),
    "memo never stored": (Raw(b"h\x05"), "never stored"),
    "append to a number": (Raw(b"K\x01K\x02a"), "appends to a int"),
    "items of a list": (Raw(b"]K\x01K\x02s"), "sets items of a list"),
    "key without value": (Raw(b"}(K\x01u"), "key without a value"),
    "key that is a list": (Raw(b"}]K\x02s"), "key that is a list"),
    "key that is huge": (Raw(b"}\x8a\x0a" + b"\x7f" * 10 + b"Ns"), "too large"),
    "number of many bytes": (Raw(b"\x8a\xff" + b"\x01" * 255), "number of 255 bytes"),
    "text longer than the file": (Raw(b"X\xff\xff\xff\xff"), "past its end"),
    "bytes longer than memory": (Raw(b"\x8d" + b"\xff" * 8), "past its end"),
    "text of negative length": (Raw(b"T\xff\xff\xff\xff"), "past its end"),
    "text that is no UTF-8": (Raw(b"X\x01\x00\x00\x00\xff"), "UTF-8"),
    "frame past the end": (Raw(b"\x95" + b"\xff" * 8), "frame"),
    "nothing but a number": (7, "holds a int"),
    "keyword arguments": (Raw(b"cpathlib\nPath\n)}X\x01\x00\x00\x00aNs\x92"), "keyword arguments"),
    "empty dict": ({}, "neither a model"),
    "model that is a number": ({"model": 5}, "neither a model"),
    "protocol of the future": (Raw(b"\x80\x09"), "protocol 9"),
}


@pytest.mark.parametrize("name", TRICKS)
def test_malformed_pickles(name, refused, tmp_path):
    tree, message = TRICKS[name]
    TorchFile().write(tmp_path / "weights.pt", tree)
    refused(tmp_path / "weights.pt", message)


def test_pickle_without_stop(refused, tmp_path):
    write_zip(tmp_path / "weights.pt", {"archive/data.pkl": b"\x80\x02}"})
    refused(tmp_path / "weights.pt", "before its STOP")


def test_a_pickle_that_never_ends_in_time(refused, tmp_path):
    write_zip(tmp_path / "weights.pt", {"archive/data.pkl": b"\x80\x02" + b"N0" * 3_000_000})
    refused(tmp_path / "weights.pt", "more than 5000000 opcodes")


def test_a_pickle_that_is_too_large(refused, tmp_path):
    write_zip(tmp_path / "weights.pt", {"archive/data.pkl": bytes(65 * 1024 * 1024)})
    refused(tmp_path / "weights.pt", "expected at most")


# Structures that have no end.


def test_a_module_that_contains_itself(refused, tmp_path):
    header = b"cultralytics.nn.tasks\nDetectionModel\n)Rq\x05}(" + pickled("_modules")[2:-1]
    TorchFile().write(tmp_path / "weights.pt", Raw(header + b"}" + pickled("again")[2:-1] + b"h\x05sub"))
    refused(tmp_path / "weights.pt", "contain themselves")


def test_a_list_that_contains_itself(refused, tmp_path):
    TorchFile().write(tmp_path / "weights.pt", {"model": Raw(b"]q\x01h\x01a")})
    refused(tmp_path / "weights.pt", "neither a model")


def test_modules_nested_too_deep(refused, tmp_path):
    node = module("torch.nn.modules.container.Sequential")
    for _ in range(100):
        node = module("torch.nn.modules.container.Sequential", children={"0": node})
    TorchFile().write(tmp_path / "weights.pt", node)
    refused(tmp_path / "weights.pt", "nested over")


def test_a_tree_that_doubles_at_each_level(refused, tmp_path):
    """Thirty levels that each hold the level below twice: a billion modules in a kilobyte."""
    opcodes = b"ctorch.nn.modules.container\nSequential\n)Rq\x00}" + b"b"
    for level in range(30):
        opcodes += b"ctorch.nn.modules.container\nSequential\n)R}" + pickled("_modules")[2:-1] + b"}("
        for name in "ab":
            opcodes += pickled(name)[2:-1] + b"h" + bytes([level])
        opcodes += b"usbq" + bytes([level + 1])
    TorchFile().write(tmp_path / "weights.pt", Raw(opcodes))
    refused(tmp_path / "weights.pt", "more than 20000")


def memoised(opcodes, index):
    return opcodes + b"q" + bytes([index])


def shared_table(attribute, members, holders):
    """Opcodes of a model whose `holders` modules all hold one table of `members`."""
    new_module = b"ctorch.nn.modules.container\nSequential\n)R"
    table = pickled(attribute)[2:-1] + memoised(pickled(members)[2:-1], 0)
    shared = memoised(new_module + b"}(" + table + b"ub", 1)
    # The module with the table is made once and held under many names, so the file stays small.
    children = b"".join(pickled(str(index))[2:-1] + b"h\x01" for index in range(holders))
    return shared + b"0" + new_module + b"}(" + pickled("_modules")[2:-1] + b"}(" + children + b"uub"


@pytest.mark.parametrize("attribute", ["_parameters", "_buffers", "_modules"])
def test_one_table_held_by_many_modules(attribute, refused, tmp_path, monkeypatch):
    """A module of ten thousand members held under ten thousand names: a hundred million from a megabyte."""
    named = []
    text_key = torch_file._text_key
    monkeypatch.setattr(torch_file, "_text_key", lambda key, name: named.append(key) or text_key(key, name))
    # Children that are None end the walk no sooner than others, and cost as much as parameters.
    member = None if attribute == "_modules" else 5
    members = {str(index): member for index in range(10_000)}
    TorchFile().write(tmp_path / "weights.pt", Raw(shared_table(attribute, members, 10_000)))
    # The model's own ten thousand children, and one table more than is allowed.
    refused(tmp_path / "weights.pt", r"got 110000 parameters, buffers and modules up to here, expected at most 100000$")
    assert len(named) <= 110_000


@pytest.mark.parametrize(
    "opcodes", [b"]" * 200_000 + b"a" * 199_999, b")" + b"\x85" * 200_000], ids=["lists", "tuples"]
)
def test_values_nested_deep(opcodes, refused, tmp_path):
    TorchFile().write(tmp_path / "weights.pt", {"model": Raw(opcodes)})
    refused(tmp_path / "weights.pt", "neither a model")


# Tensors that lie about their storage.

LIES = {
    "element count past the file": ({"count": 10**9}, "claims 1000000000 elements"),
    "huge element count": ({"count": 2**70}, "element count"),
    "negative element count": ({"count": -1}, "element count"),
    "element count that is a text": ({"count": "16"}, "element count"),
    "offset past the storage": ({"offset": 5000}, "reaches to element"),
    "offset of one too many": ({"offset": 1}, "reaches to element"),
    "offset that overflows": ({"offset": 2**63}, "too large"),
    "negative offset": ({"offset": -8}, "whole numbers from 0"),
    "shape past the storage": ({"shape": (160, 3, 3, 3)}, "reaches to element"),
    "shape that overflows": ({"shape": (2**40, 2**40, 2**40), "strides": (2**40, 1, 1)}, "more numbers than the file"),
    "shape of nothing": ({"shape": (0, 3, 3, 3)}, "without elements"),
    "empty and huge": ({"shape": (0, 2**40, 2**40), "strides": (1, 1, 1)}, "without elements"),
    "negative size": ({"shape": (-16, 3, 3, 3)}, "whole numbers from 0"),
    "size that is a float": ({"shape": (16.0, 3, 3, 3)}, "whole numbers from 0"),
    "size that is a bool": ({"shape": (True, 3, 3, 3)}, "whole numbers from 0"),
    "shape that is a list": ({"shape": [16, 3, 3, 3]}, "whole numbers from 0"),
    "many dimensions": ({"shape": (1,) * 40, "strides": (1,) * 40}, "too many"),
    "strides past the storage": ({"strides": (27, 9, 3, 1000)}, "reaches to element"),
    "strides that overflow": ({"strides": (2**63, 9, 3, 1)}, "too large"),
    "negative strides": ({"strides": (27, 9, 3, -1)}, "whole numbers from 0"),
    "gaps between elements": ({"shape": (16, 3, 3, 2)}, "got 288 elements spread over 431, expected a tensor without"),
    "strides of zero": ({"strides": (0, 0, 0, 0)}, "overlap each other"),
    "too few strides": ({"strides": (27, 9)}, "whole numbers from 0"),
    "storage that is absent": ({"key": "999"}, "not in the file"),
    "storage that is a path": ({"key": "../../etc/passwd"}, "not in the file"),
    "storage that is a number": ({"key": 0}, "no valid name"),
    "storage of larger items": ({"kind": "DoubleStorage"}, "claims"),
    "whole numbers for weights": ({"kind": "IntStorage"}, "missing"),
}


@pytest.mark.parametrize("name", LIES)
def test_tensors_that_lie(name, refused, detector_weights, tmp_path):
    lies, message = LIES[name]
    file = TorchFile()
    tree = state_dict(file, detector_weights)
    tree[KEY] = file.tensor(detector_weights[KEY], **lies)
    file.write(tmp_path / "weights.pt", tree)
    refused(tmp_path / "weights.pt", message)


def test_a_storage_of_an_unknown_type(refused, detector_weights, tmp_path):
    file = TorchFile()
    tree = state_dict(file, detector_weights)
    tree[KEY] = file.tensor(detector_weights[KEY], kind="QInt8Storage")
    file.write(tmp_path / "weights.pt", tree)
    refused(tmp_path / "weights.pt", "refers to 'torch.QInt8Storage'")


STORAGE_REFERENCES = {
    "no tuple": Raw(b"NQ"),
    "another kind": Raw(pickled(("module", Global("torch", "FloatStorage"), "0", "cpu", 1))[2:-1] + b"Q"),
    "too short": Raw(pickled(("storage", Global("torch", "FloatStorage")))[2:-1] + b"Q"),
    "no storage": "0",
    "a class for a type": Raw(pickled(("storage", Global("pathlib", "Path"), "0", "cpu", 1))[2:-1] + b"Q"),
}


@pytest.mark.parametrize("name", STORAGE_REFERENCES)
def test_storage_references_of_another_form(name, refused, tmp_path):
    tensor = Call(Global("torch._utils", "_rebuild_tensor_v2"), (STORAGE_REFERENCES[name], 0, (1,), (1,), False, None))
    TorchFile().write(tmp_path / "weights.pt", {KEY: tensor})
    refused(tmp_path / "weights.pt", "its storage")


def test_one_storage_used_over_and_over(refused, detector_weights, tmp_path):
    """A thousand weights over one storage of a megabyte: a gigabyte from a small file."""
    file = TorchFile()
    tensor = file.tensor(np.zeros(2**18, np.float32))
    file.write(tmp_path / "weights.pt", {f"model.0.{index}": tensor for index in range(1000)})
    refused(tmp_path / "weights.pt", "more numbers than the file has bytes")


class CountedFile(io.BytesIO):
    """A file that counts the bytes read of it."""

    def __init__(self, data):
        super().__init__(data)
        self.count = 0

    def read(self, size=-1):
        data = super().read(size)
        self.count += len(data)
        return data


@pytest.mark.parametrize("shape", [(2,), (1, 2, 1), (2, 2)])
def test_a_few_elements_far_apart(shape, refused, tmp_path):
    """Weights that each span a storage of four megabytes with a few elements: none of it is read."""
    file = TorchFile()
    count = 2**20
    stride = (count - 1) // sum(size - 1 for size in shape)
    tensor = file.tensor(np.zeros(count, np.float32), shape=shape, strides=(stride,) * len(shape))
    path = tmp_path / "weights.pt"
    file.write(path, {f"model.0.{index}": tensor for index in range(1000)})
    refused(path, r"got [24] elements spread over \d+, expected a tensor without gaps")
    counted = CountedFile(path.read_bytes())
    with pytest.raises(CheckpointError):
        torch_file.read_torch_file(counted, path.stat().st_size)
    assert counted.count < 2**20


def test_no_more_is_read_than_the_file_has(tmp_path):
    """A thousand weights that share a storage of a megabyte."""
    file = TorchFile()
    tensor = file.tensor(np.zeros(2**18, np.float32))
    path = tmp_path / "weights.pt"
    file.write(path, {f"model.0.{index}": tensor for index in range(1000)})
    size = path.stat().st_size
    counted = CountedFile(path.read_bytes())
    with pytest.raises(CheckpointError, match="more numbers than the file has bytes"):
        torch_file.read_torch_file(counted, size)
    # One byte is charged for each number of four bytes.
    assert counted.count < 5 * size


@pytest.mark.parametrize("value", [5, "text", [1], {"a": 1}, None, Global("pathlib", "Path")], ids=str)
def test_a_weight_that_is_no_tensor(value, refused, detector_weights, tmp_path):
    file = TorchFile()
    file.write(tmp_path / "weights.pt", state_dict(file, detector_weights) | {KEY: value})
    refused(tmp_path / "weights.pt", f"{KEY}: got ")


# Weights that are no weights of the network.


def with_values(value):
    def change(array):
        array = array.copy()
        array.flat[3] = value
        return array

    return change


WRONG_WEIGHTS = {
    "NaN": (with_values(np.nan), "NaN"),
    "infinity": (with_values(np.inf), "infinite"),
    "another shape": (lambda array: array[:, :2], r"got shape \(16, 2, 3, 3\), expected \(16, 3, 3, 3\)"),
    "another width": (lambda array: array[:7], "first dimension"),
    "a scalar": (lambda array: array[0, 0, 0, 0], "first dimension"),
    "double that overflows": (lambda array: with_values(1e300)(array.astype(np.float64)), "infinite"),
}


@pytest.mark.parametrize("name", WRONG_WEIGHTS)
@pytest.mark.parametrize("whole", [True, False])
def test_wrong_weights(name, whole, refused, detector_weights, tmp_path):
    change, message = WRONG_WEIGHTS[name]
    file = TorchFile()
    weights = detector_weights | {KEY: change(detector_weights[KEY])}
    tree = {"ema": whole_model(file, weights, half=False)} if whole else state_dict(file, weights)
    file.write(tmp_path / "weights.pt", tree)
    refused(tmp_path / "weights.pt", f"{KEY}.*{message}")


def test_missing_and_unknown_weights(refused, detector_weights, tmp_path):
    file = TorchFile()
    tree = state_dict(file, detector_weights)
    del tree["model.8.cv2.bn.bias"]
    file.write(tmp_path / "weights.pt", tree)
    refused(tmp_path / "weights.pt", r"model\.8\.cv2\.bn\.bias: missing")
    tree = state_dict(file, detector_weights, **{"model.8.extra": file.tensor(np.zeros(3, np.float32))})
    file.write(tmp_path / "weights.pt", tree)
    refused(tmp_path / "weights.pt", r"model\.8\.extra: not a weight")


def test_two_keys_that_become_one(refused, detector_weights, tmp_path):
    file = TorchFile()
    tree = state_dict(file, detector_weights, **{"0.conv.weight": file.tensor(detector_weights[KEY])})
    file.write(tmp_path / "weights.pt", tree)
    refused(tmp_path / "weights.pt", "two weights have this name")


ATTRIBUTES = {
    "too few names": ({"names": {0: "a"}}, "names"),
    "gaps between names": ({"names": {0: "a", 1: "b", 7: "c"}}, "indices"),
    "names that are lists": ({"names": {0: [], 1: [], 2: []}}, "names"),
    "name of a megabyte": ({"names": {0: "a" * 10**6, 1: "b", 2: "c"}}, "1000 characters"),
    "image size of a text": ({"args": {"imgsz": "640"}}, "imgsz"),
    "negative image size": ({"args": {"imgsz": -640}}, "imgsz"),
    "another task": ({"task": "segment"}, "task: got 'segment', but the weights are those of YOLOv8n detect"),
    "no task of ours": ({"task": "obb"}, "task: got 'obb', expected one of detect, segment, pose, classify"),
    "epsilon of zero": ({"epsilon": 0.0}, "eps"),
    "epsilon that is no number": ({"epsilon": float("nan")}, "eps"),
    "epsilon that is a text": ({"epsilon": "1e-3"}, "eps"),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_wrong_attributes(name, refused, detector_weights, tmp_path):
    attributes, message = ATTRIBUTES[name]
    file = TorchFile()
    file.write(tmp_path / "weights.pt", whole_model(file, detector_weights, **attributes))
    refused(tmp_path / "weights.pt", message)


@pytest.mark.parametrize("attribute", ["_modules", "_parameters", "_buffers"])
def test_module_tables_that_are_no_tables(attribute, refused, tmp_path):
    node = Call(Global("ultralytics.nn.tasks", "DetectionModel"), (), {attribute: [1]})
    TorchFile().write(tmp_path / "weights.pt", node)
    refused(tmp_path / "weights.pt", f"{attribute}: got a list")
