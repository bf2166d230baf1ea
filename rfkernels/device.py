"""Devices: a GPU, or its emulation on the CPU. Memory, streams, events, graphs. C++ contract: rfkernels/device.h.

What is put on a stream runs in order, later; `Stream.synchronize` waits for it. Memory goes back when its object is
collected, after what uses it is done.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfkernels import _native
from rfkernels.errors import InvalidArgumentError

_BYTES = {"uint8": 1, "int32": 4, "float16": 2, "bfloat16": 2, "float32": 4}


@cache
def open_device(name: str) -> Device:
    """The device of a name: "cuda" (the first GPU), "cuda:1", "emulated".

    A GPU is used in its primary context, as the CUDA runtime, torch and CuPy do.

    Raises:
        InvalidArgumentError: another name.
        UnavailableError: there is no such device here, and why.
    """
    kind, colon, number = name.partition(":")
    if kind not in ("cuda", "emulated") or (colon and not (number.isascii() and number.isdigit() and len(number) < 5)):
        raise InvalidArgumentError(f'device is {name!r}; give "cuda", "cuda:1" (another GPU), or "emulated"')
    return Device(_native.Device.open(kind, int(number or 0)))


class Device:
    """A GPU or its emulation, from `open_device`. May be used from several threads, a stream from one at a time."""

    def __init__(self, native: _native.Device) -> None:
        self.native = native
        self.kind = native.kind
        self.ordinal = native.ordinal

    def __repr__(self) -> str:
        return f"<rfkernels.device.Device {self.kind}:{self.ordinal} ({self.native.name})>"

    def stream(self) -> Stream:
        """A new stream, which goes when the object is collected."""
        handle = self.native.create_stream()
        stream = Stream(self, handle)
        weakref.finalize(stream, self.native.destroy_stream, handle)
        return stream

    def empty(self, shape: Sequence[int], dtype: str, *, purpose: str = "array") -> DeviceArray:
        """Device memory that nobody has written.

        Args:
            shape: sizes of the axes.
            dtype: "uint8", "int32", "float16", "bfloat16" or "float32".
            purpose: what it is for; names the memory in errors.
        """
        if dtype not in _BYTES:
            raise InvalidArgumentError(f"dtype is {dtype!r}; give one of {', '.join(_BYTES)}")
        shape = tuple(int(size) for size in shape)
        if any(size < 0 for size in shape):
            raise InvalidArgumentError(f"shape is {shape}; sizes cannot be negative")
        size = math.prod(shape) * _BYTES[dtype]
        # A pointer of its own for an empty array too.
        memory = DeviceMemory(self, max(size, 1), purpose)
        return DeviceArray(self, memory.address, shape, dtype, owner=memory)

    def upload(
        self, array: ArrayLike, stream: Stream, *, dtype: str | None = None, purpose: str = "array"
    ) -> DeviceArray:
        """A copy on the device of a NumPy array, complete when the stream has come to it.

        Args:
            dtype: "bfloat16" says that the array's uint16 are bits of it; the array's own by default.
        """
        values = np.ascontiguousarray(array)
        result = self.empty(np.shape(array), dtype or values.dtype.name, purpose=purpose)
        result.write(values, stream)
        return result

    def pinned(self, size: int, *, purpose: str = "staging") -> NDArray[np.uint8]:
        """Host memory that the device can read and copies need not stage: uint8 [size]."""
        address = self.native.allocate_pinned(max(size, 1), purpose)
        array = _bytes_at(address, size)
        weakref.finalize(array.base, self.native.release_pinned, address)
        return array

    def counters(self) -> Mapping[str, int]:
        """What the device was asked for since it was opened: launches, graph launches, waits, bytes copied."""
        return self.native.counters()


class DeviceMemory:
    """Device memory, released when the object is collected."""

    def __init__(self, device: Device, size: int, purpose: str) -> None:
        self.address = device.native.allocate(size, purpose)
        self.size = size
        weakref.finalize(self, device.native.release, self.address)


class Stream:
    """A queue of work on a device. `device.stream()` makes one; `Stream(device, handle)` is a caller's own.

    Args:
        handle: a cudaStream_t as a number; 0 is the default stream.
    """

    def __init__(self, device: Device, handle: int) -> None:
        self.device = device
        self.handle = handle

    def synchronize(self) -> None:
        """Wait for all that is on it.

        Raises:
            DeviceError: of what ran since the last wait, something failed.
        """
        self.device.native.synchronize(self.handle)

    def call_host(self, call: _native.HostCall) -> None:
        """Call a function on the host when the stream comes to it; keep `call` until then."""
        self.device.native.call_host(call, self.handle)

    @contextmanager
    def capture(self) -> Iterator[list[Graph]]:
        """What is put on the stream in the `with` block is kept as a graph, which the list holds afterwards."""
        graphs: list[Graph] = []
        self.device.native.begin_capture(self.handle)
        try:
            yield graphs
        finally:
            graphs.append(Graph(self.device, self.device.native.end_capture(self.handle)))


class Graph:
    """Launches and copies that were captured, to be put on a stream at once."""

    def __init__(self, device: Device, handle: int) -> None:
        self.device = device
        self.handle = handle
        weakref.finalize(self, device.native.destroy_graph, handle)

    def launch(self, stream: Stream) -> None:
        """Put all of it on a stream."""
        self.device.native.launch_graph(self.handle, stream.handle)


class Event:
    """A mark on a stream that others, or the host, can wait for."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.handle = device.native.create_event()
        weakref.finalize(self, device.native.destroy_event, self.handle)

    def record(self, stream: Stream) -> None:
        """Mark what is on the stream up to now."""
        self.device.native.record_event(self.handle, stream.handle)

    def wait(self, stream: Stream) -> None:
        """Let the stream wait for what is marked."""
        self.device.native.wait_event(self.handle, stream.handle)

    def synchronize(self) -> None:
        """Let the host wait for what is marked."""
        self.device.native.synchronize_event(self.handle)


