"""Masks of detections: polygons, run lengths, bits. C++ contract: csrc/include/rfkernels/masks.h."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfkernels import _native
from rfkernels._native import MaskGrid
from rfkernels.device import Device, DeviceArray, Stream
from rfkernels.ops import masks_of_device_arrays as on_device
from rfkernels.ops.arguments import pair, real_number
from rfkernels.ops.detection import Values
from rfkernels.ops.on_device import ArrayOnDevice, place_of, refuse_on_host

MaskConvention = Literal["v2", "ultralytics", "ultralytics_native"]
MASK_CONVENTIONS = ("v2", "ultralytics", "ultralytics_native")
_Prototypes: TypeAlias = Values | ArrayOnDevice
_Rows: TypeAlias = ArrayLike | ArrayOnDevice


class Polygons(NamedTuple):
    """The outlines of n masks, as closed polygons whose points are pixels of the mask.

    Attributes:
        points: int32 [p, 2], x and y in pixels of the grid, of all contours one behind the other.
        first_points: int64 [contours + 1], where each contour's points begin; the last is p.
        first_contours: int64 [n + 1], where each mask's contours begin; the last is their number.
        areas: int64 [n], pixels of each mask.
    """

    points: NDArray[np.int32]
    first_points: NDArray[np.int64]
    first_contours: NDArray[np.int64]
    areas: NDArray[np.int64]

    def contours_of(self, mask: int) -> list[NDArray[np.int32]]:
        """The contours [k, 2] of one mask; none where it is empty."""
        first, end = self.first_contours[mask], self.first_contours[mask + 1]
        bounds = self.first_points[first : end + 1].tolist()
        return [self.points[begin:stop] for begin, stop in itertools.pairwise(bounds)]


class RunLengths(NamedTuple):
    """n masks as COCO's compressed run lengths.

    Attributes:
        counts: for each mask the text that pycocotools writes as `counts`.
        size: height and width of all of them, in pixels.
        areas: int64 [n], pixels of each mask.
    """

    counts: list[str]
    size: tuple[int, int]
    areas: NDArray[np.int64]


def plan_mask_grid(
    placement: _native.Placement,
    *,
    image_size: tuple[int, int],
    network_size: tuple[int, int],
    prototype_size: tuple[int, int],
    convention: MaskConvention = "v2",
    resolution_factor: float = 1.0,
) -> MaskGrid:
    """The pixels that masks have, and how prototypes become them.

    Args:
        placement: where the image lies in the network's input; `plan_placement` or `preprocess` gives it.
        image_size: (height, width) of the image, in pixels.
        network_size: of the network's input.
        prototype_size: of the prototypes.
        convention: "v2" (inference-models 0.39: probabilities, cut to the box in prototype pixels, then resized to the
            image), "ultralytics" (8.4's default: logits enlarged to the network's input, then cut; the grid is that
            input), "ultralytics_native" (8.4 with retina_masks: logits enlarged to the image, then cut).
        resolution_factor: v2 only: 1 for masks of the image's size, 0 for that of the prototypes without padding.

    Raises:
        ValueError: a size that is not positive, a crop beyond the image, another convention, or a factor not in [0, 1];
            the message names it.
    """
    if convention not in MASK_CONVENTIONS:
        raise ValueError(f"convention is {convention!r}; give one of {', '.join(MASK_CONVENTIONS)}")
    return _native.plan_mask_grid(
        placement,
        pair("image_size", image_size),
        pair("network_size", network_size),
        pair("prototype_size", prototype_size),
        convention,
        real_number("resolution_factor", resolution_factor),
    )


def masks_to_polygons(
    prototypes: _Prototypes,
    coefficients: _Rows,
    boxes: _Rows,
    grid: MaskGrid,
    *,
    contours: Literal["most_points", "all"] = "most_points",
    device: Device | None = None,
    stream: Stream | None = None,
) -> Polygons:
    """The outlines of detections' masks, without a mask of the whole image on the way.

    Args:
        prototypes: float32, or bfloat16 in uint16, [1, channels, height, width], contiguous or channels-last. On a
            device float32, float16 or bfloat16.
        coefficients: float32 [n, channels]. On a device of any of these dtypes.
        boxes: float32 [n, 4], x1 y1 x2 y2 in pixels of the network's input: `Detections.network_boxes`. One that is
            empty, outside, or not finite gives an empty mask.
        grid: `plan_mask_grid`.
        contours: "most_points": of each mask the contour with the most points, as V2 answers; "all": all outermost
            contours, as cv2.findContours(RETR_EXTERNAL, CHAIN_APPROX_SIMPLE) lists them.
        device, stream: where the arrays are on a device, see `rfkernels.ops`.

    Returns:
        The outlines on the host; of arrays on a device too, and the call waits for its stream.

    Raises:
        ValueError: shapes that do not fit each other; the message names the argument.
    """
    if contours not in ("most_points", "all"):
        raise ValueError(f'contours is {contours!r}; give "most_points" or "all"')
    place = place_of((prototypes, coefficients, boxes), device, stream)
    if place is not None:
        return Polygons(*on_device.polygons(place, (prototypes, coefficients, boxes), grid, contours == "all"))
    given = _floats("coefficients", coefficients), _floats("boxes", boxes)
    return Polygons(*_native.masks_to_polygons(cast("Values", prototypes), *given, grid, contours == "all"))


def masks_to_rle(
    prototypes: _Prototypes,
    coefficients: _Rows,
    boxes: _Rows,
    grid: MaskGrid,
    *,
    device: Device | None = None,
    stream: Stream | None = None,
) -> RunLengths:
    """The masks of detections as COCO's compressed run lengths, on the host; arguments as of `masks_to_polygons`."""
    place = place_of((prototypes, coefficients, boxes), device, stream)
    if place is not None:
        counts, areas = on_device.run_lengths(place, (prototypes, coefficients, boxes), grid)
    else:
        given = _floats("coefficients", coefficients), _floats("boxes", boxes)
        counts, areas = _native.masks_to_run_lengths(cast("Values", prototypes), *given, grid)
    return RunLengths(counts, (grid.height, grid.width), areas)


