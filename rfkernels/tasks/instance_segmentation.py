"""Instance segmentation: images and options in, V2 responses with outlines or run lengths out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from rfkernels import ops
from rfkernels.device import Stream
from rfkernels.errors import InvalidMaskDecodeArgumentError
from rfkernels.images import Image, ImageOptions
from rfkernels.ops import Detections, MaskGrid, Placement, Polygons, RunLengths
from rfkernels.schema import (
    InferenceResponseImage,
    InstanceSegmentationInferenceRequest,
    InstanceSegmentationInferenceResponse,
    InstanceSegmentationPrediction,
    InstanceSegmentationRLEPrediction,
    MaskCoordinateMetadata,
    Point,
)
from rfkernels.tasks.arguments import one_of, truth
from rfkernels.tasks.detector import Detector, InferOptions, centred
from rfkernels.tasks.device_images import AnySource
from rfkernels.tasks.device_request import DeviceParts, Room
from rfkernels.tasks.network_check import HEAD_STRIDES
from rfkernels.tasks.polygons import merged
from rfkernels.tasks.segmentation_on_device import MasksFinish
from rfkernels.tasks.segmentation_settings import (
    MaskFormat,
    Segmentations,
    SegmentationSettings,
    contours_of,
    with_masks,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

MASK_FORMATS: tuple[MaskFormat, ...] = ("polygon", "rle")
_MASK_DECODE_MODES = ("accurate", "fast", "tradeoff")


class SegmentationOptions(InferOptions, total=False):
    """The options of `InstanceSegmentationModel.infer`, for type checkers."""

    response_mask_format: MaskFormat
    mask_decode_mode: str
    tradeoff_factor: float | None
    allow_reduced_mask_resolution: bool


class InstanceSegmentationModel(
    Detector[
        InstanceSegmentationInferenceRequest, SegmentationSettings, Segmentations, InstanceSegmentationInferenceResponse
    ]
):
    """A segmentation network with its preprocessing and post-processing. Safe to call from several threads.

    Made by `rfkernels.load`; what it takes is what `VisionModel` takes.
    """

    request_type = InstanceSegmentationInferenceRequest
    settings_type = SegmentationSettings

    @overload
    def infer(
        self, images: list[AnySource], **options: Unpack[SegmentationOptions]
    ) -> list[InstanceSegmentationInferenceResponse]: ...

    @overload
    def infer(
        self, images: AnySource, **options: Unpack[SegmentationOptions]
    ) -> InstanceSegmentationInferenceResponse: ...

    def infer(
        self,
        images: AnySource | list[AnySource],
        *,
        confidence: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        class_agnostic_nms: bool = False,
        class_filter: Sequence[str] | None = None,
        response_mask_format: MaskFormat = "polygon",
        mask_decode_mode: str = "accurate",
        tradeoff_factor: float | None = 0.0,
        allow_reduced_mask_resolution: bool = False,
        convention: str | None = None,
        image_options: ImageOptions | None = None,
        stream: Stream | None = None,
    ) -> InstanceSegmentationInferenceResponse | list[InstanceSegmentationInferenceResponse]:
        """Detect objects and their masks.

        Args:
            images, confidence, iou_threshold, max_detections, class_agnostic_nms, class_filter, image_options, stream:
                see `ObjectDetectionModel.infer`.
            response_mask_format: "polygon" for the outlines, "rle" for masks as COCO has them.
            mask_decode_mode: "accurate", "fast" or "tradeoff": masks of the size of the image, of the network's masks,
                or between the two. Has an effect with `allow_reduced_mask_resolution` only.
            tradeoff_factor: from 0 (as "fast") to 1 (as "accurate"), for "tradeoff"; None is 0.
            allow_reduced_mask_resolution: answer with masks, outlines and boxes on the grid that `mask_decode_mode`
                names, and with `original_image` and `mask_metadata`. Not in the ultralytics convention.
            convention: "v2": of each mask the contour with the most points, and an object with an empty mask has no
                points. "ultralytics": all contours joined to one, and objects with empty masks are left out. None is
                the model's.

        Returns:
            The V2 response; a list of them for a list of images. Geometry is in pixels of the original image, or of
            the grid that `mask_metadata` describes.

        Raises:
            InputImageLoadError: an image cannot be read.
            InvalidArgumentError: an option is out of its range, or names an unknown class.
            InvalidMaskDecodeArgumentError: mask_decode_mode, tradeoff_factor or allow_reduced_mask_resolution is.
        """
        reports_grid = truth("allow_reduced_mask_resolution", allow_reduced_mask_resolution)
        factor = resolution_factor(mask_decode_mode, tradeoff_factor)
        settings = self._settings(
            confidence=confidence,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            class_agnostic_nms=class_agnostic_nms,
            class_filter=class_filter,
            convention=convention,
            mask_format=one_of("response_mask_format", response_mask_format, MASK_FORMATS),
            resolution_factor=factor if reports_grid else 1.0,
            reports_grid=reports_grid,
        )
        return self._infer(images, _checked(settings), image_options, stream)

    def extend(
        self,
        outputs: Mapping[str, NDArray[Any]],
        images: Sequence[Image],
        placements: Sequence[Placement],
        detections: list[Detections],
        settings: SegmentationSettings,
    ) -> list[Segmentations]:
        """The masks of the detections."""
        results = []
        for index, (image, placement, found) in enumerate(zip(images, placements, detections, strict=True)):
            prototypes = outputs["prototypes"][index : index + 1]
            levels = [outputs[f"coefficients_{stride}"][index] for stride in HEAD_STRIDES]
            coefficients = rows_at(levels, found.anchor_indices)
            results.append(self._segment(prototypes, coefficients, found, (image, placement), settings))
        return results

    def _segment(
        self,
        prototypes: NDArray[Any],
        coefficients: NDArray[np.float32],
        found: Detections,
        placed: tuple[Image, Placement],
        settings: SegmentationSettings,
    ) -> Segmentations:
        image, placement = placed
        grid = self.mask_grid(image, placement, (prototypes.shape[2], prototypes.shape[3]), settings)
        arguments = (prototypes, coefficients, found.network_boxes, grid)
        masks: Polygons | RunLengths
        if settings.mask_format == "rle":
            masks = ops.masks_to_rle(*arguments)
        else:
            masks = ops.masks_to_polygons(*arguments, contours=contours_of(settings))
        return with_masks(placed, grid, found, masks, settings)

    def mask_grid(
        self, image: Image, placement: Placement, prototype_size: tuple[int, int], settings: SegmentationSettings
    ) -> MaskGrid:
        """The pixels that masks of an image have."""
        native = settings.mask_format == "rle"
        return ops.plan_mask_grid(
            placement,
            image_size=(image.height, image.width),
            network_size=self.metadata.image_size,
            prototype_size=prototype_size,
            convention=(
                "v2" if settings.convention.name == "v2" else "ultralytics_native" if native else "ultralytics"
            ),
            resolution_factor=settings.resolution_factor,
        )

    def finish_on_device(
        self,
        parts: DeviceParts,
        images: Sequence[Image],
        settings: SegmentationSettings,
        room: Room,
    ) -> MasksFinish:
        """Boxes, then the masks of those that are kept, on the device."""
        return MasksFinish(self, parts, images, settings, room)

    def respond(
        self, image: Image, found: Segmentations, settings: SegmentationSettings
    ) -> InstanceSegmentationInferenceResponse:
        """Detections and masks of one image as a V2 response."""
        size = InferenceResponseImage(width=image.width, height=image.height)
        predictions = self._predictions(image, found)
        if not settings.reports_grid:
            return InstanceSegmentationInferenceResponse(image=size, predictions=predictions)
        grid = found.grid
        return InstanceSegmentationInferenceResponse(
            image=InferenceResponseImage(width=grid.width, height=grid.height),
            predictions=predictions,
            original_image=size,
            mask_metadata=MaskCoordinateMetadata(
                width=grid.width,
                height=grid.height,
                scale_x=image.width / grid.width,
                scale_y=image.height / grid.height,
            ),
        )

    def _predictions(
        self, image: Image, found: Segmentations
    ) -> list[InstanceSegmentationPrediction | InstanceSegmentationRLEPrediction]:
        names = self.metadata.class_names
        rows = centred(found.boxes, found.detections)
        if isinstance(found.masks, RunLengths):
            size = list(found.masks.size)
            return [
                InstanceSegmentationRLEPrediction(
                    x=x,
                    y=y,
                    width=width,
                    height=height,
                    confidence=score,
                    class_name=names[class_id],
                    class_id=class_id,
                    detection_id=identifier,
                    rle={"size": size, "counts": counts},
                )
                for (x, y, width, height, score, class_id, identifier), counts in zip(
                    rows, found.masks.counts, strict=True
                )
            ]
        return [
            InstanceSegmentationPrediction(
                x=x,
                y=y,
                width=width,
                height=height,
                confidence=score,
                class_name=names[class_id],
                class_id=class_id,
                detection_id=identifier,
                points=points,
            )
            for (x, y, width, height, score, class_id, identifier), points in zip(
                rows, _points_of(found.masks, found, image), strict=True
            )
        ]

    def _settings_of(self, request: InstanceSegmentationInferenceRequest) -> SegmentationSettings:
        # As in V2, wrong values are refused also where they have no effect.
        factor = resolution_factor(request.mask_decode_mode, request.tradeoff_factor)
        settings = replace(
            super()._settings_of(request),
            mask_format=request.response_mask_format,
            resolution_factor=factor if request.allow_reduced_mask_resolution else 1.0,
            reports_grid=request.allow_reduced_mask_resolution,
        )
        return _checked(settings)


def resolution_factor(mask_decode_mode: str | None, tradeoff_factor: float | None) -> float:
    """How much of the image's resolution masks have: 1 all of it, 0 that of the network's masks.

    Raises:
        InvalidMaskDecodeArgumentError: a mode or factor that there is not, in V2's words.
    """
    if mask_decode_mode is None or mask_decode_mode == "accurate":
        return 1.0
    if mask_decode_mode == "fast":
        return 0.0
    if mask_decode_mode != "tradeoff":
        raise InvalidMaskDecodeArgumentError(
            f"Invalid mask_decode_mode: {mask_decode_mode}. Must be one of {list(_MASK_DECODE_MODES)}"
        )
    factor = 0.0 if tradeoff_factor is None else tradeoff_factor
    if isinstance(factor, bool) or not isinstance(factor, int | float | np.number) or not 0.0 <= factor <= 1.0:
        raise InvalidMaskDecodeArgumentError(f"Invalid tradeoff_factor: {factor}. Must be in [0.0, 1.0]")
    return float(factor)


def rows_at(levels: Sequence[NDArray[Any]], anchor_indices: NDArray[np.int32]) -> NDArray[np.float32]:
    """The values float32 [n, channels] at chosen anchors.

    Args:
        levels: of one image, each float32 [channels, height, width], or uint16 with the bits of bfloat16.
        anchor_indices: int32 [n], counted through the levels, along the rows.
    """
    rows = np.empty((len(anchor_indices), levels[0].shape[0]), np.float32)
    first = 0
    for level in levels:
        height, width = level.shape[1:]
        here = (anchor_indices >= first) & (anchor_indices < first + height * width)
        y, x = np.divmod(anchor_indices[here] - first, width)
        values = level[:, y, x].T
        rows[here] = values if values.dtype == np.float32 else (values.astype(np.uint32) << 16).view(np.float32)
        first += height * width
    return rows


def _checked(settings: SegmentationSettings) -> SegmentationSettings:
    if settings.reports_grid and settings.convention.name != "v2":
        raise InvalidMaskDecodeArgumentError(
            'allow_reduced_mask_resolution is True, and convention is "ultralytics", which has no reduced masks; '
            'give convention="v2"'
        )
    return settings


def _points_of(polygons: Polygons, found: Segmentations, image: Image) -> list[list[Point]]:
    """The corners of each mask's outline."""
    if found.grid.cut_probabilities:  # v2: one contour at most, on the grid
        columns = polygons.points.astype(np.float64)
        xs, ys = columns[:, 0].tolist(), columns[:, 1].tolist()
        bounds = polygons.first_points[polygons.first_contours].tolist()
        return [list(map(Point, xs[begin:end], ys[begin:end])) for begin, end in itertools.pairwise(bounds)]
    placement = found.placement
    pads = np.array([placement.left, placement.top], np.float32)
    scale = np.array([placement.scale_x, placement.scale_y], np.float32)
    offset = np.array([placement.crop.x, placement.crop.y], np.float32)
    corner = np.array([image.width, image.height], np.float32)
    outlines = []
    for index in range(len(found)):
        points = merged(polygons.contours_of(index)).astype(np.float32)
        places = np.clip((points - pads) / scale + offset, np.float32(0), corner)
        outlines.append(list(map(Point, places[:, 0].tolist(), places[:, 1].tolist())))
    return outlines