class DeviceArray:
    """An array in device memory, C-contiguous.

    Attributes:
        device, shape, dtype: dtype is "bfloat16", which NumPy lacks, or NumPy's name.
        address: of its first byte.
        nbytes: its size.
    """

    def __init__(self, device: Device, address: int, shape: Sequence[int], dtype: str, *, owner: object) -> None:
        self.device = device
        self.address = address
        self.shape = tuple(shape)
        self.dtype = dtype
        self.nbytes = math.prod(self.shape) * _BYTES[dtype]
        self._owner = owner

    def __repr__(self) -> str:
        where = f"{self.device.kind}:{self.device.ordinal}"
        return f"<rfkernels.device.DeviceArray {self.dtype} {list(self.shape)} on {where}>"

    def view(self) -> tuple[int, str, tuple[int, ...], tuple[int, ...]]:
        """Address, dtype, shape and strides in bytes: what the native ops take."""
        strides, step = [], _BYTES[self.dtype]
        for size in reversed(self.shape):
            strides.append(step)
            step *= size
        return self.address, self.dtype, self.shape, tuple(reversed(strides))

    def part(self, first: int, last: int) -> DeviceArray:
        """Elements [first, last) of the first axis, the same memory."""
        if not 0 <= first <= last <= self.shape[0]:
            raise InvalidArgumentError(f"part is {first} to {last} of an axis of {self.shape[0]}")
        step = self.nbytes // self.shape[0] if self.shape[0] else 0
        return DeviceArray(
            self.device, self.address + first * step, (last - first, *self.shape[1:]), self.dtype, owner=self
        )

    def host_view(self) -> NDArray[Any]:
        """The emulated device's memory as an array of the host's, without waiting for anything; bits of bfloat16."""
        if self.device.kind != "emulated":
            raise InvalidArgumentError(f"{self!r} is not memory of the host's; use numpy() for a copy")
        view = _bytes_at(self.address, self.nbytes, owner=self)
        return view.view("uint16" if self.dtype == "bfloat16" else self.dtype).reshape(self.shape)

    def write(self, values: NDArray[Any], stream: Stream) -> None:
        """Copy a C-contiguous NumPy array of as many bytes here."""
        if values.nbytes != self.nbytes or not values.flags.c_contiguous:
            raise InvalidArgumentError(
                f"values has {values.nbytes} bytes, contiguous: {values.flags.c_contiguous}; "
                f"give {self.nbytes} contiguous ones, {self.dtype} {list(self.shape)}"
            )
        self.device.native.copy(self.address, values.ctypes.data, self.nbytes, "to_device", stream.handle)

    def read_into(self, values: NDArray[Any], stream: Stream) -> None:
        """Copy to a C-contiguous NumPy array of as many bytes; into pinned memory it is complete after a wait."""
        if values.nbytes != self.nbytes or not values.flags.c_contiguous or not values.flags.writeable:
            raise InvalidArgumentError(
                f"values has {values.nbytes} bytes; give {self.nbytes} contiguous, writeable ones"
            )
        self.device.native.copy(values.ctypes.data, self.address, self.nbytes, "to_host", stream.handle)

    def numpy(self, stream: Stream) -> NDArray[Any]:
        """A copy on the host; waits. The bits, as uint16, of bfloat16."""
        result = np.empty(self.shape, "uint16" if self.dtype == "bfloat16" else self.dtype)
        self.read_into(result, stream)
        return result


