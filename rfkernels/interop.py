"""Arrays of other libraries on a device, taken in without a copy: torch, CuPy, Numba, PyCUDA, whoever speaks DLPack or
`__cuda_array_interface__`. The way out is `DeviceArray.__dlpack__` and `DeviceArray.__cuda_array_interface__`.
"""

from __future__ import annotations

import math
import operator
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

from rfkernels import _native
from rfkernels.array_protocols import (
    DLPACK_CUDA,
    DLPACK_DTYPES,
    DLPACK_HOST,
    DLPACK_MANAGED,
    DLPACK_PINNED_HOST,
    ITEM_SIZES,
    LEGACY_STREAM,
    NO_WAIT,
    TYPE_STRINGS,
    extent_of,
    packed_strides,
    stream_handle,
    stream_number,
)
from rfkernels.device import Device, DeviceArray, Event, Stream, refuse_per_thread_stream, require_stream_of
from rfkernels.errors import DeviceError, InvalidArgumentError

_DTYPES_OF_TYPE_STRINGS = {typestr: dtype for dtype, typestr in TYPE_STRINGS.items()}
# The byte order of one byte means nothing, and is written either way.
_DTYPES_OF_TYPE_STRINGS |= {"<b1": "bool", "<u1": "uint8", "|V2": "bfloat16"}
_DTYPES_OF_DLPACK = {code: dtype for dtype, code in DLPACK_DTYPES.items()}
_WANTED_DTYPES = "give bool, uint8, int32, float16, bfloat16 or float32"
_WANTED_OBJECTS = "give a DeviceArray, or what has __dlpack__ or __cuda_array_interface__ (torch, CuPy, PyCUDA, Numba)"
_LARGEST = 2**63 - 1


def as_device_array(
    obj: object, *, name: str, device: Device, stream: Stream | None, writeable: bool = False
) -> DeviceArray:
    """An array on a device, whichever library's it is, as a `DeviceArray` of the same memory.

    What the array's library has put on its own stream is done before what comes later on `stream`: its stream is
    waited for on the device, the host goes on. DLPack is asked for where there is both, because all who speak it say
    what is to be waited for.

    The array keeps the library's until it is collected itself. On a GPU that waits for `stream`: the library may hand
    the memory out again at once. So take arrays in before a capture, and keep them until it has ended.

    Args:
        obj: a DeviceArray, or what has `__dlpack__` and `__dlpack_device__`, or `__cuda_array_interface__` of version 2
            or 3. In memory of this device, managed memory, or pinned memory of the host; bool, uint8, int32, float16,
            bfloat16 or float32; of any strides that are not negative, and none that overlap where it is written to. An
            empty array becomes one of ours.
        name: of the argument that it is, for errors.
        device: where it must be.
        stream: that will use it. None leaves all waiting, before and after, to the caller.
        writeable: whether it will be written to, on `stream`.

    Raises:
        InvalidArgumentError: something else, or elsewhere; the message names the argument, says what was got and what
            to give.
    """
    if stream is not None:
        require_stream_of(device, stream)
        refuse_per_thread_stream(stream)
    if isinstance(obj, DeviceArray):
        return _own(obj, name, device, stream, writeable)
    if hasattr(obj, "__dlpack__") and hasattr(obj, "__dlpack_device__"):
        array = _from_dlpack(cast("_SpeaksDLPack", obj), name, device, stream, writeable)
    else:
        interface = getattr(obj, "__cuda_array_interface__", None)
        if interface is None:
            raise InvalidArgumentError(f"{name} is a {_type_of(obj)}; {_WANTED_OBJECTS}")
        if not isinstance(interface, Mapping):
            raise InvalidArgumentError(f"{name}.__cuda_array_interface__ is a {_type_of(interface)}; it must be a dict")
        array = _admit(_read_interface(interface, name, obj), name, device, stream, writeable)
        _wait_for_interface(interface, name, device, stream)
    if stream is not None:
        # It has waited for all that was written: whoever waits for it has, too.
        array.written_on(stream)
    return array


