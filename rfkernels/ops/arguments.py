"""Checks of plain numbers, so that a wrong one is an error that names it."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import SupportsIndex, cast

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
