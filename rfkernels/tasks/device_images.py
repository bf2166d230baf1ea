"""Images that lie on the device of a model: its kernel reads them where they are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from rfkernels.device import Device, DeviceArray, Event, Stream, refuse_per_thread_stream, require_stream_of
from rfkernels.errors import InputImageLoadError, InvalidArgumentError
from rfkernels.images import Image, ImageOptions, ImageSource, load_image
from rfkernels.images.image import check_pixel_count, refusal
from rfkernels.interop import as_device_array
from rfkernels.ops.on_device import ArrayOnDevice, lies_on_device

#: What a model takes for an image: what the image door takes, or an array on the model's device.
AnySource: TypeAlias = ImageSource | ArrayOnDevice


class ImageOnDevice(Image):
    """An image whose pixels are on a device, for what asks for its size; whoever asks for `pixels` is refused.

    Attributes:
        array: uint8 [height, width] or [height, width, 1 | 3 | 4], of any row pitch; blue first.
        name: of the argument that it was given as.
    """

    __slots__ = ("_source", "_stream", "array", "name")

    array: DeviceArray
    name: str
    _source: object
    _stream: Stream | None

    def __init__(self, source: object, array: DeviceArray, name: str, stream: Stream | None) -> None:
        # It has the field of the frozen class beside the slots of this one.
        for attribute, value in (
            ("color_order", "bgr"),
            ("array", array),
            ("name", name),
            ("_source", source),
            ("_stream", stream),
        ):
            object.__setattr__(self, attribute, value)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """Not on the host."""
        raise InvalidArgumentError(
            f"{self.name} is on {self.array.device.kind}:{self.array.device.ordinal}, and this step needs its pixels "
            "on the host; copy it there and give that array"
        )

    @property
    def height(self) -> int:
        """Rows."""
        return self.array.shape[0]

    @property
    def width(self) -> int:
        """Columns."""
        return self.array.shape[1]

    def arrive(self, stream: Stream) -> DeviceArray:
        """Let a stream wait for who wrote the image; returns what keeps it while the stream reads it."""
        if self._stream is not None and self._stream.handle != stream.handle:
            event = Event(stream.device)
            event.record(self._stream)
            event.wait(stream)
        # Another library's array is taken in once more: this time its library is told who reads it.
        return as_device_array(self._source, name=self.name, device=stream.device, stream=stream)


def load_sources(
    name: str,
    sources: AnySource | Sequence[AnySource],
    options: ImageOptions,
    device: Device | None,
    stream: Stream | None,
) -> list[Image]:
    """The images of a call; where one of a list cannot be read, the error says which.

    Args:
        name: of the argument.
        device: the model's; None is the CPU.
        stream: that what is on the device was written on, where its library does not say so itself.
    """
    _check_stream(device, stream)
    if not isinstance(sources, list):
        return [_load(name, cast("AnySource", sources), options, device, stream)]
    loaded = []
    for index, source in enumerate(sources):
        try:
            loaded.append(_load(f"{name}[{index}]", source, options, device, stream))
        except InputImageLoadError as error:
            raise InputImageLoadError(f"{name}[{index}]: {error}") from error
    return loaded


def wait_for_all(stream: Stream) -> None:
    """After an error, for which what else has failed is of no interest."""
    with suppress(Exception):
        stream.synchronize()


def _check_stream(device: Device | None, stream: Stream | None) -> None:
    if stream is None:
        return
    if device is None:
        raise InvalidArgumentError("stream is given, and the model runs on the CPU, which has none; leave it out")
    require_stream_of(device, stream)
    refuse_per_thread_stream(stream)


def _load(name: str, source: AnySource, options: ImageOptions, device: Device | None, stream: Stream | None) -> Image:
    if not lies_on_device(source):
        return load_image(cast("ImageSource", source), options=options)
    if device is None:
        raise InvalidArgumentError(
            f"{name} is on a device, and the model runs on the CPU; copy it to the host first, or load the model for "
            "that device"
        )
    # Nobody waits yet: only its shape is looked at.
    array = as_device_array(source, name=name, device=device, stream=None)
    _check_image(array, name, options)
    return ImageOnDevice(source, array, name, stream)


def _check_image(array: DeviceArray, name: str, options: ImageOptions) -> None:
    shape, strides = array.shape, array.strides
    if array.dtype != "uint8":
        raise refusal(f"expected an array of dtype uint8 with values 0 to 255, got dtype {array.dtype}.")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise refusal(
            "expected an array of shape (height, width), or (height, width, channels) with 1, 3 or 4 channels, "
            f"got shape {shape}."
        )
    check_pixel_count(shape[1], shape[0], options)
    channels = 1 if len(shape) == 2 else shape[2]
    row_bytes = shape[1] * channels
    if (
        (shape[1] > 1 and strides[1] != channels)
        or (channels > 1 and strides[2] != 1)
        or (shape[0] > 1 and strides[0] < row_bytes)
    ):
        raise InvalidArgumentError(
            f"{name} has shape {list(shape)} and strides {list(strides)} in bytes; on a device an image is used where "
            "it lies, so give one whose pixels follow each other in every row, at any distance between rows"
        )