def end_use(array: DeviceArray) -> None:
    """Say that no work with an array that was taken in is on its way any more, and none will come.

    Its library then gets the memory back without a wait.
    """
    owner = array._owner
    if isinstance(owner, _Borrowed):
        owner.end_use()


class _SpeaksDLPack(Protocol):
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __dlpack__(self, **arguments: object) -> object: ...


@dataclass
class _Given:
    """What an array's library says of it; strides in bytes, None for C-contiguous ones."""

    keeper: object
    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: str
    read_only: bool


class _Borrowed:
    """Another library's memory, kept until nothing of ours uses it."""

    def __init__(self, keeper: object, stream: Stream | None) -> None:
        self._keeper = keeper
        self._end = None
        if stream is not None and stream.device.kind == "cuda":
            # It holds the stream, which would go first in a collection that takes both, and at the interpreter's exit.
            self._end = weakref.finalize(self, _wait_before_giving_back, stream)

    def end_use(self) -> None:
        if self._end is not None:
            self._end.detach()


def _wait_before_giving_back(stream: Stream) -> None:
    """Before memory goes back to its library, which may hand it out again: work of ours may be on its way.

    An error of that work is told by the next call that waits. The emulated device waits when its memory is released.
    """
    with suppress(DeviceError):
        stream.synchronize()


def _own(array: DeviceArray, name: str, device: Device, stream: Stream | None, writeable: bool) -> DeviceArray:
    if (array.device.kind, array.device.ordinal) != (device.kind, device.ordinal):
        raise InvalidArgumentError(f"{name} is on {_name_of(array.device)}; give one on {_name_of(device)}")
    if writeable and array.read_only:
        raise InvalidArgumentError(f"{name} is read-only; give an array that may be written to")
    if stream is not None:
        array.let_wait(stream)
        if writeable:
            array.written_on(stream)
    return array


# DLPack


def _from_dlpack(obj: _SpeaksDLPack, name: str, device: Device, stream: Stream | None, writeable: bool) -> DeviceArray:
    kind, ordinal = obj.__dlpack_device__()
    _check_dlpack_device(int(kind), int(ordinal), name, device)
    capsule = _dlpack_capsule(obj, int(kind), name, device, stream)
    imported = _native.import_dlpack(capsule, name)
    try:
        # What counts is what the capsule says.
        _check_dlpack_device(*imported.device, name, device)
        given = _read_dlpack(imported, name)
        return _admit(given, name, device, stream, writeable)
    except BaseException:
        # Now, not when the traceback goes.
        imported.release()
        raise


def _check_dlpack_device(kind: int, ordinal: int, name: str, device: Device) -> None:
    if kind not in (DLPACK_HOST, DLPACK_CUDA, DLPACK_PINNED_HOST, DLPACK_MANAGED):
        raise InvalidArgumentError(f"{name} is on DLPack's device {kind}, which is no GPU; copy it to {device.kind}")
    if kind == DLPACK_CUDA and (device.kind, device.ordinal) != ("cuda", ordinal):
        raise InvalidArgumentError(f"{name} is on cuda:{ordinal}; give an array on {_name_of(device)}")


