"""`preprocess` on a device, as a part of a request that can be captured. C++ contract: rfkernels/preprocess.h."""

from __future__ import annotations

from collections.abc import Sequence

from rfkernels import _native
from rfkernels._native import Placement
from rfkernels.device import DeviceArray, Stream
from rfkernels.device_blocks import ParameterBlock
from rfkernels.errors import InvalidArgumentError
from rfkernels.ops.images import NV12, View
from rfkernels.ops.preprocess import Interpolation, normalization_of


class PreprocessOnDevice:
    """Images of any sizes to one network input on a device, in one launch: the same bytes as `ops.preprocess_into`.

    `describe` says what the next launch draws; the parameter block's upload brings that to the device; `enqueue` puts
    the launch on a stream, or into a captured graph, which then draws whatever was described last.

    Args:
        out: [n, 3, height, width] on the device.
        parameters: of the same device; a part is reserved.
        interpolation: see `ops.preprocess_into`.
        descriptor_bytes: room for descriptors; those of n images by default. Antialiased images take about four bytes
            for every pixel of their sides and more.
    """

    def __init__(
        self,
        out: DeviceArray,
        parameters: ParameterBlock,
        *,
        interpolation: Interpolation = "bilinear",
        descriptor_bytes: int | None = None,
    ) -> None:
        self.out = out
        self._interpolation = interpolation
        count, _, self._height, self._width = out.shape
        unused = _unused_placement(self._height, self._width)
        size = max(descriptor_bytes or 0, self.descriptor_bytes([unused] * count))
        self._parameters = parameters.reserve(size)

    @property
    def room(self) -> int:
        """For descriptors, in bytes."""
        return len(self._parameters.host)

    def descriptor_bytes(self, placements: Sequence[Placement]) -> int:
        """What images with these placements take."""
        return _native.preprocess_descriptor_bytes(placements, self._interpolation, self._height, self._width)

    def describe(
        self,
        images: Sequence[View | NV12],
        placements: Sequence[Placement],
        *,
        swap_channels: bool = False,
        pad_value: int = 114,
        divisor: float | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        scale: float | Sequence[float] | None = None,
        offset: float | Sequence[float] | None = None,
    ) -> None:
        """Say what the next launch draws. The last upload must be done.

        Args:
            images: at most n, views of uint8 [height, width] or [height, width, 1 | 3 | 4] in memory that the device
                can read, pinned host memory included. Or `NV12` whose planes are such views. Where they are fewer, the
                last ones are drawn again.
            placements: one for each.
            swap_channels, pad_value, divisor, mean, std, scale, offset: see `ops.preprocess_into`.

        Raises:
            ValueError: see `ops.preprocess_into`; or the descriptors take more room than there is.
        """
        count = self.out.shape[0]
        if not 1 <= len(images) <= count or len(images) != len(placements):
            raise InvalidArgumentError(
                f"images holds {len(images)}, placements {len(placements)}; give 1 to {count} images, each with one"
            )
        rest = count - len(images)
        normalization = normalization_of(
            self.out.dtype, divisor=divisor, mean=mean, std=std, scale=scale, offset=offset
        )
        _native.describe_preprocess(
            self._parameters.host,
            [_views(image) for image in (*images, *[images[-1]] * rest)],
            [*placements, *[placements[-1]] * rest],
            self.out.view(),
            swap_channels=swap_channels,
            pad_value=pad_value,
            normalization=normalization.name,
            divisor=normalization.divisor,
            first=normalization.first,
            second=normalization.second,
            keep_padding=False,
            interpolation=self._interpolation,
        )

    def enqueue(self, stream: Stream) -> None:
        """Put the launch on a stream."""
        _native.preprocess_on_device(
            self.out.device.native, self._parameters.address, self.out.view(), self._interpolation, stream.handle
        )
        self.out.written_on(stream)


def _views(image: View | NV12) -> View | tuple[View, View]:
    if not isinstance(image, NV12):
        return image
    for name, plane in (("luma", image.luma), ("chroma", image.chroma)):
        if not isinstance(plane, tuple):
            raise InvalidArgumentError(
                f"{name} of an NV12 image is a {type(plane).__name__}; give a view: address, dtype, shape, strides"
            )
    return image.luma, image.chroma


def _unused_placement(height: int, width: int) -> Placement:
    crop = _native.Rectangle(x=0, y=0, width=width, height=height)
    return Placement(crop=crop, resized_width=width, resized_height=height, left=0, top=0, scale_x=1.0, scale_y=1.0)
