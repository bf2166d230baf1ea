"""What detectors do on a device with a network's outputs."""

from __future__ import annotations

from collections.abc import Sequence

from rfkernels.device import Stream
from rfkernels.images import Image
from rfkernels.model_metadata import ModelMetadata
from rfkernels.ops import Detections, Placement
from rfkernels.ops.detection_on_device import DetectionOnDevice
from rfkernels.tasks.detection_settings import DetectionSettings
from rfkernels.tasks.device_request import DeviceParts
from rfkernels.tasks.network_check import HEAD_STRIDES

# Room for so many, where less is asked for: another request may ask for more, and memory costs nothing here.
_LEAST_ROOM = 300


class BoxesOnDevice:
    """Heads to boxes, in one launch and one copy. See `device_request.Finish`."""

    def __init__(
        self,
        parts: DeviceParts,
        metadata: ModelMetadata,
        max_detections: int,
    ) -> None:
        self._metadata = metadata
        self._outputs = parts.session.outputs
        (canvas,) = parts.session.inputs.values()
        batch, _, height, width = canvas.shape
        self.detection = DetectionOnDevice(
            canvas.device,
            image_count=batch,
            class_count=len(metadata.class_names),
            anchor_count=self._anchor_count(height, width),
            max_detections=max(max_detections, _LEAST_ROOM),
            parameters=parts.parameters,
            stream=parts.stream,
        )

    def _anchor_count(self, height: int, width: int) -> int:
        if self._metadata.output_format == "decoded":
            (prediction,) = self._outputs.values()
            return prediction.shape[2]
        return sum((height // stride) * (width // stride) for stride in HEAD_STRIDES)

    def fits(self, images: Sequence[Image], settings: DetectionSettings) -> bool:
        """Whether there is room for as many detections as are wanted."""
        return settings.max_detections <= self.detection.max_detections

    def describe(self, images: Sequence[Image], placements: Sequence[Placement], settings: DetectionSettings) -> None:
        """Say what the next run looks for."""
        self.detection.describe(
            placements,
            [(image.height, image.width) for image in images],
            confidence=settings.confidence,
            iou_threshold=settings.iou_threshold,
            class_agnostic=settings.class_agnostic,
            max_detections=settings.max_detections,
            wanted_classes=settings.wanted_class_ids,
            convention=settings.convention.name,
        )

    def enqueue(self, stream: Stream) -> None:
        """Put the kernel and the copy on a stream."""
        self.enqueue_kernel(stream)
        self.detection.results.download(stream)

    def enqueue_kernel(self, stream: Stream) -> None:
        """Put the kernel on a stream, for whoever has more to do with what it finds."""
        if self._metadata.output_format == "decoded":
            (prediction,) = self._outputs.values()
            self.detection.enqueue_from_decoded(prediction, stream)
            return
        heads = [(self._outputs[f"box_{stride}"], self._outputs[f"class_{stride}"]) for stride in HEAD_STRIDES]
        self.detection.enqueue_from_heads(heads, HEAD_STRIDES, stream)

    def read(
        self, images: Sequence[Image], placements: Sequence[Placement], settings: DetectionSettings
    ) -> list[Detections]:
        """What the last run has found in each image."""
        return self.detection.read(len(images))