def _dlpack_capsule(obj: _SpeaksDLPack, kind: int, name: str, device: Device, stream: Stream | None) -> object:
    arguments: dict[str, object] = {}
    # Memory of the host's has no stream, and its libraries take none.
    if kind in (DLPACK_CUDA, DLPACK_MANAGED):
        arguments["stream"] = NO_WAIT if stream is None else stream_number(stream.handle)
    try:
        try:
            return obj.__dlpack__(**arguments, max_version=(1, 0))
        except TypeError:  # older than DLPack 1.0
            pass
        try:
            return obj.__dlpack__(**arguments)
        except TypeError:
            if not arguments:
                raise
        # Older than streams: it waits on the legacy default stream, if at all.
        capsule = obj.__dlpack__()
    except (BufferError, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise InvalidArgumentError(f"{name} is a {_type_of(obj)} whose __dlpack__ failed: {error}") from error
    if stream is not None:
        _wait_for(Stream(device, stream_handle(LEGACY_STREAM, emulated=device.kind == "emulated")), stream)
    return capsule


def _read_dlpack(imported: _native.ImportedTensor, name: str) -> _Given:
    code, bits, lanes = imported.dtype
    dtype = _DTYPES_OF_DLPACK.get((code, bits)) if lanes == 1 else None
    if dtype is None:
        raise InvalidArgumentError(
            f"{name} has DLPack's dtype (code {code}, {bits} bits, {lanes} lanes); {_WANTED_DTYPES}"
        )
    strides = imported.strides
    if strides is not None:
        strides = tuple(stride * ITEM_SIZES[dtype] for stride in strides)
    return _Given(imported, imported.address, imported.shape, strides, dtype, imported.read_only)


# __cuda_array_interface__


def _wait_for_interface(interface: Mapping[str, Any], name: str, device: Device, stream: Stream | None) -> None:
    number = interface.get("stream")
    if number is None:
        return
    try:
        handle = stream_handle(operator.index(number), emulated=device.kind == "emulated")
        if stream is not None:
            _wait_for(Stream(device, handle), stream)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{name}.__cuda_array_interface__ has the stream {number!r}: {error}") from error


def _wait_for(other: Stream, stream: Stream) -> None:
    if other.handle != stream.handle:
        event = Event(stream.device)
        event.record(other)
        event.wait(stream)


def _read_interface(interface: Mapping[str, Any], name: str, obj: object) -> _Given:
    where = f"{name}.__cuda_array_interface__"
    if interface.get("version") not in (2, 3):
        raise InvalidArgumentError(f"{where} has version {interface.get('version')!r}; give 2 or 3")
    if interface.get("mask") is not None:
        raise InvalidArgumentError(f"{where} has a mask; give an array without one")
    try:
        address, read_only = interface["data"]
        address = operator.index(address)
        shape = tuple(map(operator.index, interface["shape"]))
        strides = interface.get("strides")
        strides = None if strides is None else tuple(map(operator.index, strides))
        typestr = interface["typestr"]
        read_only = bool(read_only)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"{where} is broken ({type(error).__name__}: {error}); it must have data (address, read-only), shape, "
            "typestr and, where they are not C-contiguous ones, strides"
        ) from error
    if not 0 <= address <= _LARGEST:
        raise InvalidArgumentError(f"{where} has the address {address}; give one of 0 to 2**63 - 1")
    dtype = _DTYPES_OF_TYPE_STRINGS.get(typestr) if isinstance(typestr, str) else None
    if dtype is None:
        raise InvalidArgumentError(f"{name} has the dtype {typestr!r}; {_WANTED_DTYPES} of little-endian order")
    _check_fields(interface.get("descr"), name, dtype)
    # The interface too: whoever made it may hold the memory by it.
    return _Given((obj, interface), address, shape, strides, dtype, read_only)


def _check_fields(descr: object, name: str, dtype: str) -> None:
    """Refuse records: the type string of one of two bytes is bfloat16's."""
    if descr is None:
        return
    fields = list(descr) if isinstance(descr, list | tuple) else []
    if len(fields) == 1 and isinstance(fields[0], list | tuple) and len(fields[0]) == 2:
        field, typestr = fields[0]
        if field == "" and isinstance(typestr, str) and _DTYPES_OF_TYPE_STRINGS.get(typestr) == dtype:
            return
    raise InvalidArgumentError(f"{name} has the dtype {descr!r:.200}; {_WANTED_DTYPES}, and no fields")


# Both


