"""Taking arrays in, as the tests of this folder do it."""

from __future__ import annotations

import numpy as np
import pytest

from rfkernels.device import Device, DeviceArray, Stream
from rfkernels.errors import InvalidArgumentError
from rfkernels.interop import as_device_array


def pixels(device: Device, stream: Stream, shape: tuple[int, ...] = (3, 4)) -> tuple[DeviceArray, np.ndarray]:
    """An array of ours and what is in it."""
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    return device.upload(values, stream), values


def take(obj: object, device: Device, stream: Stream | None, **arguments: bool) -> DeviceArray:
    """`as_device_array` of an argument that is called images[1]."""
    return as_device_array(obj, name="images[1]", device=device, stream=stream, **arguments)


def refused(obj: object, device: Device, stream: Stream | None, **arguments: bool) -> str:
    """Why `take` refuses it; the message begins with the argument's name."""
    with pytest.raises(InvalidArgumentError, match=r"^images\[1\]") as caught:
        take(obj, device, stream, **arguments)
    return str(caught.value)
