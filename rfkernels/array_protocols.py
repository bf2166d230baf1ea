"""What array libraries agreed on to hand memory to each other: names and numbers of dtypes, devices and streams.

Sources: the CUDA Array Interface, version 3 (numba-cuda's documentation), DLPack 1.0 (dlpack.h), the Python array API
standard 2024.12 (`array.__dlpack__`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfkernels.errors import InvalidArgumentError

#: Bytes of an element of each dtype that arrays on devices have.
ITEM_SIZES = {"bool": 1, "uint8": 1, "int32": 4, "float16": 2, "bfloat16": 2, "float32": 4}
#: As the CUDA Array Interface names them. NumPy has no name for bfloat16: this is what ml_dtypes and torch write.
TYPE_STRINGS = {
    "bool": "|b1",
    "uint8": "|u1",
    "int32": "<i4",
    "float16": "<f2",
    "bfloat16": "<V2",
    "float32": "<f4",
}
#: As DLPack numbers them: kind and bits.
DLPACK_DTYPES = {
    "bool": (6, 8),
    "uint8": (1, 8),
    "int32": (0, 32),
    "float16": (2, 16),
    "bfloat16": (4, 16),
    "float32": (2, 32),
}
#: DLPack's numbers of kinds of memory.
DLPACK_HOST, DLPACK_CUDA, DLPACK_PINNED_HOST, DLPACK_MANAGED = 1, 2, 3, 13

LEGACY_STREAM, PER_THREAD_STREAM, NO_WAIT = 1, 2, -1
_HIGHEST_HANDLE = 2**64 - 1


def packed_strides(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Strides in bytes of a C-contiguous array."""
    strides, step = [], itemsize
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def extent_of(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Bytes from the first element of an array to its last one."""
    return sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def is_contiguous(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> bool:
    """Whether it is C-contiguous; a stride along an axis of one element means nothing, nor one of an empty array."""
    packed = packed_strides(shape, itemsize)
    return 0 in shape or all(
        size == 1 or given == wanted for size, given, wanted in zip(shape, strides, packed, strict=True)
    )


def stream_number(handle: int) -> int:
    """A stream as the protocols number it: 0 is not allowed, the legacy default stream is 1."""
    return handle or LEGACY_STREAM


def stream_handle(number: int, *, emulated: bool) -> int:
    """The handle of a stream that the protocols number so.

    Raises:
        InvalidArgumentError: 0, which may mean either default stream, a number below it, or one that no pointer holds.
    """
    if not 1 <= number <= _HIGHEST_HANDLE:
        raise InvalidArgumentError(
            f"stream is {number}; give {LEGACY_STREAM} (the legacy default stream), {PER_THREAD_STREAM} (the "
            "per-thread one), or a cudaStream_t"
        )
    # CUDA's handles of its default streams are these numbers. The emulated device has one default stream.
    return 0 if emulated and number in (LEGACY_STREAM, PER_THREAD_STREAM) else number


def host_array(
    address: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any] | type[Any],
    *,
    strides: tuple[int, ...] | None = None,
    owner: object = None,
) -> NDArray[Any]:
    """Memory of the host as a NumPy array, which keeps its owner."""
    return np.asarray(_HostMemory(address, shape, np.dtype(dtype).str, strides, owner))


class _HostMemory:
    """What NumPy sees an address through, and keeps while an array is over it."""

    def __init__(
        self, address: int, shape: tuple[int, ...], typestr: str, strides: tuple[int, ...] | None, owner: object
    ) -> None:
        self._owner = owner
        self.__array_interface__ = {
            "data": (address, False),
            "shape": shape,
            "strides": strides,
            "typestr": typestr,
            "version": 3,
        }
