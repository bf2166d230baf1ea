"""The objects of a response as what is drawn of them: boxes, masks, points and edges in pixels of the picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rfkernels import ops
from rfkernels.errors import InvalidArgumentError
from rfkernels.schema import (
    InstanceSegmentationInferenceResponse,
    InstanceSegmentationPrediction,
    InstanceSegmentationRLEPrediction,
    KeypointsDetectionInferenceResponse,
    KeypointsPrediction,
    ObjectDetectionInferenceResponse,
    ObjectDetectionPrediction,
)

ObjectResponse: TypeAlias = (
    ObjectDetectionInferenceResponse | InstanceSegmentationInferenceResponse | KeypointsDetectionInferenceResponse
)
_MaskPrediction: TypeAlias = InstanceSegmentationPrediction | InstanceSegmentationRLEPrediction
_ObjectPrediction: TypeAlias = ObjectDetectionPrediction | _MaskPrediction
#: For each class of objects, by class id: pairs of keypoint class ids, from 0, that a line joins.
Skeletons: TypeAlias = Mapping[int, Sequence[tuple[int, int]]]

# Pixels. Where a point beyond is no longer matters, and what draws takes 32-bit integers.
_FAR = 2.0**20


class PlacedMask(NamedTuple):
    """The part of a mask that has pixels.

    Attributes:
        left: the column of the picture where it begins.
        top: the row of the picture where it begins.
        pixels: bool [height, width].
    """

    left: int
    top: int
    pixels: NDArray[np.bool_]


def _no_points() -> NDArray[np.float64]:
    return np.empty((0, 2))


@dataclass(frozen=True)
class DrawnObject:
    """One object.

    Attributes:
        class_id: decides the colour.
        class_name: for the label.
        confidence: for the label.
        box: float64 [4], x1 y1 x2 y2 in pixels.
        mask: where it has one, and this has pixels.
        points: float64 [n, 2], keypoints: x y in pixels.
        edges: pairs of indices into `points`.
    """

    class_id: int
    class_name: str
    confidence: float
    box: NDArray[np.float64]
    mask: PlacedMask | None = None
    points: NDArray[np.float64] = field(default_factory=_no_points)
    edges: Sequence[tuple[int, int]] = ()


def objects_of(
    supervision: ModuleType, response: ObjectResponse, skeletons: Skeletons, picture_size: tuple[int, int]
) -> Iterator[DrawnObject]:
    """The objects one by one, the least sure first: what is drawn last is on top.

    Args:
        supervision: the package.
        response: whose objects.
        skeletons: which keypoints are joined.
        picture_size: width and height of the picture, in pixels.

    Raises:
        InvalidArgumentError: coordinates that are not finite, a mask that is damaged or of another size, a grid of
            masks without a scale.
    """
    grid_size, scale = (response.image.width, response.image.height), np.ones(2)
    if isinstance(response, InstanceSegmentationInferenceResponse) and response.mask_metadata is not None:
        grid = response.mask_metadata
        grid_size, scale = (grid.width, grid.height), np.array([grid.scale_x, grid.scale_y])
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise InvalidArgumentError(
                f"mask_metadata has the scales {grid.scale_x} and {grid.scale_y}; give a response with positive ones"
            )
    numbered: list[tuple[int, _ObjectPrediction]] = list(enumerate(response.predictions))
    for index, prediction in sorted(numbered, key=lambda pair: (pair[1].confidence, -pair[0])):
        name = f"predictions[{index}]"
        mask, points, edges = None, _no_points(), []
        if isinstance(prediction, _MaskPrediction):
            mask = _mask_of(supervision, name, prediction, grid_size)
            mask = None if mask is None else _scaled(mask, scale, picture_size)
        elif isinstance(prediction, KeypointsPrediction) and prediction.keypoints:
            points = _coordinates(f"{name}.keypoints", [(point.x, point.y) for point in prediction.keypoints])
            places = {point.class_id: place for place, point in enumerate(prediction.keypoints)}
            pairs = skeletons.get(prediction.class_id, ())
            edges = [(places[start], places[end]) for start, end in pairs if start in places and end in places]
        yield DrawnObject(
            class_id=prediction.class_id,
            class_name=prediction.class_name,
            confidence=prediction.confidence,
            box=_box_of(name, prediction, scale),
            mask=mask,
            points=points,
            edges=edges,
        )


def _coordinates(name: str, values: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    given = np.array(values, np.float64)
    if not np.isfinite(given).all():
        raise InvalidArgumentError(f"{name} has coordinates that are not finite; give a response without it")
    return given.clip(-_FAR, _FAR)


def _box_of(name: str, prediction: _ObjectPrediction, scale: NDArray[np.float64]) -> NDArray[np.float64]:
    given = (prediction.x, prediction.y), (prediction.width, prediction.height)
    center, size = _coordinates(name, given)
    return np.concatenate([(center - size / 2) * scale, (center + size / 2) * scale]).clip(-_FAR, _FAR)


def _mask_of(
    supervision: ModuleType, name: str, prediction: _MaskPrediction, grid_size: tuple[int, int]
) -> PlacedMask | None:
    """The mask in pixels of its grid; None where it is empty."""
    if isinstance(prediction, InstanceSegmentationPrediction):
        corners = [(point.x, point.y) for point in prediction.points]
        return _filled(supervision, _coordinates(f"{name}.points", corners), grid_size) if corners else None
    size = list(prediction.rle["size"])
    if size != [grid_size[1], grid_size[0]]:
        raise InvalidArgumentError(
            f"{name}.rle is of the size {size}, its response of {[grid_size[1], grid_size[0]]} (height, width)"
        )
    try:
        whole = ops.decode_rle(prediction.rle["counts"], size)
    except ValueError as error:
        raise InvalidArgumentError(f"{name}.rle is damaged: {error}") from error
    rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
    if len(rows) == 0:
        return None
    pixels = whole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return PlacedMask(int(columns[0]), int(rows[0]), pixels)


def _filled(supervision: ModuleType, corners: NDArray[np.float64], grid_size: tuple[int, int]) -> PlacedMask | None:
    """The pixels within a polygon and on its outline, as far as they lie in the grid."""
    # Corners are pixels: of a mask of one pixel there is one, and supervision fills nothing of fewer than three.
    pixels = np.rint(np.pad(corners, ((0, max(0, 3 - len(corners))), (0, 0)), mode="edge")).astype(np.int32)
    left, top = np.clip(pixels.min(axis=0), 0, grid_size)
    right, bottom = np.clip(pixels.max(axis=0) + 1, 0, grid_size)
    if left >= right or top >= bottom:
        return None
    filled = supervision.polygon_to_mask(pixels - [left, top], (int(right - left), int(bottom - top)))
    return PlacedMask(int(left), int(top), filled.astype(np.bool_))


def _scaled(mask: PlacedMask, scale: NDArray[np.float64], picture_size: tuple[int, int]) -> PlacedMask | None:
    """From the grid to the picture, whose pixels take that of the grid in which their centre lies."""
    if (scale == 1).all():
        return mask
    height, width = mask.pixels.shape
    columns, left = _sources(mask.left, width, float(scale[0]), picture_size[0])
    rows, top = _sources(mask.top, height, float(scale[1]), picture_size[1])
    if len(columns) == 0 or len(rows) == 0:
        return None
    return PlacedMask(left, top, mask.pixels[rows[:, None], columns])


def _sources(first: int, count: int, scale: float, limit: int) -> tuple[NDArray[np.int64], int]:
    """Which of `count` pixels of the grid, from `first` on, each of the picture's takes; and where those begin."""
    begin, end = int(min(first * scale, limit)), int(np.ceil(min((first + count) * scale, limit)))
    places = ((np.arange(begin, end) + 0.5) / scale).astype(np.int64) - first
    within = np.flatnonzero((places >= 0) & (places < count))
    return places[within], begin + int(within[0]) if len(within) else begin
