"""Connected components and cleaned logits of masks on a device, in one call.

C++ contract: csrc/include/rfkernels/connected_components.h.
"""

from __future__ import annotations

from rfkernels import _native
from rfkernels.device import DeviceArray
from rfkernels.errors import InvalidArgumentError
from rfkernels.ops.on_device import Place, Work


def connected_components(place: Place, masks: object) -> tuple[DeviceArray, DeviceArray]:
    """Labels and areas; see `ops.connected_components`."""
    with Work(place) as work:
        given = work.take(masks, "masks")
        if given.dtype not in ("bool", "uint8") or len(given.shape) not in (2, 3):
            raise InvalidArgumentError(
                f"masks has dtype {given.dtype} and shape {given.shape}; "
                "give bool or uint8 [n, height, width] or [height, width]"
            )
        given.require_contiguous("masks")
        shape = _stack_shape(given)
        labels = work.empty(given.shape, "int32", "labels")
        areas = work.empty(given.shape, "int32", "areas")
        size = _native.connected_components_scratch_bytes(shape)
        (scratch,) = work.workspace(size)
        _native.connected_components_on_device(
            work.device.native,
            given.address,
            shape,
            labels.address,
            areas.address,
            scratch,
            size,
            work.stream.handle,
        )
    return labels, areas


def clean_mask_logits(
    place: Place,
    out: object | None,
    logits: object,
    *,
    max_hole_area: int,
    max_sprinkle_area: int,
    threshold: float,
) -> DeviceArray:
    """See `ops.clean_mask_logits_into`; a new array where `out` is None."""
    with Work(place) as work:
        # One array that is both is taken in once.
        to = None if out is None else work.take(out, "out", writeable=True)
        given = to if to is not None and out is logits else work.take(logits, "logits")
        if given.dtype not in ("float32", "float16") or len(given.shape) not in (2, 3):
            raise InvalidArgumentError(
                f"logits has dtype {given.dtype} and shape {given.shape}; "
                "give float32 or float16 [n, height, width] or [height, width]"
            )
        given.require_contiguous("logits")
        if to is None:
            to = work.empty(given.shape, given.dtype, "cleaned logits")
        if to.dtype != given.dtype or to.shape != given.shape:
            raise InvalidArgumentError(
                f"out has dtype {to.dtype} and shape {to.shape}; give {given.dtype} {given.shape}"
            )
        to.require_contiguous("out")
        shape = _stack_shape(given)
        size = _native.clean_mask_logits_scratch_bytes(shape)
        (scratch,) = work.workspace(size)
        _native.clean_mask_logits_on_device(
            work.device.native,
            given.address,
            given.dtype == "float16",
            shape,
            max_hole_area,
            max_sprinkle_area,
            threshold,
            to.address,
            scratch,
            size,
            work.stream.handle,
        )
    return to


def _stack_shape(array: DeviceArray) -> tuple[int, int, int]:
    """count, height, width."""
    count, height, width = array.shape if len(array.shape) == 3 else (1, *array.shape)
    return count, height, width
