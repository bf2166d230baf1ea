"""Images into a network's input, as the model's metadata says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from rfkernels import ops
from rfkernels.device import DeviceArray
from rfkernels.errors import InvalidArgumentError
from rfkernels.images import Image
from rfkernels.images.image import refusal
from rfkernels.model_metadata import ModelMetadata, Preprocessing
from rfkernels.ops import Placement, Rectangle, StaticCrop
from rfkernels.ops.preprocess import Interpolation
from rfkernels.ops.preprocess_on_device import PreprocessOnDevice
from rfkernels.tasks.convention import Convention
from rfkernels.tasks.device_images import ImageOnDevice
from rfkernels.tasks.staging import Staging


class DescriptorsTooLargeError(Exception):
    """More room is needed for what describes images to a device: so many bytes."""

    def __init__(self, needed: int) -> None:
        super().__init__(f"{needed} bytes")
        self.needed = needed


_MOST_PLANS = 64
# Of the modes that are not resized as OpenCV does it. Classification networks see, in either convention, what Pillow
# makes of an image.
_INTERPOLATIONS: dict[str, Interpolation] = {"shortest_side_crop": "antialiased"}


class Preparation:
    """Static crop, grayscale, contrast, resize, colour order and normalization of one model, in that order.

    Source: inference-models 0.39. The last three are one pass of `ops.preprocess_into`; the others are rarely used.
    """

    def __init__(self, metadata: ModelMetadata) -> None:
        self._metadata = metadata
        self._steps = metadata.preprocessing
        self._plans: dict[tuple[int, int, str], Placement] = {}

    def without(self, *, static_crop: bool, grayscale: bool, contrast: bool) -> Preparation:
        """The same with the named steps switched off, as a V2 request may ask."""
        if not (static_crop or grayscale or contrast):
            return self
        steps = replace(
            self._steps,
            static_crop=None if static_crop else self._steps.static_crop,
            grayscale=self._steps.grayscale and not grayscale,
            contrast=None if contrast else self._steps.contrast,
        )
        return Preparation(replace(self._metadata, preprocessing=steps))

    def write(
        self,
        images: Sequence[Image],
        destination: NDArray[Any],
        convention: Convention,
        drawn: dict[int, object] | None = None,
    ) -> list[Placement]:
        """Write images of any sizes into the network's input.

        Args:
            images: at most as many as the destination holds; what is left of it is not touched.
            destination: float32, or uint16 that holds bfloat16, [N, 3, height, width], C-contiguous.
            convention: how the letterbox rounds. Other ways to resize are the same in both.
            drawn: the session's notes on what the destination holds; padding that is there already is not drawn again.

        Returns:
            Where each image lies in the input.
        """
        steps = self._steps
        placements, pixels, crops = self._arrange(images, convention)
        pad_value = self._pad_value
        # The order of an image's channels is a fact of its source, so a batch may mix them: a call for each order.
        drawn = {} if drawn is None else drawn
        for first, last, order in _runs(images):
            around = {n: _padding_of(crops[n], pad_value, steps) for n in range(first, last)}
            # Taken out first: after an error nobody knows what the destination holds.
            held = [drawn.pop(n, None) for n in around]
            ops.preprocess_into(
                destination[first:last],
                pixels[first:last],
                crops[first:last],
                interpolation=self.interpolation,
                swap_channels=order != steps.color_order,
                pad_value=pad_value,
                divisor=steps.divisor,
                mean=steps.mean,
                std=steps.std,
                keep_padding=held == list(around.values()),
            )
            drawn.update(around)
        return placements

    @property
    def interpolation(self) -> Interpolation:
        """How images are resized."""
        return _INTERPOLATIONS.get(self._steps.resize_mode, "bilinear")

    def describe(
        self, images: Sequence[Image], drawing: PreprocessOnDevice, staging: Staging, convention: Convention
    ) -> list[Placement]:
        """Bring images to memory that a device can read, and say what its next launch is to draw.

        Those that are on the device are read where they are.

        Returns:
            Where each image will lie in the input.

        Raises:
            DescriptorsTooLargeError: the images' descriptors take more room than `drawing` has.
        """
        placements, pixels, crops = self._arrange(images, convention)
        needed = drawing.descriptor_bytes([*crops, *[crops[-1]] * (drawing.out.shape[0] - len(crops))])
        if needed > drawing.room:
            raise DescriptorsTooLargeError(needed)
        # A launch swaps the channels of all its images or of none: one of another order is turned round here, on the
        # host. Those on the device all have one order.
        order = next((image for image in images if isinstance(image, ImageOnDevice)), images[0]).color_order
        on_host = [
            values if image.color_order == order or values.ndim == 2 else values[..., :3][..., ::-1]
            for image, values in zip(images, pixels, strict=True)
            if not isinstance(values, DeviceArray)
        ]
        held = iter(staging.hold(on_host))
        views = [values.view() if isinstance(values, DeviceArray) else next(held) for values in pixels]
        steps = self._steps
        drawing.describe(
            views,
            crops,
            swap_channels=order != steps.color_order,
            pad_value=self._pad_value,
            divisor=steps.divisor,
            mean=steps.mean,
            std=steps.std,
        )
        return placements

    @property
    def _pad_value(self) -> int:
        # V2's centre crop is black around a small image, whatever the model's padding is.
        return 0 if self._steps.resize_mode == "center_crop" else self._steps.pad_value

    def _arrange(
        self, images: Sequence[Image], convention: Convention
    ) -> tuple[list[Placement], list[Any], list[Placement]]:
        """Where each image lies in the input; its pixels after grayscale and contrast, and where those lie."""
        placements = [self._placement(image, convention) for image in images]
        pixels: list[NDArray[Any] | DeviceArray] = []
        crops = []
        for image, placement in zip(images, placements, strict=True):
            prepared, remaining = self._enhance(image, placement)
            pixels.append(prepared)
            crops.append(remaining)
        return placements, pixels, crops

    def _placement(self, image: Image, convention: Convention) -> Placement:
        """`_plan`, kept: images of a camera are all of one size."""
        key = (image.height, image.width, convention.size_rounding)
        found = self._plans.get(key)
        if found is None:
            if len(self._plans) >= _MOST_PLANS:
                self._plans = {}
            found = self._plans[key] = self._plan(image, convention)
        return found

    def _plan(self, image: Image, convention: Convention) -> Placement:
        try:
            return ops.plan_placement(
                image.height,
                image.width,
                size=self._metadata.image_size,
                mode=self._steps.resize_mode,
                rounding=convention.size_rounding,
                static_crop=None if self._steps.static_crop is None else StaticCrop(*self._steps.static_crop),
            )
        except ValueError as error:
            # The model's own steps are sound, so it is the image that they do not fit: a crop that leaves no pixel.
            raise refusal(f"the model's preprocessing does not fit it ({error}).") from error

    def _enhance(self, image: Image, placement: Placement) -> tuple[NDArray[Any] | DeviceArray, Placement]:
        """Grayscale and contrast look at the cropped image alone; what they return begins at its first pixel."""
        steps = self._steps
        if not steps.grayscale and steps.contrast is None:
            return image.array if isinstance(image, ImageOnDevice) else image.pixels, placement
        if isinstance(image, ImageOnDevice):
            raise InvalidArgumentError(
                f"{image.name} is on a device, and the model's {'grayscale' if steps.grayscale else 'contrast'} runs "
                "on the host; copy it there and give that array"
            )
        crop = placement.crop
        pixels = image.pixels[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
        if steps.grayscale:
            pixels = ops.grayscale(pixels, color_order=image.color_order)
        if steps.contrast is not None:
            pixels = ops.contrast(pixels, kind=steps.contrast)
        return pixels, Placement(
            crop=Rectangle(x=0, y=0, width=crop.width, height=crop.height),
            resized_width=placement.resized_width,
            resized_height=placement.resized_height,
            left=placement.left,
            top=placement.top,
            scale_x=placement.scale_x,
            scale_y=placement.scale_y,
        )


def _padding_of(placement: Placement, pad_value: int, steps: Preprocessing) -> object:
    """Everything that the padding around an image depends on, to be compared."""
    covered = (placement.left, placement.top, placement.resized_width, placement.resized_height)
    return covered, pad_value, steps.divisor, steps.mean, steps.std


def _runs(images: Sequence[Image]) -> list[tuple[int, int, str]]:
    """Stretches of consecutive images with the same order of channels: first, last + 1, order."""
    runs: list[tuple[int, int, str]] = []
    for index, image in enumerate(images):
        if runs and runs[-1][2] == image.color_order:
            runs[-1] = (runs[-1][0], index + 1, image.color_order)
        else:
            runs.append((index, index + 1, image.color_order))
    return runs
