"""Images on their way to a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfkernels.device import Device
from rfkernels.ops.images import View

_ALIGNMENT = 256


class Staging:
    """Pinned memory that the images of a request lie in: the kernel reads of them what it needs, and no more travels.

    Args:
        device: that reads it.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._memory = device.pinned(0)

    def hold(self, images: Sequence[NDArray[np.uint8]]) -> list[View]:
        """Copy images here; those held before are gone, so the device must be done with them.

        Args:
            images: uint8 [height, width] or [height, width, channels], any strides.

        Returns:
            What `PreprocessOnDevice.describe` takes for each.
        """
        sizes = [-(-image.nbytes // _ALIGNMENT) * _ALIGNMENT for image in images]
        if sum(sizes) > len(self._memory):
            # Half as much again: images that grow a little from one to the next must not each bring new memory.
            self._memory = self._device.pinned(sum(sizes) * 3 // 2, purpose="images on the host")
        views: list[View] = []
        begin = 0
        for image, size in zip(images, sizes, strict=True):
            place: NDArray[Any] = self._memory[begin : begin + image.nbytes].reshape(image.shape)
            np.copyto(place, image)
            views.append((place.ctypes.data, "uint8", place.shape, place.strides))
            begin += size
        return views
