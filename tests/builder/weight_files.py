"""Writing .pt and .safetensors files without torch, well-formed ones and ones that lie."""

import io
import json
import re
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


CONVOLUTION = "ultralytics.nn.modules.conv.Conv"
C2F = "ultralytics.nn.modules.block.C2f"
UPSAMPLE = "torch.nn.modules.upsampling.Upsample"
CONCAT = "ultralytics.nn.modules.conv.Concat"
# Class and sources of each layer, as ultralytics pickles them.
LAYERS = [
    (CONVOLUTION, -1),
    (CONVOLUTION, -1),
    (C2F, -1),
    (CONVOLUTION, -1),
    (C2F, -1),
    (CONVOLUTION, -1),
    (C2F, -1),
    (CONVOLUTION, -1),
    (C2F, -1),
    ("ultralytics.nn.modules.block.SPPF", -1),
    (UPSAMPLE, -1),
    (CONCAT, [-1, 6]),
    (C2F, -1),
    (UPSAMPLE, -1),
    (CONCAT, [-1, 4]),
    (C2F, -1),
    (CONVOLUTION, -1),
    (CONCAT, [-1, 12]),
    (C2F, -1),
    (CONVOLUTION, -1),
    (CONCAT, [-1, 9]),
    (C2F, -1),
    ("ultralytics.nn.modules.head.Detect", [15, 18, 21]),
]
LAYER_ATTRIBUTES = {
    "SPPF": {"n": 3, "add": False},
    "Upsample": {"size": None, "scale_factor": 2.0, "mode": "nearest", "align_corners": None},
    "Concat": {"d": 1},
    "Detect": {"nl": 3, "reg_max": 16},
    "Segment": {"nl": 3, "reg_max": 16, "nm": 32, "npr": 64},
    "Pose": {"nl": 3, "reg_max": 16},
}
HEADS = {"detect": "Detect", "segment": "Segment", "pose": "Pose", "classify": "Classify"}
BACKBONE_LAYERS = 10
# The first pattern that fits a module's path names its class.
CLASSES = [
    (r"model\.9\.pool", "torch.nn.modules.pooling.AdaptiveAvgPool2d"),
    (r"model\.9\.drop", "torch.nn.modules.dropout.Dropout"),
    (r"model\.9\.linear", "torch.nn.modules.linear.Linear"),
    (r"model\.22\.proto", "ultralytics.nn.modules.block.Proto"),
    (r"model\.22\.proto\.upsample", "torch.nn.modules.conv.ConvTranspose2d"),
    (r"model|model\.22\.cv[234]\.\d", "torch.nn.modules.container.Sequential"),
    (r"model\.9\.m", "torch.nn.modules.pooling.MaxPool2d"),
    (r"model\.\d+\.m|model\.22\.cv[234]", "torch.nn.modules.container.ModuleList"),
    (r"model\.\d+\.m\.\d+", "ultralytics.nn.modules.block.Bottleneck"),
    (r"model\.22\.cv[234]\.\d\.2|.*\.conv", "torch.nn.modules.conv.Conv2d"),
    (r".*\.bn", "torch.nn.modules.batchnorm.BatchNorm2d"),
    (r".*\.act", "torch.nn.modules.activation.SiLU"),
    (r".*\.dfl", "ultralytics.nn.modules.block.DFL"),
    (r".*\.cv[1234](\.\d\.[01])?", CONVOLUTION),
]
# In `changed`: the attribute is left out.
ABSENT = object()


