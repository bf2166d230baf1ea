"""Reading .pt files without torch: a zip of a pickle and raw storages. Nothing in the file is executed.

Source: the format of torch.save since 1.6, as found in files of torch 1.13 to 2.14 and ultralytics 8.0 to 8.4.
"""

from __future__ import annotations

import math
import re
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from rfkernels.builder.checkpoint import (
    ModuleRecord,
    OnProgress,
    RawCheckpoint,
    bfloat16_to_float32,
    check_class_names,
    class_names_by_index,
    image_size_from,
)
from rfkernels.builder.keypoints import keypoint_names_from, keypoint_shape_from, skeleton_from
from rfkernels.builder.pickle_data import Call, Name, Persistent, Value, read_pickle
from rfkernels.builder.zip_file import Entry, read_bytes, read_entries
from rfkernels.errors import CheckpointError

_LARGEST_PICKLE_BYTES = 64 * 1024 * 1024
_MOST_DIMENSIONS = 8
_DEEPEST_MODULE = 32
_MOST_MODULES = 20_000
# Parameters, buffers and children of all modules together, those that are None included: a yolov8x has about 1,500.
_MOST_MEMBERS = 100_000
_MOST_STRIDES = 16
_LARGEST_NUMBER = 2**40

# Classes of these packages occur in whole-model files. They are recorded by name only.
_ALLOWED_PACKAGES = ("ultralytics", "torch.nn.modules", "torchvision.transforms")
_TENSOR = Name("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = Name("torch._utils", "_rebuild_parameter")
_PARAMETER_WITH_STATE = Name("torch._utils", "_rebuild_parameter_with_state")
_ALLOWED_NAMES = {
    _TENSOR,
    _PARAMETER,
    _PARAMETER_WITH_STATE,
    Name("torch", "Size"),
    Name("torch", "device"),
    Name("collections", "OrderedDict"),
    Name("__builtin__", "set"),
    Name("builtins", "set"),
    # Occur in older official files; like every other call they are recorded and never made.
    Name("__builtin__", "getattr"),
    Name("builtins", "getattr"),
    Name("numpy.core.multiarray", "scalar"),
    Name("numpy._core.multiarray", "scalar"),
    Name("numpy", "dtype"),
    Name("_codecs", "encode"),
    Name("pathlib", "Path"),
    Name("pathlib", "PosixPath"),
    Name("pathlib", "WindowsPath"),
}
# Little-endian NumPy types of torch's storages; bfloat16 is read as its 16 bits.
_STORAGE_TYPES = {
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_FLOATING_STORAGES = ("HalfStorage", "FloatStorage", "DoubleStorage", "BFloat16Storage")
_DTYPE_NAME = re.compile(r"u?int\d+|b?float\d+|bool")
_LEGACY_MAGIC = (b"\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", b"\x80\x02}", b"\x80\x02c")
_HEADS_WITH_STRIDES = ("Detect", "Segment", "Pose")
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "ema")


def read_torch_file(file: BinaryIO, size: int, on_progress: OnProgress | None = None) -> RawCheckpoint:
    """Weights and attributes of a .pt file: a whole ultralytics model, or a bare state dict.

    The moving average ("ema") is preferred where a training checkpoint holds both. Half precision becomes float32.

    Raises:
        CheckpointError: not such a file, malformed, or naming anything that a checkpoint has no use for.
    """
    file.seek(0)
    if file.read(14).startswith(_LEGACY_MAGIC):
        raise CheckpointError(
            "a .pt file in torch's format from before version 1.6; load and save it with a newer torch: "
            "torch.save(torch.load(path), path)"
        )
    archive = _Archive(file, size)
    root = read_pickle(archive.pickle, _is_allowed)
    content = _model_of(root)
    if isinstance(content, dict):
        named = content
        attributes: dict[Value, Value] = {}
        epsilon: float | None = None
        modules: dict[str, ModuleRecord] | None = None
    else:
        walk = _ModuleWalk()
        walk.visit(content, "", 0)
        named = walk.tensors
        epsilon = walk.batch_norm_epsilon
        modules = {name: _with_strides_read(module, archive) for name, module in walk.modules.items()}
        attributes = _state_of(content, "the model")
    weights = archive.materialise(named, on_progress)
    arguments = root.get("train_args") if isinstance(root, dict) else None
    keypoint_names, skeleton = attributes.get("kpt_names"), attributes.get("skeleton")
    return RawCheckpoint(
        weights=weights,
        task=_text_or_none(attributes.get("task")),
        class_names=_class_names(attributes.get("names")),
        image_size=_image_size(arguments, attributes.get("args")),
        keypoint_shape=_keypoint_shape(modules or {}, attributes),
        keypoint_names=None if keypoint_names is None else keypoint_names_from(keypoint_names),
        skeleton=None if skeleton is None else skeleton_from(skeleton),
        batch_norm_epsilon=epsilon,
        modules=modules,
    )


def _is_allowed(name: Name) -> bool:
    if name in _ALLOWED_NAMES:
        return True
    if name.module == "torch":
        return name.name in _STORAGE_TYPES or _DTYPE_NAME.fullmatch(name.name) is not None
    return any(name.module == package or name.module.startswith(f"{package}.") for package in _ALLOWED_PACKAGES)


@dataclass(frozen=True)
class _Tensor:
    """A view into one storage: all numbers are counted in elements."""

    storage_type: str
    storage: str
    storage_count: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Archive:
    """The zip file around the pickle, and the storages in it."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._entries = read_entries(file, size)
        pickles = [name for name in self._entries if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(pickles) != 1 or pickles[0].count("/") > 1:
            raise CheckpointError(f"zip file: got {len(pickles)} data.pkl, expected one: this is no file of torch.save")
        self._folder = pickles[0].removesuffix("data.pkl")
        byte_order = self._entries.get(f"{self._folder}byteorder")
        if byte_order is not None and read_bytes(file, byte_order, 16) != b"little":
            raise CheckpointError(
                "zip file: byteorder is not little, expected a file written on a little-endian machine"
            )
        self.pickle = read_bytes(file, self._entries[pickles[0]], _LARGEST_PICKLE_BYTES)

    def materialise(self, named: dict[Value, Value], on_progress: OnProgress | None) -> dict[str, NDArray[np.float32]]:
        """Read the floating point tensors among the values of a dict as float32 arrays."""
        weights: dict[str, NDArray[np.float32]] = {}
        # Tensors may share a storage, but all of a file's weights together cannot be more than its bytes.
        elements_left = self._size
        for done, (key, value) in enumerate(named.items()):
            if not isinstance(key, str) or len(key) > 500:
                raise CheckpointError("state dict: a key that is no text, or over 500 characters")
            if isinstance(value, dict | list | str | int | float) or value is None:
                raise CheckpointError(f"{key[:80]}: got a {type(value).__name__}, expected a tensor")
            tensor = _tensor_from(value, key)
            if tensor.storage_type in _FLOATING_STORAGES:
                reach = _reach_of(tensor, key)
                elements_left -= reach
                if elements_left < 0:
                    raise CheckpointError(f"{key[:80]}: the tensors together hold more numbers than the file has bytes")
                weights[key] = self._read(tensor, reach, key)
            if on_progress is not None:
                on_progress("weights", done + 1, len(named))
        return weights

    def _read(self, tensor: _Tensor, reach: int, key: str) -> NDArray[np.float32]:
        entry = self._storage_entry(tensor, key)
        dtype = np.dtype(_STORAGE_TYPES[tensor.storage_type])
        if reach > tensor.storage_count - tensor.offset:
            raise CheckpointError(
                f"{key[:80]}: reaches to element {tensor.offset + reach} of a storage of {tensor.storage_count}"
            )
        count = math.prod(tensor.shape)
        if count > reach:
            raise CheckpointError(f"{key[:80]}: its elements overlap each other, expected a tensor stored as it is")
        # torch.save stores contiguous and permuted tensors. With gaps, a few elements would have a whole storage read.
        if count < reach:
            raise CheckpointError(
                f"{key[:80]}: got {count} elements spread over {reach}, expected a tensor without gaps"
            )
        self._file.seek(entry.offset + tensor.offset * dtype.itemsize)
        data = self._file.read(reach * dtype.itemsize)
        if len(data) != reach * dtype.itemsize:
            raise CheckpointError(f"{key[:80]}: the file ends inside its storage")
        flat = np.frombuffer(data, dtype)
        byte_strides = tuple(stride * dtype.itemsize for stride in tensor.strides)
        view = np.lib.stride_tricks.as_strided(flat, tensor.shape, byte_strides, writeable=False)
        if tensor.storage_type == "BFloat16Storage":
            return bfloat16_to_float32(view)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.ascontiguousarray(view, dtype=np.float32)

    def _storage_entry(self, tensor: _Tensor, key: str) -> Entry:
        entry = self._entries.get(f"{self._folder}data/{tensor.storage}")
        if entry is None:
            raise CheckpointError(f"{key[:80]}: its storage {tensor.storage[:80]!r} is not in the file")
        item_size = np.dtype(_STORAGE_TYPES[tensor.storage_type]).itemsize
        if tensor.storage_count * item_size > entry.size:
            raise CheckpointError(
                f"{key[:80]}: its storage claims {tensor.storage_count} elements of {item_size} bytes, the file holds "
                f"{entry.size} bytes"
            )
        return entry


def _model_of(root: Value) -> Value:
    """The whole model or state dict in what a file's pickle holds."""
    if isinstance(root, Call):
        return root
    if not isinstance(root, dict):
        raise CheckpointError(f"the file holds a {type(root).__name__}, expected a model or a state dict")
    for key in ("ema", "model"):
        if isinstance(root.get(key), Call):
            return root[key]
    for key in _STATE_DICT_KEYS:
        if isinstance(root.get(key), dict) and root[key]:
            return root[key]
    if not any(_is_tensor(value) for value in root.values()):
        raise CheckpointError("the file holds neither a model (ema, model) nor a state dict")
    return root


def _is_tensor(value: Value) -> bool:
    return isinstance(value, Call) and value.name in {_TENSOR, _PARAMETER, _PARAMETER_WITH_STATE}


def _state_of(module: Value, where: str) -> dict[Value, Value]:
    if not isinstance(module, Call) or not isinstance(module.state, dict):
        raise CheckpointError(f"{where[:80]}: got a {type(module).__name__}, expected a module with its attributes")
    return module.state


class _ModuleWalk:
    """Collects the tensors and modules of a module tree under their names in its state dict."""

    def __init__(self) -> None:
        self.tensors: dict[Value, Value] = {}
        self.modules: dict[str, ModuleRecord] = {}
        self.batch_norm_epsilon: float | None = None
        self._path: set[int] = set()
        self._visited = 0
        self._members = 0

    def visit(self, module: Value, name: str, depth: int) -> None:
        """Collect a module and all below it; `name` is empty for the model, else ends with a dot."""
        self._visited += 1
        if depth > _DEEPEST_MODULE or self._visited > _MOST_MODULES or id(module) in self._path:
            raise CheckpointError(
                f"{name[:80] or 'the model'}: modules that contain themselves, are nested over {_DEEPEST_MODULE} deep, "
                f"or are more than {_MOST_MODULES}"
            )
        state = _state_of(module, name or "the model")
        self._note_epsilon(module, state, name)
        for attribute in ("_parameters", "_buffers"):
            for key, value in self._members_of(state, attribute, name).items():
                if value is not None:
                    self.tensors[f"{name}{_text_key(key, name)}"] = value
        children = {
            _text_key(key, name): child
            for key, child in self._members_of(state, "_modules", name).items()
            if child is not None
        }
        self.modules[name.removesuffix(".")] = ModuleRecord(
            module.name.module, module.name.name, state, tuple(children)
        )
        self._path.add(id(module))
        for key, child in children.items():
            self.visit(child, f"{name}{key}.", depth + 1)
        self._path.remove(id(module))

    def _members_of(self, state: dict[Value, Value], attribute: str, name: str) -> dict[Value, Value]:
        """A table of members, counted before it is walked: a small file may hang one large table on many modules."""
        members = _dict_of(state, attribute, name)
        self._members += len(members)
        if self._members > _MOST_MEMBERS:
            raise CheckpointError(
                f"{name[:80]}{attribute}: got {self._members} parameters, buffers and modules up to here, "
                f"expected at most {_MOST_MEMBERS}"
            )
        return members

    def _note_epsilon(self, module: Call, state: dict[Value, Value], name: str) -> None:
        """Remember the epsilon of batch normalisation, which must be the same in all."""
        if module.name.name != "BatchNorm2d":
            return
        epsilon = state.get("eps")
        if not isinstance(epsilon, float) or not 0 < epsilon < 1:
            raise CheckpointError(f"{name}eps: expected a number between 0 and 1")
        if self.batch_norm_epsilon not in {None, epsilon}:
            raise CheckpointError(
                f"{name}eps: got {epsilon}, another batch normalisation has {self.batch_norm_epsilon}"
            )
        self.batch_norm_epsilon = epsilon


def _with_strides_read(module: ModuleRecord, archive: _Archive) -> ModuleRecord:
    """A detection head with its strides as numbers: the one attribute that decoding depends on and that is a tensor."""
    strides = module.attributes.get("stride")
    if module.class_name not in _HEADS_WITH_STRIDES or not _is_tensor(strides):
        return module
    if math.prod(_tensor_from(strides, "stride").shape) > _MOST_STRIDES:
        return module
    values = archive.materialise({"stride": strides}, None).get("stride")
    if values is None:
        return module
    # In front of the attributes, not among a copy of them: a small file may hang one large table on many modules.
    return replace(module, attributes=ChainMap({"stride": values.reshape(-1).tolist()}, module.attributes))


def _dict_of(state: dict[Value, Value], attribute: str, name: str) -> dict[Value, Value]:
    value = state.get(attribute, {})
    if not isinstance(value, dict):
        raise CheckpointError(f"{name[:80]}{attribute}: got a {type(value).__name__}, expected a dict")
    return value


def _text_key(key: Value, name: str) -> str:
    if not isinstance(key, str) or len(key) > 100:
        raise CheckpointError(f"{name[:80]}: holds a member whose name is no text, or over 100 characters")
    return key


def _tensor_from(value: Value, key: str) -> _Tensor:
    """The view that a recorded call of torch's rebuild functions describes, checked in all its numbers."""
    shown = key[:80]
    for _ in range(3):
        if isinstance(value, Call) and value.name in {_PARAMETER, _PARAMETER_WITH_STATE} and value.arguments:
            value = value.arguments[0]
    if not isinstance(value, Call) or value.name != _TENSOR or len(value.arguments) < 4:
        kind = str(value.name) if isinstance(value, Call) else type(value).__name__
        raise CheckpointError(f"{shown}: got {kind}, expected a tensor")
    storage, offset, shape, strides = value.arguments[:4]
    if not isinstance(storage, Persistent) or not isinstance(storage.identifier, tuple) or len(storage.identifier) != 5:
        raise CheckpointError(f"{shown}: its storage is not given as torch gives it")
    kind, storage_type, storage_key, _, count = storage.identifier
    if kind != "storage" or not isinstance(storage_type, Name) or storage_type.name not in _STORAGE_TYPES:
        raise CheckpointError(f"{shown}: its storage is of an unknown type")
    if not isinstance(storage_key, str) or not _is_count(count):
        raise CheckpointError(f"{shown}: its storage has no valid name or element count")
    if not _is_count(offset) or not _are_counts(shape) or not _are_counts(strides) or len(shape) != len(strides):
        raise CheckpointError(
            f"{shown}: offset, shape or strides are not whole numbers from 0, or too many or too large"
        )
    return _Tensor(storage_type.name, storage_key, count, offset, shape, strides)


def _reach_of(tensor: _Tensor, key: str) -> int:
    """How many elements of its storage a tensor spans, from its first to its last."""
    if 0 in tensor.shape:
        raise CheckpointError(f"{key[:80]}: a tensor without elements")
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))


