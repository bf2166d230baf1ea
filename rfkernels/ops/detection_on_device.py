"""Detection on a device, as a part of a request that can be captured. C++ contract: rfkernels/detection.h."""

from __future__ import annotations

import math
from collections.abc import Sequence

from numpy.typing import ArrayLike

from rfkernels import _native
from rfkernels.device import Device, DeviceArray, DeviceMemory, Stream
from rfkernels.device_blocks import ParameterBlock, ResultBlock
from rfkernels.errors import InvalidArgumentError
from rfkernels.ops.detection_results import Detections, detections_of
from rfkernels.ops.detection_search import ClassFilterStage, Convention, PlacementLike, checked_search


class DetectionOnDevice:
    """Outputs of a detector to detections in one launch: those of `ops.detect_from_heads` and `detect_from_decoded`.

    `describe` says what the next launch looks for; the parameter block's upload brings that to the device; `enqueue`
    puts the launch on a stream, or into a captured graph; `read` makes detections of what was downloaded.

    Args:
        device: where it runs.
        image_count, class_count, anchor_count: of the network's outputs; anchors of all levels of one image.
        max_detections: room for each image.
        parameters: of the same device; a part is reserved.
        stream: to prepare memory on.
    """

    def __init__(
        self,
        device: Device,
        *,
        image_count: int,
        class_count: int,
        anchor_count: int,
        max_detections: int,
        parameters: ParameterBlock,
        stream: Stream,
    ) -> None:
        self._device = device
        self._class_count = class_count
        self._anchor_count = anchor_count
        self.image_count = image_count
        self.max_detections = max_detections
        size = _native.detection_descriptor_bytes(image_count, class_count)
        self._parameters = parameters.reserve(size)
        scratch = _native.detection_scratch_bytes(image_count, anchor_count, max_detections)
        self._scratch = DeviceMemory(device, scratch, "scratch of detection")
        # The kernel leaves its counters at zero for the next launch.
        device.native.fill(self._scratch.address, 0, scratch, stream.handle)
        self.results = ResultBlock(
            device,
            {
                "boxes": ((image_count, max_detections, 4), "float32"),
                "network_boxes": ((image_count, max_detections, 4), "float32"),
                "scores": ((image_count, max_detections), "float32"),
                "class_ids": ((image_count, max_detections), "int32"),
                "anchor_indices": ((image_count, max_detections), "int32"),
                "counts": ((image_count,), "int32"),
                "flags": ((image_count,), "int32"),
            },
        )
        self.results.clear(stream)

    def describe(
        self,
        placements: Sequence[PlacementLike],
        image_sizes: Sequence[tuple[int, int]],
        *,
        confidence: float = 0.4,
        class_confidences: ArrayLike | None = None,
        iou_threshold: float = 0.3,
        class_agnostic: bool = False,
        max_detections: int = 300,
        wanted_classes: Sequence[int] | None = None,
        class_filter_stage: ClassFilterStage | None = None,
        convention: Convention = "v2",
    ) -> None:
        """Say what the next launch looks for; see `ops.detect_from_heads`. The last upload must be done.

        Args:
            placements, image_sizes: at most as many as the network takes; where fewer, the last one stands for the
                rest, whose results mean nothing.
            max_detections: at most the room that there is.

        Raises:
            ValueError: see `ops.detect_from_heads`.
        """
        search = checked_search(
            placements,
            image_sizes,
            confidence=confidence,
            class_confidences=class_confidences,
            iou_threshold=iou_threshold,
            class_agnostic=class_agnostic,
            max_detections=max_detections,
            wanted_classes=wanted_classes,
            class_filter_stage=class_filter_stage,
            convention=convention,
        )
        rest = self.image_count - len(placements)
        _native.describe_detection(
            self._parameters.host,
            [*placements, *[placements[-1]] * rest],
            [*image_sizes, *[image_sizes[-1]] * rest],
            self._class_count,
            *search.settings(self._class_count),
        )

    def enqueue_from_heads(
        self, heads: Sequence[tuple[DeviceArray, DeviceArray]], strides: Sequence[int], stream: Stream
    ) -> None:
        """Put the launch on a stream.

        Args:
            heads: for each level (box, classes), float32, float16 or bfloat16 [N, channels, H, W].
            strides: network pixels from an anchor to the next, for each level.
        """
        anchors = sum(math.prod(classes.shape[2:]) for _, classes in heads)
        for level, (box, classes) in enumerate(heads):
            for name, array in (("box", box), ("classes", classes)):
                self._check(f"heads[{level}] {name}", array, anchors)
        _native.detect_from_heads_on_device(
            self._device.native,
            [(box.view(), classes.view()) for box, classes in heads],
            strides,
            self._parameters.address,
            {name: array.view() for name, array in self.results.on_device.items()},
            self._scratch.address,
            stream.handle,
        )
        self.results.written_on(stream)

    def enqueue_from_decoded(self, prediction: DeviceArray, stream: Stream) -> None:
        """Put the launch on a stream. prediction: [N, 4 + class_count, A], see `ops.detect_from_decoded`."""
        self._check("prediction", prediction, prediction.shape[-1])
        _native.detect_from_decoded_on_device(
            self._device.native,
            prediction.view(),
            self._parameters.address,
            {name: array.view() for name, array in self.results.on_device.items()},
            self._scratch.address,
            stream.handle,
        )
        self.results.written_on(stream)

    def _check(self, name: str, array: DeviceArray, anchors: int) -> None:
        if array.shape[0] != self.image_count or anchors != self._anchor_count:
            raise InvalidArgumentError(
                f"{name} has shape {list(array.shape)}, with {anchors} anchors in all; the memory is for "
                f"{self.image_count} images of {self._anchor_count} anchors"
            )

    def read(self, count: int) -> list[Detections]:
        """The detections of the first `count` images, copied from what was downloaded and waited for.

        Raises:
            DeviceError: the kernel met descriptors of something else.
        """
        return detections_of(self.results.on_host, count)
