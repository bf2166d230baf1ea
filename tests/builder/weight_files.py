"""Writing .pt and .safetensors files without torch, well-formed ones and ones that lie."""

import io
import json
import struct
import zipfile
from dataclasses import dataclass, field

import numpy as np

STORAGES = {"float16": "HalfStorage", "float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


@dataclass
class Global:
    module: str
    name: str


@dataclass
class Call:
    """REDUCE of a global name, then BUILD with the state where there is one."""

    function: object
    arguments: tuple = ()
    state: object = None


@dataclass
class Storage:
    kind: str
    key: str
    count: object


@dataclass
class Raw:
    """Opcodes as they are."""

    data: bytes


@dataclass
class TorchFile:
    """The tree of a pickle and the storages it refers to, written as torch.save writes them."""

    storages: dict[str, bytes] = field(default_factory=dict)

    def tensor(self, array, **lies):
        """A tensor node; `lies` replace what is said of its storage: count, offset, shape, strides, kind, key."""
        array = np.ascontiguousarray(array)
        key = str(len(self.storages))
        self.storages[key] = array.tobytes()
        strides = tuple(step // array.itemsize for step in array.strides)
        kind = lies.get("kind", STORAGES.get(str(array.dtype), "FloatStorage"))
        storage = Storage(kind, lies.get("key", key), lies.get("count", array.size))
        arguments = (
            storage,
            lies.get("offset", 0),
            lies.get("shape", array.shape),
            lies.get("strides", strides),
            False,
            Call(Global("collections", "OrderedDict")),
        )
        return Call(Global("torch._utils", "_rebuild_tensor_v2"), arguments)

    def parameter(self, array, **lies):
        arguments = (self.tensor(array, **lies), True, Call(Global("collections", "OrderedDict")))
        return Call(Global("torch._utils", "_rebuild_parameter"), arguments)

    def write(self, path, tree):
        self.write_pickle(path, pickled(tree))

    def write_pickle(self, path, pickle, **more):
        write_zip(path, {"archive/data.pkl": pickle, "archive/byteorder": b"little"} | more | self.entries())

    def entries(self):
        return {f"archive/data/{key}": data for key, data in self.storages.items()} | {"archive/version": b"3\n"}


def pickled(tree):
    out = io.BytesIO()
    out.write(b"\x80\x02")
    _write(out, tree)
    out.write(b".")
    return out.getvalue()


def _write(out, value):  # noqa: PLR0912 - one branch per type
    if value is None:
        out.write(b"N")
    elif isinstance(value, bool):
        out.write(b"\x88" if value else b"\x89")
    elif isinstance(value, int):
        if -(2**31) <= value < 2**31:
            out.write(b"J" + struct.pack("<i", value))
        else:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            out.write(b"\x8a" + bytes([len(data)]) + data)
    elif isinstance(value, float):
        out.write(b"G" + struct.pack(">d", value))
    elif isinstance(value, str):
        data = value.encode()
        out.write(b"X" + struct.pack("<I", len(data)) + data)
    elif isinstance(value, Global):
        out.write(f"c{value.module}\n{value.name}\n".encode())
    elif isinstance(value, Storage):
        _write(out, ("storage", Global("torch", value.kind), value.key, "cpu", value.count))
        out.write(b"Q")
    elif isinstance(value, Call):
        _write(out, value.function)
        _write(out, value.arguments)
        out.write(b"R")
        if value.state is not None:
            _write(out, value.state)
            out.write(b"b")
    elif isinstance(value, tuple | list):
        out.write(b"(" if isinstance(value, tuple) else b"](")
        for item in value:
            _write(out, item)
        out.write(b"t" if isinstance(value, tuple) else b"e")
    elif isinstance(value, dict):
        out.write(b"}(")
        for key, item in value.items():
            _write(out, key)
            _write(out, item)
        out.write(b"u")
    else:
        assert isinstance(value, Raw), type(value)
        out.write(value.data)


def write_zip(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def module(class_path, *, parameters=None, buffers=None, children=None, **attributes):
    """A pickled nn.Module."""
    package, _, name = class_path.rpartition(".")
    state = {"_parameters": parameters or {}, "_buffers": buffers or {}, "_modules": children or {}} | attributes
    return Call(Global(package, name), (), state)


def whole_model(file, weights, *, half=True, activation="torch.nn.modules.activation.SiLU", epsilon=1e-3, **attributes):
    """A pickled ultralytics DetectionModel around weights given by the keys of a state dict."""
    tree = {}
    for key, values in weights.items():
        node = tree
        *path, leaf = key.split(".")
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = values

    def made(node):
        parameters, buffers, children = {}, {}, {}
        for name, value in node.items():
            if isinstance(value, dict):
                children[name] = made(value)
            elif name in {"running_mean", "running_var"}:
                buffers[name] = file.tensor(value.astype(np.float16) if half else value)
            else:
                parameters[name] = file.parameter(value.astype(np.float16) if half else value)
        if "running_var" in buffers:
            buffers["num_batches_tracked"] = file.tensor(np.array(3))
            return module("torch.nn.modules.batchnorm.BatchNorm2d", parameters=parameters, buffers=buffers, eps=epsilon)
        if "bn" in children:
            children["act"] = module(activation)
            return module("ultralytics.nn.modules.conv.Conv", children=children)
        if parameters:
            return module("torch.nn.modules.conv.Conv2d", parameters=parameters)
        return module("torch.nn.modules.container.Sequential", children=children)

    package = "ultralytics.nn.tasks.DetectionModel"
    return module(package, children={"model": made(tree["model"])}, **attributes)


def safetensors_bytes(weights, metadata=None, *, change_header=None, dtype="F32", extra=b""):
    """A .safetensors file; `change_header` may alter its header before it is written."""
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for key, values in weights.items():
        raw = values.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
        header[key] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    if change_header is not None:
        header = change_header(header)
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data + extra
