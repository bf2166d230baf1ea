"""Arrays as other libraries hand them out, made by hand: DLPack capsules of any content, and a GPU that is none."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from rfkernels import _native
from rfkernels.device import Device

UINT8, FLOAT32 = (1, 8, 1), (2, 32, 1)
LEGACY, VERSIONED = "dltensor", "dltensor_versioned"


class Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class ManagedTensor(ctypes.Structure):
    _fields_ = (("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", DELETER))


class ManagedTensorVersioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", DELETER),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    )


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_name_of_capsule = ctypes.pythonapi.PyCapsule_GetName
_name_of_capsule.restype = ctypes.c_char_p
_name_of_capsule.argtypes = (ctypes.py_object,)
_pointer_of_capsule = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of_capsule.restype = ctypes.c_void_p
_pointer_of_capsule.argtypes = (ctypes.py_object, ctypes.c_char_p)

# What C has addresses of must stay, longer than any object that could be collected before a deleter is called.
_KEPT: list[Any] = []
_NAMES = {name: name.encode() for name in (LEGACY, VERSIONED)}


def capsule_name(capsule: object) -> str:
    return _name_of_capsule(capsule).decode()


def managed_tensor(capsule: object) -> ManagedTensor | ManagedTensorVersioned:
    """What a capsule that nobody has consumed points to."""
    name = _name_of_capsule(capsule)
    kind = ManagedTensorVersioned if name.decode() == VERSIONED else ManagedTensor
    return kind.from_address(_pointer_of_capsule(capsule, name))


class DLPackProducer:
    """An object with `__dlpack__`, of any content.

    Attributes:
        deletions: what `when_deleted` gave, each time that the deleter was called.
        calls: the keyword arguments of each call of `__dlpack__`.
    """

    def __init__(
        self,
        address: int,
        shape: tuple[int, ...],
        *,
        strides: tuple[int, ...] | None = None,
        dtype: tuple[int, int, int] = UINT8,
        device: tuple[int, int] = (1, 0),
        byte_offset: int = 0,
        name: str = VERSIONED,
        flags: int = 0,
        major: int = 1,
        with_deleter: bool = True,
        accepts: tuple[str, ...] = ("stream", "max_version"),
        owner: object = None,
        when_deleted: Callable[[], object] = lambda: None,
    ) -> None:
        self.deletions: list[object] = []
        self.calls: list[dict[str, Any]] = []
        self.owner = owner
        self._accepts = accepts
        self._device = device
        self._name = name
        self._extents = (
            (ctypes.c_int64 * max(len(shape), 1))(*shape),
            (ctypes.c_int64 * max(len(shape), 1))(*(strides or ())),
        )
        tensor = Tensor(address or None, *device, len(shape), *dtype)
        tensor.shape = self._extents[0]
        if strides is not None:
            tensor.strides = self._extents[1]
        tensor.byte_offset = byte_offset
        deletions = self.deletions
        deleter = DELETER(lambda managed: deletions.append(when_deleted())) if with_deleter else DELETER()
        if name == VERSIONED:
            self._managed: Any = ManagedTensorVersioned(major, 0, None, deleter, flags, tensor)
        else:
            self._managed = ManagedTensor(tensor, None, deleter)
        _KEPT.append((self._managed, self._extents, deleter))

    @property
    def deleted(self) -> int:
        """How often the deleter was called."""
        return len(self.deletions)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    def __dlpack__(self, **arguments: Any) -> object:
        if not set(arguments) <= set(self._accepts):
            raise TypeError(f"unexpected keyword arguments {sorted(arguments)}")
        self.calls.append(arguments)
        return _new_capsule(ctypes.addressof(self._managed), _NAMES[self._name], None)


class InterfaceProducer:
    """An object with `__cuda_array_interface__`, of any content."""

    def __init__(self, address: int, shape: tuple[int, ...], /, *, read_only: bool = False, **entries: Any) -> None:
        interface = {"version": 3, "data": (address, read_only), "shape": shape, "typestr": "|u1", **entries}
        self.__cuda_array_interface__ = {key: value for key, value in interface.items() if value is not ...}


class PretendedGpu:
    """The emulated device as a native device that says it is cuda:0, and notes who waits for whom."""

    kind = "cuda"
    ordinal = 0

    def __init__(self, native: _native.Device) -> None:
        self._native = native
        self._streams: set[int] = set()
        self.notes: list[tuple[str, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    def create_stream(self) -> int:
        handle = self._native.create_stream()
        self._streams.add(handle)
        return handle

    def _real(self, stream: int) -> int:
        return stream if stream in self._streams else 0

    def record_event(self, event: int, stream: int) -> None:
        self.notes.append(("record", stream))
        self._native.record_event(event, self._real(stream))

    def wait_event(self, event: int, stream: int) -> None:
        self.notes.append(("wait", stream))
        self._native.wait_event(event, self._real(stream))

    def synchronize(self, stream: int) -> None:
        self.notes.append(("synchronize", stream))
        self._native.synchronize(self._real(stream))

    def take_notes(self) -> list[tuple[str, int]]:
        notes, self.notes = self.notes, []
        return notes


def pretended_gpu() -> Device:
    return Device(PretendedGpu(_native.Device.open("emulated", 0)))  # type: ignore[arg-type]
