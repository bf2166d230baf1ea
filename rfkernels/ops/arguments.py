"""Checks of numbers, so that a wrong one is an error that names it."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Literal, SupportsFloat, SupportsIndex, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

# What the native ops read: elements one behind the other, each at a multiple of its size.
PACKED: tuple[Literal["C_CONTIGUOUS"], Literal["ALIGNED"]] = ("C_CONTIGUOUS", "ALIGNED")
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


def whole_number(name: str, value: SupportsIndex) -> int:
    """A whole number that the native ops can hold.

    Raises:
        ValueError: anything else; the message names it.
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ValueError(f"{name} is {value!r}; give a whole number") from error
    if not _LOWEST <= number <= _HIGHEST:
        raise ValueError(f"{name} is {value}; give a whole number of 64 bits")
    return number


def whole_numbers(name: str, values: Sequence[SupportsIndex]) -> Sequence[int]:
    """`whole_number` for each of several."""
    # A name is made where it is needed: these stand in the way of every request.
    for index, value in enumerate(values):
        if type(value) is not int or not _LOWEST <= value <= _HIGHEST:
            return [whole_number(f"{name}[{index}]", value) for index, value in enumerate(values)]
    return cast("Sequence[int]", values)


def real_number(name: str, value: SupportsFloat) -> float:
    """A number that the native ops can hold; its range is theirs to check.

    Raises:
        ValueError: anything else, text included; the message names it.
    """
    if type(value) is float:
        return value
    try:
        if isinstance(value, str | bytes):
            raise TypeError("text")
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} is {value!r:.80}; give a number") from error


def pairs(name: str, values: Sequence[Sequence[SupportsIndex]]) -> list[tuple[int, int]]:
    """Two whole numbers for each of several."""
    read = []
    for index, value in enumerate(values):
        if len(value) != 2:
            raise ValueError(f"{name}[{index}] is {value!r}; give two whole numbers")
        first, second = value
        if type(first) is int and type(second) is int:
            read.append((first, second))
        else:
            read.append((whole_number(f"{name}[{index}][0]", first), whole_number(f"{name}[{index}][1]", second)))
    return read


def pair(name: str, value: Sequence[SupportsIndex]) -> tuple[int, int]:
    """Two whole numbers."""
    try:
        numbers = tuple(value)
    except TypeError:
        numbers = ()
    if len(numbers) != 2:
        raise ValueError(f"{name} is {value!r}; give two whole numbers")
    return whole_number(f"{name}[0]", numbers[0]), whole_number(f"{name}[1]", numbers[1])


def check_list(name: str, values: object, of: str) -> None:
    """Refuse one object, an array say, where a list of them is wanted.

    An array is refused even if it holds them all: whether its first axis counts them or is theirs, nobody can tell.

    Raises:
        ValueError: it is one; the message names it.
    """
    if type(values) in (list, tuple):  # nearly always
        return
    # The attributes of arrays of any library; those of NumPy among them.
    is_array = hasattr(values, "__dlpack__") or hasattr(values, "__cuda_array_interface__")
    if is_array or not (hasattr(values, "__len__") and hasattr(values, "__iter__")):
        raise ValueError(f"{name} is one {type(values).__name__}; give a list of {of}")


def as_int32(name: str, numbers: ArrayLike, of: str = "") -> NDArray[np.int32]:
    """An array that the native ops read.

    Raises:
        ValueError: numbers that int32 does not hold; the message names them, and what they are `of` it.
    """
    given = np.asarray(numbers)
    if given.dtype == np.int32:
        return given if given.flags.c_contiguous and given.flags.aligned else np.require(given, np.int32, PACKED)
    is_number = given.dtype.kind in "biuf"
    with np.errstate(invalid="ignore"):  # a NaN is refused below
        converted = np.require(given, np.int32, PACKED) if is_number else None
    if converted is None or not np.array_equal(converted, given):
        raise ValueError(
            f"{name} {of}".rstrip() + f" of dtype {given.dtype} are not all whole numbers of 32 bits; give int32"
        )
    return converted
