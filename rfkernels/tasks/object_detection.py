"""Object detection: images and options in, V2 responses out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from numpy.typing import NDArray

from rfkernels.device import Stream
from rfkernels.images import Image, ImageOptions
from rfkernels.ops import Detections, Placement
from rfkernels.schema import (
    InferenceResponseImage,
    ObjectDetectionInferenceRequest,
    ObjectDetectionInferenceResponse,
    ObjectDetectionPrediction,
)
from rfkernels.tasks.detection_on_device import BoxesOnDevice
from rfkernels.tasks.detection_settings import DetectionSettings
from rfkernels.tasks.detector import Detector, InferOptions, centred
from rfkernels.tasks.device_images import AnySource
from rfkernels.tasks.device_request import DeviceParts, Room

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ObjectDetectionModel(
    Detector[ObjectDetectionInferenceRequest, DetectionSettings, Detections, ObjectDetectionInferenceResponse]
):
    """A detection network with its preprocessing and post-processing. Safe to call from several threads.

    Made by `rfkernels.load`; what it takes is what `VisionModel` takes.
    """

    request_type = ObjectDetectionInferenceRequest
    settings_type = DetectionSettings

    @overload
    def infer(
        self, images: list[AnySource], **options: Unpack[InferOptions]
    ) -> list[ObjectDetectionInferenceResponse]: ...

    @overload
    def infer(self, images: AnySource, **options: Unpack[InferOptions]) -> ObjectDetectionInferenceResponse: ...

    def infer(
        self,
        images: AnySource | list[AnySource],
        *,
        confidence: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        class_agnostic_nms: bool = False,
        class_filter: Sequence[str] | None = None,
        convention: str | None = None,
        image_options: ImageOptions | None = None,
        stream: Stream | None = None,
    ) -> ObjectDetectionInferenceResponse | list[ObjectDetectionInferenceResponse]:
        """Detect objects.

        Args:
            images: a path, bytes, base64 text, URL (see `image_options`), BGR or grey uint8 array, Pillow image, or
                a list of them. Of a model on a device also arrays there, which are read where they lie: a
                `DeviceArray`, or one of torch, CuPy, PyCUDA or Numba, uint8 [height, width] or
                [height, width, 1 | 3 | 4] of any row pitch.
            confidence: in [0, 1]; the score of a detection is greater. Default: the convention's.
            iou_threshold: in [0, 1]; a box whose IoU with a better one is greater is dropped. Default: see above.
            max_detections: most detections of one image, the surest. Default: the convention's.
            class_agnostic_nms: boxes of different classes suppress each other too.
            class_filter: names of the classes to give; None gives all.
            convention: "v2" or "ultralytics"; None is the model's.
            image_options: what kinds of images are let in, and how large.
            stream: of the model's device, where images are there: what was put on it before is waited for. None is
                enough where the arrays say themselves who wrote them, as all do that speak DLPack.

        Returns:
            The V2 response; a list of them for a list of images. Boxes are in pixels of the original image.

        Raises:
            InputImageLoadError: an image cannot be read.
            InvalidArgumentError: an option is out of its range, or names an unknown class; an array on a device is not
                on the model's, or needs a step of the model that runs on the host.
        """
        settings = self._settings(
            confidence=confidence,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            class_agnostic_nms=class_agnostic_nms,
            class_filter=class_filter,
            convention=convention,
        )
        return self._infer(images, settings, image_options, stream)

    def extend(
        self,
        outputs: Mapping[str, NDArray[Any]],
        images: Sequence[Image],
        placements: Sequence[Placement],
        detections: list[Detections],
        settings: DetectionSettings,
    ) -> list[Detections]:
        """The boxes are all there is."""
        return detections

    def finish_on_device(
        self,
        parts: DeviceParts,
        images: Sequence[Image],
        settings: DetectionSettings,
        room: Room,
    ) -> BoxesOnDevice:
        """Boxes, on the device."""
        return BoxesOnDevice(parts, self.metadata, settings.max_detections)

    def respond(
        self, image: Image, found: Detections, settings: DetectionSettings | None = None
    ) -> ObjectDetectionInferenceResponse:
        """Detections of one image as a V2 response: centre-based boxes, names, fresh ids."""
        names = self.metadata.class_names
        predictions = [
            ObjectDetectionPrediction(
                x=x,
                y=y,
                width=width,
                height=height,
                confidence=score,
                class_name=names[class_id],
                class_id=class_id,
                detection_id=identifier,
            )
            for x, y, width, height, score, class_id, identifier in centred(found.boxes, found)
        ]
        return ObjectDetectionInferenceResponse(
            image=InferenceResponseImage(width=image.width, height=image.height), predictions=predictions
        )
