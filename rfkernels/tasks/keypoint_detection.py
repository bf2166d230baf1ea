"""Keypoint detection: images and options in, V2 responses out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from rfkernels import ops
from rfkernels.device import Stream
from rfkernels.images import Image, ImageOptions
from rfkernels.model_metadata import ModelMetadata
from rfkernels.ops import Detections, Placement
from rfkernels.ops.keypoints_on_device import KeypointsOnDevice
from rfkernels.schema import (
    InferenceResponseImage,
    Keypoint,
    KeypointsDetectionInferenceRequest,
    KeypointsDetectionInferenceResponse,
    KeypointsPrediction,
)
from rfkernels.tasks.arguments import fraction, fraction_of_request
from rfkernels.tasks.detection_on_device import BoxesOnDevice
from rfkernels.tasks.detection_settings import DetectionSettings
from rfkernels.tasks.detector import Detector, InferOptions, centred
from rfkernels.tasks.device_images import AnySource
from rfkernels.tasks.device_request import DeviceParts, Room
from rfkernels.tasks.network_check import HEAD_STRIDES

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class KeypointSettings(DetectionSettings):
    """What one request wants of the detections and their keypoints; see `KeypointDetectionModel.infer`."""

    keypoint_confidence: float = 0.0


class KeypointOptions(InferOptions, total=False):
    """The options of `KeypointDetectionModel.infer`, for type checkers."""

    keypoint_confidence: float


@dataclass(frozen=True, eq=False)
class KeypointDetections:
    """What was found in one image, n objects by descending score.

    Attributes:
        detections: boxes, scores and classes.
        keypoints: float32 [n, keypoints, 3], x and y in pixels of the original image and the confidence; 0, 0, 0 for
            a point that is not sure enough.
    """

    detections: Detections
    keypoints: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.detections)


class KeypointDetectionModel(
    Detector[
        KeypointsDetectionInferenceRequest, KeypointSettings, KeypointDetections, KeypointsDetectionInferenceResponse
    ]
):
    """A pose network with its preprocessing and post-processing. Safe to call from several threads.

    Made by `rfkernels.load`; what it takes is what `VisionModel` takes.
    """

    request_type = KeypointsDetectionInferenceRequest
    settings_type = KeypointSettings

    @property
    def skeletons(self) -> dict[int, tuple[tuple[int, int], ...]]:
        """For each class id the pairs of its keypoints that are joined, counted from 0."""
        assert self.metadata.keypoints is not None
        return dict(enumerate(self.metadata.keypoints.skeletons))

    @overload
    def infer(
        self, images: list[AnySource], **options: Unpack[KeypointOptions]
    ) -> list[KeypointsDetectionInferenceResponse]: ...

    @overload
    def infer(self, images: AnySource, **options: Unpack[KeypointOptions]) -> KeypointsDetectionInferenceResponse: ...

    def infer(
        self,
        images: AnySource | list[AnySource],
        *,
        confidence: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        class_agnostic_nms: bool = False,
        class_filter: Sequence[str] | None = None,
        keypoint_confidence: float = 0.0,
        convention: str | None = None,
        image_options: ImageOptions | None = None,
        stream: Stream | None = None,
    ) -> KeypointsDetectionInferenceResponse | list[KeypointsDetectionInferenceResponse]:
        """Detect objects and the keypoints of each.

        Args:
            images, confidence, iou_threshold, max_detections, class_agnostic_nms, class_filter, image_options, stream:
                see `ObjectDetectionModel.infer`.
            keypoint_confidence: in [0, 1]; a keypoint of less is left out, and so is one of 0.
            convention: "v2": keypoints in whole pixels, also outside the image; "ultralytics": in fractions of a
                pixel, clamped to the image. None is the model's.

        Returns:
            The V2 response; a list of them for a list of images. Geometry is in pixels of the original image.

        Raises:
            InputImageLoadError: an image cannot be read.
            InvalidArgumentError: an option is out of its range, or names an unknown class.
        """
        settings = self._settings(
            confidence=confidence,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            class_agnostic_nms=class_agnostic_nms,
            class_filter=class_filter,
            convention=convention,
            keypoint_confidence=fraction("keypoint_confidence", keypoint_confidence),
        )
        return self._infer(images, settings, image_options, stream)

    def extend(
        self,
        outputs: Mapping[str, NDArray[Any]],
        images: Sequence[Image],
        placements: Sequence[Placement],
        detections: list[Detections],
        settings: KeypointSettings,
    ) -> list[KeypointDetections]:
        """The keypoints of the detections."""
        assert self.metadata.keypoints is not None
        keypoints = ops.keypoints_from_heads(
            [outputs[f"keypoints_{stride}"][: len(images)] for stride in HEAD_STRIDES],
            [found.anchor_indices for found in detections],
            placements,
            [(image.height, image.width) for image in images],
            strides=HEAD_STRIDES,
            dimensions=self.metadata.keypoints.values,
            keypoint_confidence=settings.keypoint_confidence,
            convention=settings.convention.name,
        )
        return [KeypointDetections(found, points) for found, points in zip(detections, keypoints, strict=True)]

    def finish_on_device(
        self,
        parts: DeviceParts,
        images: Sequence[Image],
        settings: KeypointSettings,
        room: Room,
    ) -> _KeypointsOnDevice:
        """Boxes, then the keypoints of those that are kept, on the device."""
        return _KeypointsOnDevice(parts, self.metadata, settings.max_detections)

    def respond(
        self, image: Image, found: KeypointDetections, settings: KeypointSettings | None = None
    ) -> KeypointsDetectionInferenceResponse:
        """Detections and keypoints of one image as a V2 response."""
        assert self.metadata.keypoints is not None
        names, keypoint_names = self.metadata.class_names, self.metadata.keypoints.names
        predictions = [
            KeypointsPrediction(
                x=x,
                y=y,
                width=width,
                height=height,
                confidence=score,
                class_name=names[class_id],
                class_id=class_id,
                detection_id=identifier,
                keypoints=[
                    Keypoint(point_x, point_y, confidence, index, name)
                    # The points of a class may be fewer than the network has.
                    for index, (name, (point_x, point_y, confidence)) in enumerate(
                        zip(keypoint_names[class_id], points, strict=False)
                    )
                    if confidence > 0
                ],
            )
            for (x, y, width, height, score, class_id, identifier), points in zip(
                centred(found.detections.boxes, found.detections), found.keypoints.tolist(), strict=True
            )
        ]
        return KeypointsDetectionInferenceResponse(
            image=InferenceResponseImage(width=image.width, height=image.height), predictions=predictions
        )

    def _settings_of(self, request: KeypointsDetectionInferenceRequest) -> KeypointSettings:
        keypoint_confidence = 0.0 if request.keypoint_confidence is None else request.keypoint_confidence
        return replace(
            super()._settings_of(request),
            keypoint_confidence=fraction_of_request("keypoint_confidence", keypoint_confidence),
        )


class _KeypointsOnDevice:
    """Boxes and keypoints, in two launches and two copies. See `device_request.Finish`."""

    def __init__(
        self,
        parts: DeviceParts,
        metadata: ModelMetadata,
        max_detections: int,
    ) -> None:
        assert metadata.keypoints is not None
        self._boxes = BoxesOnDevice(parts, metadata, max_detections)
        self._heads = [parts.session.outputs[f"keypoints_{stride}"] for stride in HEAD_STRIDES]
        detection = self._boxes.detection
        self._keypoints = KeypointsOnDevice(
            self._heads[0].device,
            image_count=detection.image_count,
            max_detections=detection.max_detections,
            keypoint_count=metadata.keypoints.count,
            dimensions=metadata.keypoints.values,
            parameters=parts.parameters,
        )

    def fits(self, images: Sequence[Image], settings: KeypointSettings) -> bool:
        """Whether there is room for as many detections as are wanted."""
        return self._boxes.fits(images, settings)

    def describe(self, images: Sequence[Image], placements: Sequence[Placement], settings: KeypointSettings) -> None:
        """Say what the next run looks for."""
        self._boxes.describe(images, placements, settings)
        self._keypoints.describe(
            placements,
            [(image.height, image.width) for image in images],
            keypoint_confidence=settings.keypoint_confidence,
            convention=settings.convention.name,
        )

    def enqueue(self, stream: Stream) -> None:
        """Put the kernels and the copies on a stream."""
        self._boxes.enqueue(stream)
        found = self._boxes.detection.results.on_device
        self._keypoints.enqueue(self._heads, HEAD_STRIDES, found["anchor_indices"], found["counts"], stream)
        self._keypoints.results.download(stream)

    def read(
        self, images: Sequence[Image], placements: Sequence[Placement], settings: KeypointSettings
    ) -> list[KeypointDetections]:
        """What the last run has found in each image."""
        points = self._keypoints.results.on_host["points"]
        return [
            KeypointDetections(found, points[image, : len(found)].copy())
            for image, found in enumerate(self._boxes.read(images, placements, settings))
        ]
