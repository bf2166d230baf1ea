"""What the ops take for an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rfkernels.errors import InvalidArgumentError
from rfkernels.ops.on_device import lies_on_device

#: uint8 [height, width] or [height, width, 1 | 3 | 4]: a NumPy array, or anything on the CPU that has `__dlpack__`,
#: `__array_interface__` or `__array__`. Channels are taken in the order they have: blue first from OpenCV, red first
#: in a Pillow image. `preprocess` takes an `NV12` too.
Image: TypeAlias = Any
# Address, dtype, shape, strides in bytes: `DeviceArray.view` gives it.
View: TypeAlias = tuple[int, str, tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class NV12:
    """A picture as video decoders give it, which `preprocess`, `preprocess_into` and `letterbox` take as it is.

    It stands for the BGR picture that `cv2.cvtColor(..., cv2.COLOR_YUV2BGR_NV12)` makes of it (`swap_channels` makes it
    RGB), byte for byte; that picture is never made as a whole.

    >>> import numpy as np, rfkernels
    >>> frame = np.zeros((1080 * 3 // 2, 1920), dtype=np.uint8)
    >>> image = rfkernels.ops.NV12.from_buffer(frame)
    >>> rfkernels.ops.letterbox(image, size=(640, 640), swap_channels=True).shape
    (3, 640, 640)

    Args:
        luma: uint8 [height, width], both even; rows may lie any distance apart.
        chroma: uint8 [height / 2, width / 2, 2], u before v; rows may lie any distance apart.

    Both are arrays like any image's, on a device too; for `PreprocessOnDevice.describe` both are views of memory that
    the device can read. Nothing is copied or checked here: the ops do that.

    Source: ITU-R BT.601, luma 16 to 235, in OpenCV's fixed point.
    """

    luma: Any
    chroma: Any

    @classmethod
    def from_buffer(cls, buffer: Image) -> NV12:
        """The planes of one array, luma above chroma, as `cv2.cvtColor` takes them and ffmpeg's `-pix_fmt nv12` writes.

        Args:
            buffer: uint8 [height * 3 / 2, width], width even; not copied. Rows may lie any distance apart.

        Raises:
            ValueError: another dtype or shape, or an array on a device.
        """
        if lies_on_device(buffer):
            raise InvalidArgumentError("buffer is on a device; cut it into both planes there, and give NV12 those")
        array = as_array(buffer, "buffer", "[height * 3 / 2, width]")
        if array.dtype != np.uint8 or array.ndim != 2 or array.shape[0] % 3 != 0 or array.shape[1] % 2 != 0:
            raise ValueError(
                f"buffer is {array.dtype} of shape {array.shape}; give uint8 [height * 3 / 2, width], height and width "
                "even"
            )
        height, width = array.shape[0] // 3 * 2, array.shape[1]
        return cls(array[:height], array[height:].reshape(height // 2, width // 2, 2))


def as_array(image: Image, what: str = "an image", shape: str = "[height, width, 3]") -> NDArray[Any]:
    """The image as a NumPy array that shares its memory, where it can."""
    if isinstance(image, np.ndarray):
        return image
    if hasattr(image, "__dlpack__"):
        array: NDArray[Any] = np.from_dlpack(image)
        return array
    converted = np.asarray(image)
    if converted.dtype.kind in "OUS":
        pixels = "; its pixels are one" if hasattr(image, "pixels") else ""
        raise ValueError(f"{what} is a {type(image).__name__}; give an array, uint8 {shape}{pixels}")
    return converted


def planes_of(image: Image) -> tuple[Any, ...]:
    """The arrays that an image is made of, wherever they are."""
    return (image.luma, image.chroma) if isinstance(image, NV12) else (image,)


def as_arrays(image: Image) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    """The same, of NV12 the two planes: what the native `preprocess_into` takes."""
    if isinstance(image, NV12):
        luma = as_array(image.luma, "luma of an NV12 image", "[height, width]")
        return luma, as_array(image.chroma, "chroma of an NV12 image", "[height / 2, width / 2, 2]")
    return as_array(image)