def _admit(given: _Given, name: str, device: Device, stream: Stream | None, writeable: bool) -> DeviceArray:
    if writeable and given.read_only:
        raise InvalidArgumentError(f"{name} is read-only; give an array that may be written to")
    itemsize = ITEM_SIZES[given.dtype]
    strides = _checked_strides(given, name, itemsize, writeable)
    if 0 in given.shape:
        # Protocols give it no address; ours has one, so that no op takes it for a missing array.
        return device.empty(given.shape, given.dtype, purpose="empty array")
    if given.address == 0:
        raise InvalidArgumentError(f"{name} has shape {list(given.shape)} and a null pointer; give an array with data")
    if given.address % itemsize:
        raise InvalidArgumentError(
            f"{name} begins at an address that is no multiple of {itemsize}, the size of {given.dtype}; give a copy"
        )
    extent = extent_of(given.shape, strides) + itemsize
    place = _place_of(given.address, extent, name, device)
    if device.kind == "emulated":
        # What others wrote was not seen by the watch over kernels.
        _native.emulation.mark_written(given.address, extent)
    return DeviceArray(
        device,
        given.address,
        given.shape,
        given.dtype,
        owner=_Borrowed(given.keeper, stream),
        strides=strides,
        read_only=given.read_only,
        pinned=place == "pinned_host",
    )


def _checked_strides(given: _Given, name: str, itemsize: int, writeable: bool) -> tuple[int, ...]:
    """Strides that address memory; those of axes of one element, which mean nothing, are what would be next."""
    shape = given.shape
    if any(size < 0 for size in shape):
        raise InvalidArgumentError(f"{name} has shape {list(shape)}; sizes cannot be negative")
    strides = packed_strides(shape, itemsize) if given.strides is None else given.strides
    if len(strides) != len(shape):
        raise InvalidArgumentError(f"{name} has {len(shape)} axes and {len(strides)} strides; give one for each axis")
    # As NumPy counts them, empty axes left out, so that no number made of sizes is larger than 64 bits hold.
    if math.prod(size for size in shape if size) * itemsize > _LARGEST:
        raise InvalidArgumentError(f"{name} has shape {list(shape)}, which is of 2**63 bytes or more; give an array's")
    if 0 in shape:
        return packed_strides(shape, itemsize)
    told = f"{name} has shape {list(shape)} and strides {list(strides)} in bytes"
    long_axes = [(stride, size) for stride, size in zip(strides, shape, strict=True) if size > 1]
    if any(stride < 0 for stride, _ in long_axes):
        raise InvalidArgumentError(f"{told}; negative ones are not taken, give a contiguous copy")
    if any(stride % itemsize for stride, _ in long_axes):
        raise InvalidArgumentError(f"{told}, which are no multiples of {itemsize}, the size of {given.dtype}")
    if given.address + extent_of(shape, strides) > _LARGEST:
        raise InvalidArgumentError(f"{told}, which leave all memory; give those of an array")
    if writeable:
        covered = itemsize
        for stride, size in sorted(long_axes):
            if stride < covered:
                raise InvalidArgumentError(f"{told}: elements lie on each other, so it cannot be written to")
            covered += stride * (size - 1)
    return _completed(shape, strides, itemsize)


def _completed(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> tuple[int, ...]:
    completed, following = [], itemsize
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        completed.append(stride if size > 1 else following)
        following = max(following, completed[-1] * size)
    return tuple(reversed(completed))


def _place_of(address: int, extent: int, name: str, device: Device) -> str:
    first = device.native.locate(address)
    if first == "other_device":
        raise InvalidArgumentError(f"{name} is on another GPU; give an array on {_name_of(device)}")
    if first == "pageable_host":
        raise InvalidArgumentError(
            f"{name} is in memory of the host's, which {_name_of(device)} does not reach; copy it with device.upload"
        )
    if device.native.locate(address + extent - 1) != first:
        raise InvalidArgumentError(
            f"{name} ends {extent} bytes after it begins, in other memory; its shape and strides are not an array's"
        )
    return first


def _name_of(device: Device) -> str:
    return f"{device.kind}:{device.ordinal}"


def _type_of(obj: object) -> str:
    kind = type(obj)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