def class_and_attributes(path, weight, task):  # noqa: PLR0911 - one per class
    """Class and attributes of the module at a path of a network, as ultralytics and torch pickle them."""
    if path == ("model.9" if task == "classify" else "model.22"):
        index, sources = (9, -1) if task == "classify" else (22, [15, 18, 21])
        class_path = f"ultralytics.nn.modules.head.{HEADS[task]}"
        return class_path, {"i": index, "f": sources, "type": class_path} | LAYER_ATTRIBUTES.get(HEADS[task], {})
    if task == "classify" and path == "model.9.conv":
        return CONVOLUTION, {}
    if layer := re.fullmatch(r"model\.(\d+)", path):
        class_path, sources = LAYERS[int(layer[1])]
        own = LAYER_ATTRIBUTES.get(class_path.rpartition(".")[2], {})
        return class_path, {"i": int(layer[1]), "f": sources, "type": class_path} | own
    class_path = next(class_path for pattern, class_path in CLASSES if re.fullmatch(pattern, path))
    if class_path.endswith("ConvTranspose2d"):
        sizes = {"kernel_size": 2, "stride": 2, "padding": 0, "dilation": 1, "output_padding": 0}
        attributes = {name: (value, value) for name, value in sizes.items()}
        return class_path, attributes | {"groups": 1, "padding_mode": "zeros"}
    if class_path.endswith("AdaptiveAvgPool2d"):
        return class_path, {"output_size": 1}
    if class_path.endswith("Conv2d"):
        kernel, stride = weight.shape[-1] if weight.ndim else 1, 2 if re.fullmatch(r"model\.\d+\.conv", path) else 1
        stride = 1 if path == "model.9.conv.conv" else stride
        pairs = {"kernel_size": kernel, "stride": stride, "padding": kernel // 2, "dilation": 1}
        attributes = {name: (value, value) for name, value in pairs.items()}
        return class_path, attributes | {"groups": 1, "padding_mode": "zeros"}
    if class_path.endswith("MaxPool2d"):
        return class_path, {"kernel_size": 5, "stride": 1, "padding": 2, "dilation": 1, "ceil_mode": False}
    if class_path.endswith("Bottleneck"):
        return class_path, {"add": int(path.split(".")[1]) < BACKBONE_LAYERS}
    return class_path, {}


def whole_model(
    file,
    weights,
    *,
    half=True,
    activation="torch.nn.modules.activation.SiLU",
    epsilon=1e-3,
    changed=None,
    network="detect",
    **attributes,
):
    """A pickled ultralytics model of a task (`network`) around weights given by the keys of a state dict.

    changed: by the path of a module ("model.4.m.0"), attributes that replace its own (ABSENT: that are left out);
    "class" replaces its class, "children" is called with its children and returns others.
    """
    changed = changed or {}
    tree = {}
    for key, values in weights.items():
        node = tree
        *path, leaf = key.split(".")
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = values
    layers = tree["model"]
    if network == "classify":
        layers["9"] |= {"pool": {}, "drop": {}}
    if "22" in layers:
        for index in (10, 11, 13, 14, 17, 20):
            layers[str(index)] = {}
        layers["9"]["m"] = {}
        tree["model"] = {str(index): layers[str(index)] for index in range(23)}

    def made(node, path):
        parameters, buffers, children = {}, {}, {}
        for name, value in node.items():
            if isinstance(value, dict):
                children[name] = made(value, f"{path}.{name}")
            elif name in {"running_mean", "running_var"}:
                buffers[name] = file.tensor(value.astype(np.float16) if half else value)
            else:
                parameters[name] = file.parameter(value.astype(np.float16) if half else value)
        class_path, own = class_and_attributes(path, node.get("weight"), network)
        if "running_var" in buffers:
            buffers["num_batches_tracked"] = file.tensor(np.array(3))
            own["eps"] = epsilon
        if class_path == CONVOLUTION:
            children["act"] = made({}, f"{path}.act")
        own |= changed.get(path, {})
        class_path = own.pop("class", activation if path.endswith(".act") else class_path)
        children = own.pop("children", lambda children: children)(children)
        own = {name: value for name, value in own.items() if value is not ABSENT}
        return module(class_path, parameters=parameters, buffers=buffers, children=children, **own)

    package = "ultralytics.nn.tasks.DetectionModel"
    return module(package, children={"model": made(tree["model"], "model")}, **attributes)


def safetensors_bytes(weights, metadata=None, *, change_header=None, dtype="F32", extra=b""):
    """A .safetensors file; `change_header` may alter its header before it is written."""
    header, data = {}, bytearray()
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
