"""Images on a device to network input there, in one call. C++ contract: csrc/include/rfkernels/preprocess.h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rfkernels import _native
from rfkernels._native import Placement
from rfkernels.device import DeviceArray
from rfkernels.errors import InvalidArgumentError
from rfkernels.ops.images import NV12, View
from rfkernels.ops.on_device import Place, Work, aligned_bytes


class Drawing(NamedTuple):
    """How images are drawn, checked: the arguments of the native op."""

    interpolation: str
    swap_channels: bool
    pad_value: int
    normalization: str
    divisor: float
    first: Sequence[float]
    second: Sequence[float]
    keep_padding: bool


def empty_canvas(place: Place, shape: tuple[int, ...], dtype: str) -> DeviceArray:
    """Memory for `preprocess_into`."""
    return place.device.empty(shape, dtype, purpose="network input")


def only_image(canvas: DeviceArray) -> DeviceArray:
    """[1, 3, height, width] as [3, height, width], the same memory."""
    image = DeviceArray(canvas.device, canvas.address, canvas.shape[1:], canvas.dtype, owner=canvas)
    image._last_write = canvas._last_write
    return image


def preprocess_into(
    place: Place, out: object, images: Sequence[object], placements: Sequence[Placement], drawing: Drawing
) -> None:
    """See `ops.preprocess_into`."""
    with Work(place) as work:
        canvas = work.take(out, "out", writeable=True)
        taken = [_take(work, image, f"images[{index}]") for index, image in enumerate(images)]
        check_canvas(canvas)
        if len(placements) != len(taken) or canvas.shape[0] != len(taken):
            raise InvalidArgumentError(
                f"images holds {len(taken)}, placements {len(placements)} and out {canvas.shape[0]}; give equally many"
            )
        if not taken:
            return
        height, width = canvas.shape[2:]
        size = _native.preprocess_descriptor_bytes(placements, drawing.interpolation, height, width)
        host = aligned_bytes(size)
        _native.describe_preprocess(host, taken, placements, canvas.view(), **drawing._asdict())
        (address,) = work.workspace(size)
        work.upload(host, address)
        _native.preprocess_on_device(
            work.device.native, address, canvas.view(), drawing.interpolation, work.stream.handle
        )


def _take(work: Work, image: object, name: str) -> View | tuple[View, View]:
    """An image's view, or those of both planes of NV12."""
    if isinstance(image, NV12):
        return _take_plane(work, image.luma, f"luma of {name}"), _take_plane(work, image.chroma, f"chroma of {name}")
    return _take_plane(work, image, name)


def _take_plane(work: Work, plane: object, name: str) -> View:
    taken = work.take(plane, name)
    if taken.dtype != "uint8":
        raise InvalidArgumentError(f"{name} has dtype {taken.dtype}; give uint8")
    if 0 in taken.shape:
        raise InvalidArgumentError(f"{name} has shape {taken.shape}; sides must be 1 to 2^24 pixels")
    return taken.view()


def check_canvas(canvas: DeviceArray) -> None:
    """Refuse what no kernel writes: a dtype that is none of a network's input, or other axes."""
    if canvas.dtype not in ("float32", "float16", "bfloat16", "uint8") or len(canvas.shape) != 4:
        raise InvalidArgumentError(
            f"out is {canvas.dtype} {list(canvas.shape)}; give float32, float16, bfloat16 or uint8 "
            "[n, 3, height, width]"
        )
