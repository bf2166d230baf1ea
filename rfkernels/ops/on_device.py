"""Ops on arrays that lie on a device, in one call: where the arrays are, what runs there, and what is kept meanwhile.

The ops of `rfkernels.ops` ask `place_of` where their arrays lie. On a device each array is taken in without a copy
(`Work.take`), the kernels are put on the stream, and nobody waits; what they read is kept until they are done.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rfkernels.array_protocols import DLPACK_CUDA, DLPACK_MANAGED
from rfkernels.device import (
    Device,
    DeviceArray,
    DeviceMemory,
    Stream,
    open_device,
    refuse_per_thread_stream,
    require_stream_of,
)
from rfkernels.errors import InvalidArgumentError
from rfkernels.interop import as_device_array, end_use

_ALIGNMENT = 256
# The types that never lie on a device: most arguments are of these.
_OF_THE_HOST = (np.ndarray, np.generic, list, tuple, int, float, str, bytes, type(None))


class ArrayOnDevice(Protocol):
    """An array on a device, for type checkers: a `DeviceArray`, or one of torch, CuPy, PyCUDA, Numba."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...


class Place(NamedTuple):
    """Where an op runs."""

    device: Device
    stream: Stream


def place_of(arrays: Iterable[object], device: Device | None, stream: Stream | None) -> Place | None:
    """Where an op with these arrays runs; None is the host.

    Args:
        arrays: all that the op reads and writes.
        device: where it must run. None: where the stream is, or the first of the arrays that is on a device.
        stream: of that device; None is its default stream.

    Raises:
        InvalidArgumentError: device or stream is something else, or the stream another device's.
        UnavailableError: an array says that it is on a GPU, which this build or machine does not reach.
    """
    if device is None and stream is None:
        for array in arrays:
            # The first condition is for speed: this stands in the way of every call.
            if type(array) is not np.ndarray and (found := device_of(array)) is not None:
                return Place(found, found.default_stream)
        return None
    if device is not None and not isinstance(device, Device):
        raise InvalidArgumentError(f'device is {device!r}; give one from open_device, open_device("cuda") say')
    if stream is None:
        assert device is not None
        return Place(device, device.default_stream)
    if device is None and isinstance(stream, Stream):
        device = stream.device
    require_stream_of(device, stream)
    refuse_per_thread_stream(stream)
    return Place(stream.device, stream)


def device_of(array: object) -> Device | None:
    """The device that an array says it is on; None where that is the host.

    The emulated device's memory is the host's to other libraries, so what they hold of it counts as the host's.
    """
    if isinstance(array, _OF_THE_HOST):
        return None
    if isinstance(array, DeviceArray):
        return array.device
    if hasattr(array, "__dlpack_device__"):
        kind, ordinal = array.__dlpack_device__()
        return open_device(f"cuda:{int(ordinal)}") if int(kind) in (DLPACK_CUDA, DLPACK_MANAGED) else None
    # The interface does not say which GPU it is; if it is another, taking the array in says so.
    return open_device("cuda") if hasattr(array, "__cuda_array_interface__") else None


def refuse_on_host(op: str, **arrays: object) -> None:
    """For ops that have no kernel: refuse arrays on a device, which would have to be copied.

    Raises:
        InvalidArgumentError: one is; the message names it.
    """
    for name, array in arrays.items():
        for place, one in enumerate(array) if isinstance(array, list | tuple) else ((None, array),):
            if type(one) is not np.ndarray and lies_on_device(one):
                which = name if place is None else f"{name}[{place}]"
                raise InvalidArgumentError(
                    f"{which} is on a device, and {op} runs on the host alone; copy it there first, with "
                    "DeviceArray.numpy(stream) or what its library has for that"
                )


def lies_on_device(array: object) -> bool:
    """Whether an array says that it is on a device, without a look for that device."""
    if isinstance(array, _OF_THE_HOST):
        return False
    if isinstance(array, DeviceArray):
        return True
    if hasattr(array, "__dlpack_device__"):
        return int(array.__dlpack_device__()[0]) in (DLPACK_CUDA, DLPACK_MANAGED)
    return hasattr(array, "__cuda_array_interface__")


def shape_of(array: object, name: str, place: Place) -> tuple[int, ...]:
    """The shape of an array on a device; nobody waits for what is in it.

    Raises:
        InvalidArgumentError: see `as_device_array`.
    """
    return as_device_array(array, name=name, device=place.device, stream=None).shape


def dtype_of(array: object, name: str, place: Place) -> str:
    """Its dtype, likewise."""
    return as_device_array(array, name=name, device=place.device, stream=None).dtype


