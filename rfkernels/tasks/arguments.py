"""Checks of what callers give to a task."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import SupportsFloat, SupportsIndex, TypeVar, cast

import numpy as np

from rfkernels.errors import InputImageLoadError, InvalidArgumentError
from rfkernels.images import Image, ImageOptions, ImageSource, load_image

_Choice = TypeVar("_Choice", bound=str)
_MOST_DETECTIONS = 2**31 - 1


def load_all(name: str, sources: ImageSource | Sequence[ImageSource], options: ImageOptions) -> list[Image]:
    """The images of a request; where one of a list cannot be read, the error says which."""
    if not isinstance(sources, list):
        return [load_image(cast("ImageSource", sources), options=options)]
    loaded = []
    for index, source in enumerate(sources):
        try:
            loaded.append(load_image(source, options=options))
        except InputImageLoadError as error:
            raise InputImageLoadError(f"{name}[{index}]: {error}") from error
    return loaded


def checked_options(image_options: ImageOptions | None) -> ImageOptions:
    """The options, or the default ones."""
    if image_options is None:
        return ImageOptions()
    if not isinstance(image_options, ImageOptions):
        raise InvalidArgumentError(f"image_options is {image_options!r}; give rfkernels.ImageOptions(...)")
    return image_options


def truth(name: str, value: bool) -> bool:
    """A truth value, Python's or NumPy's."""
    if not isinstance(value, bool | np.bool_):
        raise InvalidArgumentError(f"{name} is {value!r}; give True or False")
    return bool(value)


def number(name: str, value: float) -> float:
    """A number that is not NaN."""
    # NumPy's numbers are welcome, texts, truth values and arrays of several are not.
    if isinstance(value, bool | str) or not isinstance(value, SupportsFloat) or np.ndim(value) > 0:
        raise InvalidArgumentError(f"{name} is {value!r}; give a number from 0 to 1")
    if math.isnan(value):
        raise InvalidArgumentError(f"{name} is nan; give a number from 0 to 1")
    return float(value)


def fraction(name: str, value: float) -> float:
    """A number from 0 to 1."""
    checked = number(name, value)
    if not 0.0 <= checked <= 1.0:
        raise InvalidArgumentError(f"{name} is {value}; give a number from 0 to 1")
    return checked


def fraction_of_request(name: str, value: float) -> float:
    """The nearest number from 0 to 1.

    V2 checks no range: a threshold above 1 lets nothing pass, as 1 does (no score is greater), one below 0 lets
    everything pass, as 0 does.
    """
    return min(max(number(name, value), 0.0), 1.0)


def at_least_zero(name: str, value: int) -> int:
    """A whole number from 0."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex) or operator.index(value) < 0:
        raise InvalidArgumentError(f"{name} is {value!r}; give a whole number from 0")
    # More than there can be is all there are.
    return min(operator.index(value), _MOST_DETECTIONS)


def one_of(name: str, value: _Choice, choices: Sequence[_Choice]) -> _Choice:
    """One of some texts."""
    if value not in choices:
        raise InvalidArgumentError(f"{name} is {value!r}; give {' or '.join(map(repr, choices))}")
    return value
