"""What instance segmentation does on a device with a network's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rfkernels.device import Stream
from rfkernels.images import Image
from rfkernels.model_metadata import ModelMetadata
from rfkernels.ops import MaskGrid, Placement, Polygons, RunLengths
from rfkernels.ops.masks_on_device import MasksOnDevice
from rfkernels.tasks.detection_on_device import BoxesOnDevice
from rfkernels.tasks.device_request import DeviceParts, MoreRoomError, Room
from rfkernels.tasks.network_check import HEAD_STRIDES
from rfkernels.tasks.segmentation_settings import Segmentations, SegmentationSettings, contours_of, with_masks

# Bits of a hundred masks of 5 % of a 1080p picture are 1.3 MB.
_USUAL_ARENA_BYTES = 2 << 20
# Sides of grids that any request has room for.
_USUAL_SIDE = 2048


class PlansMaskGrids(Protocol):
    """A segmentation model, as far as it is needed here."""

    metadata: ModelMetadata

    def mask_grid(
        self, image: Image, placement: Placement, prototype_size: tuple[int, int], settings: SegmentationSettings
    ) -> MaskGrid:
        """The pixels that masks of an image have."""


class MasksFinish:
    """Boxes and masks, in three or four launches and one copy. See `device_request.Finish`."""

    def __init__(
        self,
        model: PlansMaskGrids,
        parts: DeviceParts,
        images: Sequence[Image],
        settings: SegmentationSettings,
        room: Room,
    ) -> None:
        self._model = model
        self._boxes = BoxesOnDevice(parts, model.metadata, settings.max_detections)
        self._prototypes = parts.session.outputs["prototypes"]
        self._coefficients = [parts.session.outputs[f"coefficients_{stride}"] for stride in HEAD_STRIDES]
        self._is_runs = settings.mask_format == "rle"
        # A grid is the image or the network's input, or smaller than the image.
        sides = [(image.height, image.width) for image in images] + [model.metadata.image_size]
        self._most_grid = (
            max(_USUAL_SIDE, *(height for height, _ in sides)),
            max(_USUAL_SIDE, *(width for _, width in sides)),
        )
        self._masks = MasksOnDevice(
            self._prototypes,
            max_detections=self._boxes.detection.max_detections,
            form="runs" if self._is_runs else "bits",
            most_grid=self._most_grid,
            arena_bytes=max(_USUAL_ARENA_BYTES, room.results),
            parameters=parts.parameters,
        )
        self._grids: list[MaskGrid] = []

    def fits(self, images: Sequence[Image], settings: SegmentationSettings) -> bool:
        """Whether there is room for as many detections and as large masks, in the form that is wanted."""
        height, width = self._most_grid
        return (
            self._boxes.fits(images, settings)
            and (settings.mask_format == "rle") == self._is_runs
            and all(image.height <= height and image.width <= width for image in images)
        )

    def describe(
        self, images: Sequence[Image], placements: Sequence[Placement], settings: SegmentationSettings
    ) -> None:
        """Say what the next run looks for."""
        self._boxes.describe(images, placements, settings)
        size = (self._prototypes.shape[2], self._prototypes.shape[3])
        self._grids = [
            self._model.mask_grid(image, placement, size, settings)
            for image, placement in zip(images, placements, strict=True)
        ]
        self._masks.describe(self._grids)

    def enqueue(self, stream: Stream) -> None:
        """Put the kernels and the copy on a stream; masks are written to the host's memory as they are made."""
        self._boxes.enqueue(stream)
        found = self._boxes.detection.results.on_device
        self._masks.enqueue(
            self._coefficients, found["anchor_indices"], found["network_boxes"], found["counts"], stream
        )

    def read(
        self, images: Sequence[Image], placements: Sequence[Placement], settings: SegmentationSettings
    ) -> list[Segmentations]:
        """What the last run has found in each image."""
        missing = self._masks.missing_bytes()
        if missing:
            raise MoreRoomError(missing)
        results = []
        for index, found in enumerate(self._boxes.read(images, placements, settings)):
            grid = self._grids[index]
            masks: Polygons | RunLengths
            if self._is_runs:
                masks = self._masks.run_lengths(index, len(found), grid)
            else:
                masks = self._masks.polygons(index, len(found), contours=contours_of(settings))
            results.append(with_masks((images[index], placements[index]), grid, found, masks, settings))
        return results