class Work:
    """One call of an op on a device, in a `with` block: its arrays, its working memory, its results.

    In the block no other thread uses the stream's working memory. After it, what was taken in is kept until all that
    was put on the stream is done.

    Raises:
        InvalidArgumentError: the stream is captured.
    """

    def __init__(self, place: Place) -> None:
        self.device, self.stream = place
        self._workspace = _workspace_of(place.stream)
        self._kept: list[object] = []
        self._borrowed: list[DeviceArray] = []
        self._is_done = False

    def __enter__(self) -> Work:
        self._refuse_capture("stream is captured")
        self.device.in_flight.sweep()
        self._workspace.lock.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._workspace.lock.release()
        if self._is_done:
            for array in self._borrowed:
                end_use(array)
            return
        if self.device.native.is_captured(self.stream.handle):
            return  # nothing was put on it: that was refused
        when_done = [partial(end_use, array) for array in self._borrowed]
        self.device.in_flight.keep(self._kept, self.stream.handle, when_done)

    def _refuse_capture(self, what: str) -> None:
        if self.device.native.is_captured(self.stream.handle):
            raise InvalidArgumentError(
                f"{what}, and an op in one call cannot be part of a graph: what it is told would be gone when the "
                "graph runs; capture PreprocessOnDevice, DetectionOnDevice, KeypointsOnDevice or MasksOnDevice"
            )

    def take(self, array: object, name: str, *, writeable: bool = False) -> DeviceArray:
        """An argument, taken in without a copy: the stream waits for what was put on its library's.

        Raises:
            InvalidArgumentError: it is not on the device; see `as_device_array`.
        """
        taken = as_device_array(array, name=name, device=self.device, stream=self.stream, writeable=writeable)
        # Waiting for a stream that is captured makes ours a part of that capture.
        self._refuse_capture(f"{name} was written on a stream that is captured")
        self._kept.append(taken)
        if taken is not array:
            self._borrowed.append(taken)
        return taken

    def empty(self, shape: tuple[int, ...], dtype: str, purpose: str) -> DeviceArray:
        """A new array for what the op writes."""
        array = self.device.empty(shape, dtype, purpose=purpose)
        array.written_on(self.stream)
        # Dropped before the kernel has come to it, it is kept until then.
        self._kept.append(array)
        return array

    def wait(self) -> None:
        """Wait for all that was put on the stream, for ops whose results are the host's; they put no more on it."""
        self.stream.synchronize()
        self._is_done = True

    def workspace(self, *sizes: int) -> list[int]:
        """Addresses of parts of device memory, of so many bytes each, until the next call of this. Holds anything."""
        self._is_done = False
        begins, size = [], 0
        for part in sizes:
            begins.append(size)
            size += -(-part // _ALIGNMENT) * _ALIGNMENT
        address = self._workspace.on_device(self.device, size, self.stream)
        return [address + begin for begin in begins]

    def pinned_workspace(self, size: int) -> NDArray[np.uint8]:
        """Pinned memory of the host, until the next call of this; for ops that wait for their stream."""
        return self._workspace.pinned(self.device, size)

    def upload(self, host: NDArray[np.uint8], address: int) -> None:
        """Copy bytes to memory of the device; the host's are kept until that is done, and not to be written again."""
        self._is_done = False
        # Where a GPU reads pageable memory itself, nothing is staged before the call returns.
        self._kept.append(host)
        self.device.native.copy(address, host.ctypes.data, host.nbytes, "to_device", self.stream.handle)


def aligned_bytes(size: int) -> NDArray[np.uint8]:
    """Host memory at a multiple of 16 bytes, as descriptors want it."""
    memory = np.empty(size + 16, np.uint8)
    begin = -memory.ctypes.data % 16
    return memory[begin : begin + size]


class _Workspace:
    """Memory that the ops of one stream work in, one after the other. It goes with the stream."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._memory: DeviceMemory | None = None
        self._pinned: NDArray[np.uint8] | None = None

    def on_device(self, device: Device, size: int, stream: Stream) -> int:
        if self._memory is None or self._memory.size < size:
            if self._memory is not None:
                # What works in it may be on its way.
                device.in_flight.keep([self._memory], stream.handle)
            self._memory = DeviceMemory(device, max(size * 3 // 2, 1 << 16), "workspace of ops")
        return self._memory.address

    def pinned(self, device: Device, size: int) -> NDArray[np.uint8]:
        if self._pinned is None or len(self._pinned) < size:
            self._pinned = None
            self._pinned = device.pinned(max(size * 3 // 2, 1 << 16), purpose="pinned workspace of ops")
        return self._pinned[:size]


_workspaces: weakref.WeakKeyDictionary[Stream, _Workspace] = weakref.WeakKeyDictionary()
_workspaces_lock = threading.Lock()


def _workspace_of(stream: Stream) -> _Workspace:
    with _workspaces_lock:
        found = _workspaces.get(stream)
        if found is None:
            found = _workspaces[stream] = _Workspace()
        return found
