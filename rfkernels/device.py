"""Devices: a GPU, or its emulation on the CPU. Memory, streams, events, graphs. C++ contract: rfkernels/device.h.

What is put on a stream runs in order, later; `Stream.synchronize` waits for it. Memory goes back when its object is
collected, after what uses it is done.
"""

from __future__ import annotations

import math
import operator
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfkernels import _native
from rfkernels import array_protocols as protocols
from rfkernels.errors import InvalidArgumentError
from rfkernels.in_flight import InFlight


def open_device(name: str) -> Device:
    """The device of a name: "cuda" (the first GPU), "cuda:1", "emulated".

    A GPU is used in its primary context, as the CUDA runtime, torch and CuPy do.

    Raises:
        InvalidArgumentError: another name.
        UnavailableError: there is no such device here, and why.
    """
    kind, colon, number = name.partition(":") if isinstance(name, str) else (name, "", "")
    if kind not in ("cuda", "emulated") or (colon and not (number.isascii() and number.isdigit() and len(number) < 5)):
        raise InvalidArgumentError(f'device is {name!r}; give "cuda", "cuda:1" (another GPU), or "emulated"')
    key = kind, int(number or 0)
    with _devices_lock:
        if key not in _devices:
            _devices[key] = Device(_native.Device.open(*key))
        return _devices[key]


# One object for each device: what it keeps for work in flight is kept in one place.
_devices: dict[tuple[str, int], Device] = {}
_devices_lock = threading.Lock()


# Beyond it no address reaches.
_MOST_BYTES = 1 << 56


class Device:
    """A GPU or its emulation, from `open_device`. May be used from several threads, a stream from one at a time.

    Attributes:
        kind, ordinal: "cuda" or "emulated", and which.
        in_flight: what ops have put on streams and still use.
    """

    def __init__(self, native: _native.Device) -> None:
        self.native = native
        self.kind = native.kind
        self.ordinal = native.ordinal
        self.in_flight = InFlight(native)

    def __repr__(self) -> str:
        return f"<rfkernels.device.Device {self.kind}:{self.ordinal} ({self.native.name})>"

    @cached_property
    def default_stream(self) -> Stream:
        """The default stream (on a GPU the legacy one), which ops use where they are told no other."""
        return Stream(self, 0)

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
            dtype: "bool", "uint8", "int32", "float16", "bfloat16" or "float32".
            purpose: what it is for; names the memory in errors.
        """
        if dtype not in protocols.ITEM_SIZES:
            raise InvalidArgumentError(f"dtype is {dtype!r}; give one of {', '.join(protocols.ITEM_SIZES)}")
        try:
            shape = tuple(operator.index(size) for size in shape)
        except TypeError as error:
            raise InvalidArgumentError(f"shape is {shape!r}; give whole numbers") from error
        if any(size < 0 for size in shape):
            raise InvalidArgumentError(f"shape is {shape}; sizes cannot be negative")
        size = math.prod(shape) * protocols.ITEM_SIZES[dtype]
        if size > _MOST_BYTES:
            raise InvalidArgumentError(f"shape is {shape}, {size} bytes of {dtype}; no memory is so large")
        # A pointer of its own for an empty array too.
        memory = DeviceMemory(self, max(size, 1), purpose)
        return DeviceArray(self, memory.address, shape, dtype, owner=memory)

    def upload(
        self, array: ArrayLike, stream: Stream, *, dtype: str | None = None, purpose: str = "array"
    ) -> DeviceArray:
        """A copy on the device of a NumPy array, complete when the stream has come to it; see `DeviceArray.write`.

        Args:
            dtype: "bfloat16" says that the array's uint16 are bits of it; the array's own by default.
        """
        values = np.ascontiguousarray(array)
        if not values.dtype.isnative:
            values = values.astype(values.dtype.newbyteorder("="))
        name = values.dtype.name
        if dtype not in (None, name) and (dtype, name) != ("bfloat16", "uint16"):
            raise InvalidArgumentError(
                f'dtype is {dtype!r} of an array of {name}; give its own, or "bfloat16" of uint16, which are its bits'
            )
        result = self.empty(np.shape(array), dtype or name, purpose=purpose)
        result.write(values, stream)
        return result

    def pinned(self, size: int, *, purpose: str = "staging") -> NDArray[np.uint8]:
        """Host memory that the device can read and copies need not stage: uint8 [size]."""
        if not 0 <= size <= _MOST_BYTES:
            raise InvalidArgumentError(f"size is {size}; give 0 or more bytes, as many as there can be")
        address = self.native.allocate_pinned(max(size, 1), purpose)
        array = protocols.host_array(address, (size,), np.uint8)
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
        # What a graph must keep, while one is captured.
        self._captured: list[object] | None = None

    def synchronize(self) -> None:
        """Wait for all that is on it.

        Raises:
            DeviceError: of what ran since the last wait, something failed.
        """
        self.device.native.synchronize(self.handle)
        self.device.in_flight.sweep()

    def call_host(self, call: _native.HostCall) -> None:
        """Call a function on the host when the stream comes to it.

        `call` is kept until then, or by the graph where the stream is captured by `capture`. It must not use the
        device: CUDA forbids that, and the stream would wait for itself.
        """
        self.device.native.call_host(call, self.handle)
        if self._captured is not None:
            self._captured.append(call)
        elif not self.device.native.is_captured(self.handle):
            self.device.in_flight.keep([call], self.handle)

    @contextmanager
    def capture(self) -> Iterator[list[Graph]]:
        """What is put on the stream in the `with` block is kept as a graph, which the list holds afterwards.

        The memory that it works on is for the caller to keep, for as long as the graph is launched.
        """
        graphs: list[Graph] = []
        self.device.native.begin_capture(self.handle)
        captured: list[object] = []
        self._captured = captured
        try:
            yield graphs
        finally:
            self._captured = None
            graphs.append(Graph(self.device, self.device.native.end_capture(self.handle), captured))


def require_stream_of(device: Device, stream: Stream, name: str = "stream") -> None:
    """Refuse a stream of another device, and what is none.

    Raises:
        InvalidArgumentError: it is.
    """
    if not isinstance(stream, Stream):
        raise InvalidArgumentError(
            f"{name} is {stream!r}; give device.stream(), or Stream(device, handle) for another library's"
        )
    if (stream.device.kind, stream.device.ordinal) != (device.kind, device.ordinal):
        raise InvalidArgumentError(f"{name} is of {stream.device}; give one of {device}")


def refuse_per_thread_stream(stream: Stream) -> None:
    """Refuse CUDA's per-thread default stream, which is another one in each thread under the same number.

    Raises:
        InvalidArgumentError: it is that one.
    """
    if stream.device.kind == "cuda" and stream.handle == protocols.PER_THREAD_STREAM:
        raise InvalidArgumentError(
            f"stream is {protocols.PER_THREAD_STREAM}, the default stream of whatever thread uses it; give one that is "
            "the same in all threads: device.stream(), or one of your library's"
        )


class Graph:
    """Launches and copies that were captured, to be put on a stream at once.

    Args:
        kept: what they use, beside memory.
    """

    def __init__(self, device: Device, handle: int, kept: Sequence[object] = ()) -> None:
        self.device = device
        self.handle = handle
        self._kept = kept
        weakref.finalize(self, device.native.destroy_graph, handle)

    def launch(self, stream: Stream, *, is_waited_for: bool = False) -> None:
        """Put all of it on a stream.

        Args:
            is_waited_for: the caller keeps the graph until it has waited for the stream. Otherwise it is kept here.
        """
        require_stream_of(self.device, stream)
        self.device.native.launch_graph(self.handle, stream.handle)
        if not is_waited_for:
            self.device.in_flight.keep([self], stream.handle)


class Event:
    """A mark on a stream that others, or the host, can wait for."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.handle = device.native.create_event()
        weakref.finalize(self, device.native.destroy_event, self.handle)

    def record(self, stream: Stream) -> None:
        """Mark what is on the stream up to now."""
        require_stream_of(self.device, stream)
        self.device.native.record_event(self.handle, stream.handle)

    def wait(self, stream: Stream) -> None:
        """Let the stream wait for what is marked."""
        require_stream_of(self.device, stream)
        self.device.native.wait_event(self.handle, stream.handle)

    def synchronize(self) -> None:
        """Let the host wait for what is marked."""
        self.device.native.synchronize_event(self.handle)


class DeviceArray:
    """An array in memory of a device: ours, or another library's, which `rfkernels.interop.as_device_array` takes in.

    Other libraries take it through `__dlpack__` and `__cuda_array_interface__`, without a copy.

    Attributes:
        device, shape, dtype: dtype is "bfloat16", which NumPy lacks, or NumPy's name.
        strides: bytes from an element to the next, for each axis.
        contiguous: whether it is C-contiguous, as all are that were not taken in.
        address: of its first byte.
        nbytes: of its elements, without what lies between them.
        read_only: whether its owner forbids writing.
        pinned: whether it is pinned memory of the host that kernels reach, not the device's own.
    """

    def __init__(
        self,
        device: Device,
        address: int,
        shape: Sequence[int],
        dtype: str,
        *,
        owner: object,
        strides: Sequence[int] | None = None,
        read_only: bool = False,
        pinned: bool = False,
    ) -> None:
        self.device = device
        self.address = address
        self.shape = tuple(shape)
        self.dtype = dtype
        self.nbytes = math.prod(self.shape) * protocols.ITEM_SIZES[dtype]
        self.strides = (
            protocols.packed_strides(self.shape, protocols.ITEM_SIZES[dtype]) if strides is None else tuple(strides)
        )
        self.contiguous = strides is None or protocols.is_contiguous(
            self.shape, self.strides, protocols.ITEM_SIZES[dtype]
        )
        self.read_only = read_only
        self.pinned = pinned
        self._owner = owner
        self._last_write = _LastWrite()

    def __repr__(self) -> str:
        where = f"{self.device.kind}:{self.device.ordinal}"
        return f"<rfkernels.device.DeviceArray {self.dtype} {list(self.shape)} on {where}>"

    def view(self) -> tuple[int, str, tuple[int, ...], tuple[int, ...]]:
        """Address, dtype, shape and strides in bytes: what the native ops take."""
        return self.address, self.dtype, self.shape, self.strides

    def require_contiguous(self, name: str) -> None:
        """Refuse an array that is not C-contiguous.

        Args:
            name: of the argument that it is.

        Raises:
            InvalidArgumentError: it is not.
        """
        if not self.contiguous:
            raise InvalidArgumentError(
                f"{name} has shape {list(self.shape)} and strides {list(self.strides)} in bytes, which is not "
                "C-contiguous; give a contiguous copy"
            )

    def part(self, first: int, last: int) -> DeviceArray:
        """Elements [first, last) of the first axis, the same memory."""
        try:
            first, last = operator.index(first), operator.index(last)
        except TypeError as error:
            raise InvalidArgumentError(f"part is {first!r} to {last!r}; give whole numbers") from error
        if not self.shape:
            raise InvalidArgumentError(f"part is asked of {self!r}, which has no axis")
        if not 0 <= first <= last <= self.shape[0]:
            raise InvalidArgumentError(f"part is {first} to {last} of an axis of {self.shape[0]}")
        result = DeviceArray(
            self.device,
            self.address + first * self.strides[0],
            (last - first, *self.shape[1:]),
            self.dtype,
            owner=self,
            strides=self.strides,
            read_only=self.read_only,
            pinned=self.pinned,
        )
        result._last_write = self._last_write
        return result

    def written_on(self, stream: Stream) -> None:
        """Note that the stream writes here: whoever takes the array waits for it.

        The stream is kept until the next; where it is another library's, that library must keep it too.
        """
        self._last_write.stream = stream

    def let_wait(self, stream: Stream) -> None:
        """Let a stream wait for what was last written here, where that is known and was on another one."""
        written = self._last_write.stream
        if written is not None and written.handle != stream.handle:
            event = Event(self.device)
            event.record(written)
            event.wait(stream)

    def host_view(self) -> NDArray[Any]:
        """The emulated device's memory as an array of the host's, without waiting for anything; bits of bfloat16."""
        if self.device.kind != "emulated":
            raise InvalidArgumentError(f"{self!r} is not memory of the host's; use numpy() for a copy")
        return self._seen_at(self.address, owner=self)

    def write(self, values: NDArray[Any], stream: Stream) -> None:
        """Copy a C-contiguous NumPy array of as many bytes here, after what was last written here.

        It is complete when the stream has come to it. The array may be written again at once, but for one in pinned
        memory, which is read when the stream comes to it and kept until then.
        """
        require_stream_of(self.device, stream)
        if values.nbytes != self.nbytes or not values.flags.c_contiguous:
            raise InvalidArgumentError(
                f"values has {values.nbytes} bytes, contiguous: {values.flags.c_contiguous}; "
                f"give {self.nbytes} contiguous ones, {self.dtype} {list(self.shape)}"
            )
        self.require_contiguous("the array that is written to")
        if self.read_only:
            raise InvalidArgumentError(f"{self!r} is read-only; its owner forbids writing")
        self.let_wait(stream)
        if self.pinned:
            stream.synchronize()
            protocols.host_array(self.address, (self.nbytes,), np.uint8)[:] = values.reshape(-1).view(np.uint8)
            return
        native = self.device.native
        native.copy(self.address, values.ctypes.data, self.nbytes, "to_device", stream.handle)
        self.written_on(stream)
        is_pinned = native.locate(values.ctypes.data) == "pinned_host"
        if is_pinned and not native.is_captured(stream.handle):
            self.device.in_flight.keep([values], stream.handle)

    def read_into(self, values: NDArray[Any], stream: Stream) -> None:
        """Copy to a C-contiguous NumPy array of as many bytes, after what was last written here.

        Into pinned memory it is complete after a wait for the stream; keep that memory until then.
        """
        require_stream_of(self.device, stream)
        if values.nbytes != self.nbytes or not values.flags.c_contiguous or not values.flags.writeable:
            raise InvalidArgumentError(
                f"values has {values.nbytes} bytes; give {self.nbytes} contiguous, writeable ones"
            )
        self.require_contiguous("the array that is read")
        self.let_wait(stream)
        self._copy_to_host(values.ctypes.data, self.nbytes, stream)

    def numpy(self, stream: Stream) -> NDArray[Any]:
        """A copy on the host, C-contiguous; waits, for the last write too. The bits, as uint16, of bfloat16."""
        require_stream_of(self.device, stream)
        self.let_wait(stream)
        # One copy of all from the first byte to the last; the host leaves out what lies between.
        itemsize = protocols.ITEM_SIZES[self.dtype]
        size = self.nbytes if self.contiguous else itemsize + protocols.extent_of(self.shape, self.strides)
        span = np.empty(size, np.uint8)
        self._copy_to_host(span.ctypes.data, size, stream)
        self.device.in_flight.sweep()
        return np.asarray(self._seen_at(span.ctypes.data, owner=span), order="C")

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3. Absent (an AttributeError) on the emulated device, whose memory no GPU can read."""
        if self.device.kind != "cuda":
            raise AttributeError(f"{self!r} has no __cuda_array_interface__: its memory is no GPU's")
        written = self._last_write.stream
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": protocols.TYPE_STRINGS[self.dtype],
            "data": (self.address if self.nbytes else 0, self.read_only),
            "strides": None if self.contiguous else self.strides,
            "stream": None if written is None else protocols.stream_number(written.handle),
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack's number of the kind of device, and which; the emulated device's memory is the host's."""
        if self.device.kind != "cuda":
            return protocols.DLPACK_HOST, 0
        return (protocols.DLPACK_PINNED_HOST, 0) if self.pinned else (protocols.DLPACK_CUDA, self.device.ordinal)

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> object:
        """A DLPack capsule of the same memory.

        Args:
            stream: the consumer's, which waits for what was last written here. None is the legacy default stream, 1
                too, 2 the per-thread one, -1 no wait; another number is a cudaStream_t. Only None where the memory is
                the host's: this call waits then.
            max_version: from (1, 0) on the capsule is one of DLPack 1.0.
            dl_device: None, or what `__dlpack_device__` says.
            copy: None or False.

        Raises:
            BufferError: a copy or another device is asked for, or a read-only array in a capsule of before DLPack 1.0.
            InvalidArgumentError: a stream that there is not.

        Source: the Python array API standard 2024.12, `array.__dlpack__`.
        """
        place = self.__dlpack_device__()
        if copy:
            raise BufferError("copy is True; a DeviceArray gives its own memory, so leave it None and copy that")
        if dl_device is not None and (int(dl_device[0]), int(dl_device[1])) != place:
            raise BufferError(f"dl_device is {dl_device}; the array is on {place}, and numpy() copies it to the host")
        versioned = max_version is not None and max_version[0] >= 1
        if self.read_only and not versioned:
            raise BufferError("the array is read-only, which DLPack before 1.0 cannot say; ask with max_version=(1, 0)")
        self._finish_writes(stream, place[0])
        itemsize = protocols.ITEM_SIZES[self.dtype]
        return _native.export_dlpack(
            self,
            self.address if self.nbytes else 0,
            self.shape,
            tuple(stride // itemsize for stride in self.strides),
            protocols.DLPACK_DTYPES[self.dtype],
            place,
            read_only=self.read_only,
            versioned=versioned,
        )

    def _finish_writes(self, number: int | None, place: int) -> None:
        written = self._last_write.stream
        if place != protocols.DLPACK_CUDA:
            if number is not None:
                raise InvalidArgumentError(f"stream is {number}; memory of the host has none, so leave it None")
            if written is not None:
                written.synchronize()
            return
        if number != protocols.NO_WAIT:
            handle = protocols.stream_handle(protocols.LEGACY_STREAM if number is None else number, emulated=False)
            self.let_wait(Stream(self.device, handle))

    def _copy_to_host(self, address: int, size: int, stream: Stream) -> None:
        if self.pinned:
            stream.synchronize()
            protocols.host_array(address, (size,), np.uint8)[:] = protocols.host_array(self.address, (size,), np.uint8)
        else:
            self.device.native.copy(address, self.address, size, "to_host", stream.handle)

    def _seen_at(self, address: int, owner: object) -> NDArray[Any]:
        """Memory of the host's at an address, as an array of this shape, dtype and strides."""
        dtype = np.dtype("uint16" if self.dtype == "bfloat16" else self.dtype)
        return protocols.host_array(address, self.shape, dtype, strides=self.strides, owner=owner)


class _LastWrite:
    """The stream that memory was last written on, where it is known: an array's and its parts'."""

    stream: Stream | None = None


def host_call(function: Callable[[], None]) -> _native.HostCall:
    """A function that a stream can call; keep it until the stream, or the graph it is in, is done."""
    return _native.HostCall(function)
