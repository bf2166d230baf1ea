"""Connected components of masks, and masks without small ones.

C++ contract: csrc/include/rfkernels/connected_components.h.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfkernels import _native
from rfkernels.device import Device, DeviceArray, Stream
from rfkernels.ops import connected_components_on_device as on_device
from rfkernels.ops.arguments import PACKED, real_number, whole_number
from rfkernels.ops.on_device import ArrayOnDevice, place_of


class Components(NamedTuple):
    """Which pixels of masks hang together.

    Attributes:
        labels: int32, of the shape of the masks: 0 in the background, else 1 + y * width + x of the component's first
            pixel, row by row. The numbers depend on the mask alone and have gaps.
        areas: int32, of the same shape: how many pixels the pixel's component has, 0 in the background.
    """

    labels: NDArray[np.int32]
    areas: NDArray[np.int32]


class ComponentsOnDevice(NamedTuple):
    """`Components` of masks on a device.

    Attributes:
        labels, areas: int32, of the shape of the masks, on the device.
    """

    labels: DeviceArray
    areas: DeviceArray


@overload
def connected_components(
    masks: ArrayOnDevice, *, device: Device | None = None, stream: Stream | None = None
) -> ComponentsOnDevice: ...


@overload
def connected_components(
    masks: ArrayLike, *, device: Device | None = None, stream: Stream | None = None
) -> Components: ...


def connected_components(
    masks: ArrayLike | ArrayOnDevice, *, device: Device | None = None, stream: Stream | None = None
) -> Components | ComponentsOnDevice:
    """The components of masks: pixels that hang together by their sides or corners (8-connectivity).

    Args:
        masks: bool or uint8 [n, height, width] or [height, width], foreground where not 0. Sides from 1, less than
            2^31 - 1 pixels a mask. On a device C-contiguous.
        device, stream: where the masks are on a device, see `rfkernels.ops`.

    Returns:
        Components(labels, areas), of the shape of `masks`; a `ComponentsOnDevice` of masks on a device.

    Raises:
        ValueError: another dtype or shape; the message names it.
        MemoryError: no memory for the results, or for a bit a pixel and 20 bytes a run of one mask.

    Example:
        >>> components = connected_components(np.array([[1, 0, 0, 1], [0, 1, 0, 1]], np.uint8))
        >>> components.labels.tolist(), components.areas.tolist()
        ([[1, 0, 0, 4], [0, 1, 0, 4]], [[2, 0, 0, 2], [0, 2, 0, 2]])

    Runs on the calling thread, without the GIL.
    """
    place = place_of((masks,), device, stream)
    if place is not None:
        return ComponentsOnDevice(*on_device.connected_components(place, masks))
    given = np.asarray(masks)
    if given.dtype not in (np.bool_, np.uint8) or given.ndim not in (2, 3):
        raise ValueError(
            f"masks has dtype {given.dtype} and shape {given.shape}; "
            "give bool or uint8 [n, height, width] or [height, width]"
        )
    labels, areas = np.empty(given.shape, np.int32), np.empty(given.shape, np.int32)
    planes = np.ascontiguousarray(given).view(np.uint8)
    _native.connected_components_into(_as_stack(labels), _as_stack(areas), _as_stack(planes))
    return Components(labels, areas)


@overload
def clean_mask_logits(
    logits: ArrayOnDevice,
    *,
    max_hole_area: int = 0,
    max_sprinkle_area: int = 0,
    threshold: float = 0.0,
    device: Device | None = None,
    stream: Stream | None = None,
) -> DeviceArray: ...


@overload
def clean_mask_logits(
    logits: ArrayLike,
    *,
    max_hole_area: int = 0,
    max_sprinkle_area: int = 0,
    threshold: float = 0.0,
    device: Device | None = None,
    stream: Stream | None = None,
) -> NDArray[np.float32]: ...


def clean_mask_logits(
    logits: ArrayLike | ArrayOnDevice,
    *,
    max_hole_area: int = 0,
    max_sprinkle_area: int = 0,
    threshold: float = 0.0,
    device: Device | None = None,
    stream: Stream | None = None,
) -> NDArray[np.float32] | DeviceArray:
    """Masks that are still logits, their small holes filled and their small sprinkles taken away.

    Args:
        logits: float32 [n, height, width] or [height, width]. On a device float32 or float16, C-contiguous.
        max_hole_area: components of `logit <= threshold` of at most so many pixels become threshold + 10, wherever they
            lie, at the border too; 0 switches it off.
        max_sprinkle_area: components of `logit > threshold` of at most so many pixels become threshold - 10; 0 switches
            it off.
        threshold: above it is foreground; from -2^24 to 2^24, rounded to float32; of float16 from -4096 to 4096.
        device, stream: where the logits are on a device, see `rfkernels.ops`.

    Returns:
        float32, of the shape of `logits`; on a device of their dtype, there. Both kinds of components are those of the
        logits as given, 8-connected. A NaN is neither foreground nor background, and stays.

    Raises:
        ValueError: another dtype or shape, a negative area, a threshold out of its range; the message names it.
        MemoryError: no memory for the result, or for a bit a pixel and 20 bytes a run of one mask.

    Runs on the calling thread, without the GIL.

    Source: SAM2's image predictor (`SAM2Transforms.postprocess_masks`), on the logits before they are enlarged.
    """
    place = place_of((logits,), device, stream)
    if place is not None:
        return on_device.clean_mask_logits(
            place,
            None,
            logits,
            max_hole_area=whole_number("max_hole_area", max_hole_area),
            max_sprinkle_area=whole_number("max_sprinkle_area", max_sprinkle_area),
            threshold=real_number("threshold", threshold),
        )
    out = np.empty(np.shape(cast("ArrayLike", logits)), np.float32)
    clean_mask_logits_into(
        out, logits, max_hole_area=max_hole_area, max_sprinkle_area=max_sprinkle_area, threshold=threshold
    )
    return out


def clean_mask_logits_into(
    out: NDArray[np.float32] | ArrayOnDevice,
    logits: ArrayLike | ArrayOnDevice,
    *,
    max_hole_area: int = 0,
    max_sprinkle_area: int = 0,
    threshold: float = 0.0,
    device: Device | None = None,
    stream: Stream | None = None,
) -> None:
    """`clean_mask_logits` into memory of yours.

    Args:
        out: float32, of the shape of `logits`, contiguous. It may be `logits` itself, and otherwise shares no memory
            with it.
        logits, max_hole_area, max_sprinkle_area, threshold, device, stream: see `clean_mask_logits`.

    Raises:
        ValueError: see `clean_mask_logits`; `out` of another dtype or shape, not contiguous, read-only, or halfway over
            `logits`.
        MemoryError: no memory for a bit a pixel and 20 bytes a run of one mask.
    """
    place = place_of((out, logits), device, stream)
    if place is not None:
        on_device.clean_mask_logits(
            place,
            out,
            logits,
            max_hole_area=whole_number("max_hole_area", max_hole_area),
            max_sprinkle_area=whole_number("max_sprinkle_area", max_sprinkle_area),
            threshold=real_number("threshold", threshold),
        )
        return
    given = np.asarray(logits)
    if given.dtype != np.float32 or given.ndim not in (2, 3):
        raise ValueError(
            f"logits has dtype {given.dtype} and shape {given.shape}; "
            "give float32 [n, height, width] or [height, width]"
        )
    if not isinstance(out, np.ndarray):
        raise ValueError(f"out is a {type(out).__name__}; give an array of float32 {given.shape}")
    if out.dtype != np.float32 or out.shape != given.shape:
        raise ValueError(f"out has dtype {out.dtype} and shape {out.shape}; give float32 {given.shape}")
    if not (out.flags.c_contiguous and out.flags.aligned):
        raise ValueError("out is not contiguous; give memory whose rows follow each other")
    _native.clean_mask_logits_into(
        _as_stack(out),
        _as_stack(np.require(given, np.float32, PACKED)),
        whole_number("max_hole_area", max_hole_area),
        whole_number("max_sprinkle_area", max_sprinkle_area),
        real_number("threshold", threshold),
    )


def _as_stack(planes: NDArray[Any]) -> NDArray[Any]:
    """[height, width] as [1, height, width], the same memory."""
    return planes if planes.ndim == 3 else planes[np.newaxis]