class ParameterBlock:
    """Numbers that kernels read and that change from request to request: written on the host, uploaded in one piece.

    Each user reserves a part, all before the first upload; a captured upload then serves every request.
    """

    _ALIGNMENT = 256

    def __init__(self, device: Device, capacity: int) -> None:
        self.device = device
        self.host = device.pinned(capacity, purpose="parameters on the host")
        self._memory = DeviceMemory(device, max(capacity, 1), "parameters")
        self._used = 0

    def reserve(self, size: int) -> Parameters:
        """A part of `size` bytes."""
        begin = self._used
        if begin + size > len(self.host):
            raise InvalidArgumentError(
                f"a parameter block of {len(self.host)} bytes has {len(self.host) - begin} left; {size} were asked for"
            )
        self._used = -(-(begin + size) // self._ALIGNMENT) * self._ALIGNMENT
        return Parameters(self.host[begin : begin + size], self._memory.address + begin)

    def upload(self, stream: Stream) -> None:
        """Copy all parts to the device."""
        size = min(self._used, len(self.host))
        self.device.native.copy(self._memory.address, self.host.ctypes.data, size, "to_device", stream.handle)


class Parameters:
    """A part of a `ParameterBlock`.

    Attributes:
        host: uint8 [size], to be written.
        address: of the same bytes on the device.
    """

    def __init__(self, host: NDArray[np.uint8], address: int) -> None:
        self.host = host
        self.address = address


class ResultBlock:
    """Arrays that kernels write and the host reads: side by side on the device, so that one copy brings all of them.

    Args:
        arrays: name, and shape and dtype.

    Attributes:
        on_device: by name, where kernels write.
        on_host: by name, in pinned memory; what the last `download` brought, once its stream was waited for.
    """

    _ALIGNMENT = 256

    def __init__(self, device: Device, arrays: Mapping[str, tuple[Sequence[int], str]]) -> None:
        begins, size = {}, 0
        for name, (shape, dtype) in arrays.items():
            begins[name] = size
            size += -(-math.prod(shape) * _BYTES[dtype] // self._ALIGNMENT) * self._ALIGNMENT
        self._device = device
        self._memory = DeviceMemory(device, max(size, 1), "results")
        self._pinned = device.pinned(size, purpose="results on the host")
        self.on_device: dict[str, DeviceArray] = {}
        self.on_host: dict[str, NDArray[Any]] = {}
        for name, (shape, dtype) in arrays.items():
            begin = begins[name]
            array = DeviceArray(device, self._memory.address + begin, shape, dtype, owner=self._memory)
            self.on_device[name] = array
            self.on_host[name] = self._pinned[begin : begin + array.nbytes].view(dtype).reshape(array.shape)

    @property
    def nbytes(self) -> int:
        """Of all arrays and what lies between them."""
        return len(self._pinned)

    def clear(self, stream: Stream) -> None:
        """Zeros in all arrays, and between them: what nobody writes is copied too."""
        self._device.native.fill(self._memory.address, 0, self.nbytes, stream.handle)

    def download(self, stream: Stream) -> None:
        """Copy all arrays to the host."""
        self._device.native.copy(self._pinned.ctypes.data, self._memory.address, self.nbytes, "to_host", stream.handle)


def host_call(function: Callable[[], None]) -> _native.HostCall:
    """A function that a stream can call; keep it until the stream, or the graph it is in, is done."""
    return _native.HostCall(function)


def _bytes_at(address: int, size: int, owner: object = None) -> NDArray[np.uint8]:
    return np.asarray(_HostMemory(address, size, owner))


class _HostMemory:
    """What NumPy sees an address through, and keeps while an array is over it."""

    def __init__(self, address: int, size: int, owner: object) -> None:
        self._owner = owner
        self.__array_interface__ = {
            "data": (address, False),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }
