"""Keypoints on a device, as a part of a request that can be captured. C++ contract: rfkernels/keypoints.h."""

from __future__ import annotations

from collections.abc import Sequence

from rfkernels import _native
from rfkernels.device import Device, DeviceArray, Stream
from rfkernels.device_blocks import ParameterBlock, ResultBlock
from rfkernels.errors import InvalidArgumentError
from rfkernels.ops.arguments import real_number, whole_number
from rfkernels.ops.detection_search import Convention, PlacementLike


class KeypointsOnDevice:
    """Keypoints of the anchors that detection has chosen on the device: those of `ops.keypoints_from_heads`.

    Args:
        device: where it runs.
        image_count, max_detections: of the detections.
        keypoint_count, dimensions: of the network's heads, [N, keypoint_count * dimensions, H, W].
        parameters: of the same device; a part is reserved.
    """

    def __init__(
        self,
        device: Device,
        *,
        image_count: int,
        max_detections: int,
        keypoint_count: int,
        dimensions: int,
        parameters: ParameterBlock,
    ) -> None:
        self._device = device
        self._image_count = image_count
        self._dimensions = whole_number("dimensions", dimensions)
        self._parameters = parameters.reserve(_native.keypoint_descriptor_bytes(image_count))
        self.results = ResultBlock(device, {"points": ((image_count, max_detections, keypoint_count, 3), "float32")})

    def describe(
        self,
        placements: Sequence[PlacementLike],
        image_sizes: Sequence[tuple[int, int]],
        *,
        keypoint_confidence: float = 0.0,
        convention: Convention = "v2",
    ) -> None:
        """Say what the next launch makes of the points; see `ops.keypoints_from_heads`. The last upload must be done.

        Args:
            placements, image_sizes: at most as many as the network takes; where fewer, the last one stands for the
                rest.
        """
        rest = self._image_count - len(placements)
        _native.describe_keypoints(
            self._parameters.host,
            [*placements, *[placements[-1]] * rest],
            [*image_sizes, *[image_sizes[-1]] * rest],
            self._dimensions,
            real_number("keypoint_confidence", keypoint_confidence),
            convention == "v2",
        )

    def enqueue(
        self,
        heads: Sequence[DeviceArray],
        strides: Sequence[int],
        anchor_indices: DeviceArray,
        counts: DeviceArray,
        stream: Stream,
    ) -> None:
        """Put the launch on a stream, after the one that chooses.

        Args:
            heads: for each level float32, float16 or bfloat16 [N, keypoint_count * dimensions, H, W].
            strides: network pixels from an anchor to the next, for each level.
            anchor_indices, counts: int32 [N, max_detections] and [N], of the detection.
        """
        for level, head in enumerate(heads):
            if head.shape[0] != self._image_count:
                raise InvalidArgumentError(
                    f"heads[{level}] has shape {list(head.shape)}; the memory is for {self._image_count} images"
                )
        if anchor_indices.shape != self.results.on_device["points"].shape[:2]:
            raise InvalidArgumentError(
                f"anchor_indices has shape {list(anchor_indices.shape)}; the memory is for "
                f"{list(self.results.on_device['points'].shape[:2])}"
            )
        _native.keypoints_from_heads_on_device(
            self._device.native,
            [head.view() for head in heads],
            strides,
            self._dimensions,
            self._parameters.address,
            anchor_indices.view(),
            counts.view(),
            self.results.on_device["points"].view(),
            stream.handle,
        )
        self.results.written_on(stream)