def _is_count(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_NUMBER


def _are_counts(value: Value) -> bool:
    return isinstance(value, tuple) and len(value) <= _MOST_DIMENSIONS and all(_is_count(item) for item in value)


def _text_or_none(value: Value) -> str | None:
    return value[:100] if isinstance(value, str) else None


def _class_names(names: Value) -> tuple[str, ...] | None:
    if isinstance(names, dict):
        return class_names_by_index(names)
    return check_class_names(names) if isinstance(names, list | tuple) else None


def _image_size(*sources: Value) -> tuple[int, int] | None:
    """The image size of training arguments, which are a dict or, in older files, a namespace object."""
    for source in sources:
        arguments = source.state if isinstance(source, Call) else source
        if isinstance(arguments, dict) and arguments.get("imgsz") is not None:
            return image_size_from(arguments["imgsz"])
    return None


def _keypoint_shape(modules: Mapping[str, ModuleRecord], attributes: dict[Value, Value]) -> tuple[int, int] | None:
    """What the head of a pose model says, which computes with it; else the model."""
    heads = [module.attributes for module in modules.values() if module.class_name == "Pose"]
    for said in (*heads, attributes):
        if said.get("kpt_shape") is not None:
            return keypoint_shape_from(said["kpt_shape"])
    return None
