"""bfloat16, which NumPy does not have: the upper 16 bits of a float32, held in uint16."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The nearest bfloat16 of each value, of two equally near ones the even one. No NaN."""
    bits = values.view(np.uint32)
    towards_zero = (bits >> 16).astype(np.uint16)
    away_from_zero = towards_zero + np.uint16(1)
    exact = values.astype(np.float64)
    to_lower = np.abs(exact - _beyond_infinity(towards_zero))
    to_upper = np.abs(_beyond_infinity(away_from_zero) - exact)
    nearer = np.where(to_upper < to_lower, away_from_zero, towards_zero)
    even = np.where(towards_zero % 2 == 0, towards_zero, away_from_zero)
    result: NDArray[np.uint16] = np.where(np.isinf(values), towards_zero, np.where(to_lower == to_upper, even, nearer))
    return result


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The values, exactly; memory order is kept."""
    result: NDArray[np.float32] = (bits.astype(np.uint32) << 16).view(np.float32)
    return result


def _beyond_infinity(bits: NDArray[np.uint16]) -> NDArray[Any]:
    # Rounding takes infinity for the number that would follow the greatest one, 2^128.
    with np.errstate(invalid="ignore"):  # what follows infinity is a NaN, and not chosen
        values = from_bfloat16(bits).astype(np.float64)
    return np.where(np.isinf(values), np.copysign(2.0**128, values), values)