def masks_to_bits(
    prototypes: _Prototypes,
    coefficients: _Rows,
    boxes: _Rows,
    grid: MaskGrid,
    *,
    device: Device | None = None,
    stream: Stream | None = None,
) -> NDArray[np.uint8]:
    """The masks of detections, one bit a pixel, on the host; arguments as those of `masks_to_polygons`.

    Returns:
        uint8 [n, height, ceil(width / 8)]: `numpy.unpackbits(bits, axis=2, bitorder="little")` has the pixels.
    """
    place = place_of((prototypes, coefficients, boxes), device, stream)
    if place is not None:
        return on_device.bits(place, (prototypes, coefficients, boxes), grid)
    given = _floats("coefficients", coefficients), _floats("boxes", boxes)
    out = np.empty((len(given[1]), grid.height, (grid.width + 7) // 8), np.uint8)
    _native.masks_to_bits_into(out, cast("Values", prototypes), *given, grid)
    return out


@overload
def masks_to_dense(
    prototypes: ArrayOnDevice,
    coefficients: ArrayOnDevice,
    boxes: ArrayOnDevice,
    grid: MaskGrid,
    *,
    device: Device | None = None,
    stream: Stream | None = None,
) -> DeviceArray: ...


@overload
def masks_to_dense(
    prototypes: Values,
    coefficients: ArrayLike,
    boxes: ArrayLike,
    grid: MaskGrid,
    *,
    device: Device | None = None,
    stream: Stream | None = None,
) -> NDArray[np.bool_]: ...


def masks_to_dense(
    prototypes: _Prototypes,
    coefficients: _Rows,
    boxes: _Rows,
    grid: MaskGrid,
    *,
    device: Device | None = None,
    stream: Stream | None = None,
) -> NDArray[np.bool_] | DeviceArray:
    """The masks of detections, bool [n, height, width]; arguments as those of `masks_to_polygons`.

    Of arrays on a device they are there, and nobody has waited for them.
    """
    place = place_of((prototypes, coefficients, boxes), device, stream)
    if place is not None:
        return on_device.dense(place, (prototypes, coefficients, boxes), grid)
    given = _floats("coefficients", coefficients), _floats("boxes", boxes)
    out = np.empty((len(given[1]), grid.height, grid.width), np.bool_)
    masks_to_dense_into(out, prototypes, *given, grid)
    return out


def masks_to_dense_into(
    out: NDArray[np.bool_] | NDArray[np.uint8] | ArrayOnDevice,
    prototypes: _Prototypes,
    coefficients: _Rows,
    boxes: _Rows,
    grid: MaskGrid,
    *,
    device: Device | None = None,
    stream: Stream | None = None,
) -> None:
    """`masks_to_dense` into memory of yours: bool or uint8 [n, height, width], contiguous.

    It shares none with what the masks are made of. On a device it begins at a multiple of 16 bytes.
    """
    place = place_of((out, prototypes, coefficients, boxes), device, stream)
    if place is not None:
        on_device.dense(place, (prototypes, coefficients, boxes), grid, out)
        return
    out = cast("NDArray[np.uint8]", out)
    given = _floats("coefficients", coefficients), _floats("boxes", boxes)
    if out.dtype not in (np.bool_, np.uint8):
        raise ValueError(f"out has dtype {out.dtype}; give bool or uint8")
    if not out.flags.c_contiguous:
        raise ValueError("out is not contiguous; give memory whose rows follow each other")
    _native.masks_to_dense_into(out.view(np.uint8), cast("Values", prototypes), *given, grid)


def find_contours(mask: ArrayLike, *, contours: Literal["most_points", "all"] = "all") -> list[NDArray[np.int32]]:
    """The outlines int32 [k, 2] (x, y) of one mask.

    The same contours as cv2.findContours(RETR_EXTERNAL, CHAIN_APPROX_SIMPLE): in its order, with its points. A part
    within a hole of another has none.

    Args:
        mask: bool or uint8 [height, width], inside where not 0.
        contours: "all", or "most_points": only the one with the most points.
    """
    if contours not in ("most_points", "all"):
        raise ValueError(f'contours is {contours!r}; give "most_points" or "all"')
    refuse_on_host("find_contours", mask=mask)
    return Polygons(*_native.find_contours(_mask(mask), contours == "all")).contours_of(0)


def encode_rle(mask: ArrayLike) -> str:
    """One mask, bool or uint8 [height, width], as the text that pycocotools writes as `counts`."""
    refuse_on_host("encode_rle", mask=mask)
    return _native.encode_run_lengths(_mask(mask))[0][0]


def decode_rle(counts: str | bytes, size: Sequence[int]) -> NDArray[np.bool_]:
    """The mask bool [height, width] of a COCO run length in its compressed form.

    Args:
        counts: as `encode_rle` and pycocotools write it.
        size: height and width.

    Raises:
        ValueError: a damaged text, or one of another size.
    """
    if not isinstance(counts, str | bytes):
        raise ValueError(f"counts is a {type(counts).__name__}; give the text that encode_rle or pycocotools writes")
    if not counts.isascii():
        raise ValueError("counts are damaged: they hold characters that are not ASCII")
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    height, width = pair("size", size)
    if not (height >= 1 and width >= 1 and height * width < 2**31):  # before memory is asked for
        raise ValueError(f"size is {list(size)}; give sides from 1, and less than 2^31 pixels")
    out = np.empty((height, width), np.bool_)
    _native.decode_run_lengths_into(out.view(np.uint8), text)
    return out


def _floats(name: str, values: _Rows) -> NDArray[np.float32]:
    given = np.asarray(cast("ArrayLike", values))
    if given.dtype != np.float32:
        raise ValueError(f"{name} has dtype {given.dtype}; give float32")
    if given.ndim != 2:
        raise ValueError(f"{name} has {given.ndim} axes; give 2")
    return np.require(given, np.float32, ("C_CONTIGUOUS", "ALIGNED"))


def _mask(mask: ArrayLike) -> NDArray[np.uint8]:
    given = np.asarray(mask)
    if given.dtype not in (np.bool_, np.uint8) or given.ndim != 2:
        raise ValueError(f"mask has dtype {given.dtype} and shape {given.shape}; give bool or uint8 [height, width]")
    return np.ascontiguousarray(given).view(np.uint8)
