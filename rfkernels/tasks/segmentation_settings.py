"""What a request to a segmentation model wants, and what is found for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rfkernels.images import Image
from rfkernels.ops import Detections, MaskGrid, Placement, Polygons, RunLengths
from rfkernels.tasks.detection_settings import DetectionSettings

MaskFormat = Literal["polygon", "rle"]


@dataclass(frozen=True)
class SegmentationSettings(DetectionSettings):
    """What one request wants of the detections and their masks; see `InstanceSegmentationModel.infer`.

    Attributes:
        mask_format: outlines, or COCO's run lengths.
        resolution_factor: 1 for masks of the size of the image, 0 for that of the network's.
        reports_grid: whether geometry is on the grid of the masks, whatever its size, and the response says which.
    """

    mask_format: MaskFormat = "polygon"
    resolution_factor: float = 1.0
    reports_grid: bool = False


@dataclass(frozen=True, eq=False)
class Segmentations:
    """What was found in one image, n objects by descending score.

    Attributes:
        detections: boxes, scores and classes.
        boxes: float32 [n, 4], x1 y1 x2 y2 in pixels of the grid.
        grid: the pixels that the masks have.
        placement: where the image lies in the network's input.
        masks: of each detection; in the ultralytics convention outlines have pixels of the network's input.
    """

    detections: Detections
    boxes: NDArray[np.float32]
    grid: MaskGrid
    placement: Placement
    masks: Polygons | RunLengths

    def __len__(self) -> int:
        return len(self.detections)


def boxes_on_grid(found: Detections, placement: Placement, grid: MaskGrid, image: Image) -> NDArray[np.float32]:
    """Boxes float32 [n, 4] in pixels of a reduced grid of masks; whole pixels only if that is the image's size.

    Source: inference-models 0.39, which maps the network's boxes to the grid at once, in float32.
    """
    crop = placement.crop
    scale_x = placement.scale_x * crop.width / grid.resized_width
    scale_y = placement.scale_y * crop.height / grid.resized_height
    pads = np.array([placement.left, placement.top] * 2, np.float32)
    boxes: NDArray[np.float32] = found.network_boxes - pads
    boxes /= np.array([scale_x, scale_y] * 2, np.float32)
    boxes += np.array([grid.left, grid.top] * 2, np.float32)
    np.clip(boxes, np.float32(0), np.array([grid.width, grid.height] * 2, np.float32), out=boxes)
    if (grid.height, grid.width) == (image.height, image.width):
        np.rint(boxes, out=boxes)
    return boxes


def contours_of(settings: SegmentationSettings) -> Literal["most_points", "all"]:
    """Which outlines of a mask are answered."""
    return "most_points" if settings.convention.name == "v2" else "all"


def with_masks(
    placed: tuple[Image, Placement],
    grid: MaskGrid,
    found: Detections,
    masks: Polygons | RunLengths,
    settings: SegmentationSettings,
) -> Segmentations:
    """Detections and masks of one image, and where it lies, together, as the convention has them."""
    image, placement = placed
    if settings.convention.name == "v2":
        boxes = found.boxes if settings.resolution_factor == 1.0 else boxes_on_grid(found, placement, grid, image)
        return Segmentations(found, boxes, grid, placement, masks)
    return _without_empty(Segmentations(found, found.boxes, grid, placement, masks))


def _without_empty(found: Segmentations) -> Segmentations:
    """Without the detections whose masks have no pixel."""
    keep = found.masks.areas > 0
    if keep.all():
        return found
    detections, masks = found.detections, found.masks
    if isinstance(masks, RunLengths):
        counts = [counts for counts, kept in zip(masks.counts, keep.tolist(), strict=True) if kept]
        masks = masks._replace(counts=counts, areas=masks.areas[keep])
    else:
        # An empty mask has no contour, so nothing else moves.
        masks = masks._replace(first_contours=masks.first_contours[np.append(keep, True)], areas=masks.areas[keep])
    detections = replace(
        detections,
        boxes=detections.boxes[keep],
        scores=detections.scores[keep],
        class_ids=detections.class_ids[keep],
        anchor_indices=detections.anchor_indices[keep],
        network_boxes=detections.network_boxes[keep],
    )
    return replace(found, detections=detections, boxes=found.boxes[keep], masks=masks)
