"""Pieces of device memory that hold several things: what kernels read in a request, what they write.

Each is one piece, so that one copy brings all of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfkernels import array_protocols as protocols
from rfkernels.device import Device, DeviceArray, DeviceMemory, Stream, require_stream_of
from rfkernels.errors import InvalidArgumentError


class ParameterBlockFullError(InvalidArgumentError):
    """More was asked for than a parameter block holds: so many bytes of so many."""

    def __init__(self, capacity: int, needed: int) -> None:
        super().__init__(f"a parameter block of {capacity} bytes has no room for {needed}")
        self.capacity = capacity
        self.needed = needed


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
            raise ParameterBlockFullError(len(self.host), begin + size)
        self._used = -(-(begin + size) // self._ALIGNMENT) * self._ALIGNMENT
        return Parameters(self.host[begin : begin + size], self._memory, begin)

    def upload(self, stream: Stream) -> None:
        """Copy all parts to the device."""
        require_stream_of(self.device, stream)
        size = min(self._used, len(self.host))
        self.device.native.copy(self._memory.address, self.host.ctypes.data, size, "to_device", stream.handle)


class Parameters:
    """A part of a `ParameterBlock`, whose memory it keeps.

    Attributes:
        host: uint8 [size], to be written.
        address: of the same bytes on the device.
    """

    def __init__(self, host: NDArray[np.uint8], memory: DeviceMemory, begin: int) -> None:
        self.host = host
        self.address = memory.address + begin
        self._memory = memory


class ResultBlock:
    """Arrays that kernels write and the host reads: side by side on the device, so that one copy brings all of them.

    Args:
        arrays: name, and shape and dtype.

    Attributes:
        on_device: by name, where kernels write.
        on_host: by name, in pinned memory; what the last `download` brought, once its stream was waited for.
    """

    def __init__(self, device: Device, arrays: Mapping[str, tuple[Sequence[int], str]]) -> None:
        self._device = device
        self._whole, self.on_device = side_by_side(device, arrays)
        self._pinned = device.pinned(self._whole.nbytes, purpose="results on the host")
        self.on_host = views_of(self._pinned, self._whole, self.on_device)

    @property
    def nbytes(self) -> int:
        """Of all arrays and what lies between them."""
        return len(self._pinned)

    def clear(self, stream: Stream) -> None:
        """Zeros in all arrays, and between them: what nobody writes is copied too."""
        require_stream_of(self._device, stream)
        self._device.native.fill(self._whole.address, 0, self.nbytes, stream.handle)
        self.written_on(stream)

    def written_on(self, stream: Stream) -> None:
        """Note that the stream writes to the arrays; see `DeviceArray.written_on`."""
        self._whole.written_on(stream)

    def download(self, stream: Stream) -> None:
        """Copy all arrays to the host."""
        require_stream_of(self._device, stream)
        self._device.native.copy(self._pinned.ctypes.data, self._whole.address, self.nbytes, "to_host", stream.handle)


_ALIGNMENT = 256


def side_by_side(
    device: Device, arrays: Mapping[str, tuple[Sequence[int], str]], *, purpose: str = "results"
) -> tuple[DeviceArray, dict[str, DeviceArray]]:
    """Arrays in one piece of memory, each at a multiple of 256 bytes: all of it as bytes, and each by name.

    Args:
        arrays: name, and shape and dtype.
    """
    begins, size = {}, 0
    for name, (shape, dtype) in arrays.items():
        begins[name] = size
        size += -(-math.prod(shape) * protocols.ITEM_SIZES[dtype] // _ALIGNMENT) * _ALIGNMENT
    whole = device.empty((size,), "uint8", purpose=purpose)
    parts = {}
    for name, (shape, dtype) in arrays.items():
        parts[name] = DeviceArray(device, whole.address + begins[name], shape, dtype, owner=whole)
        # Whoever writes to one has written to all.
        parts[name]._last_write = whole._last_write
    return whole, parts


def views_of(host: NDArray[np.uint8], whole: DeviceArray, parts: Mapping[str, DeviceArray]) -> dict[str, NDArray[Any]]:
    """The arrays of `side_by_side` in a copy of their memory on the host."""
    views = {}
    for name, array in parts.items():
        begin = array.address - whole.address
        views[name] = host[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    return views
