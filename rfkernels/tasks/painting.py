"""What supervision draws of an object: mask, box, skeleton and label, each class in its colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from rfkernels import ops
from rfkernels.tasks.drawn_objects import DrawnObject, PlacedMask
from rfkernels.tasks.supervision_package import label_font

_MASK_OPACITY = 0.5
# Wider lines hide what they are around, and an outline of many points takes seconds.
_WIDEST_STROKE = 256
# Of a class name, in a label. Drawing a longer text takes memory, and nobody reads it.
_LONGEST_NAME = 60


@dataclass(frozen=True)
class _Window:
    """The part of a picture around an object: without OpenCV supervision's time is that of the whole array for each
    line, so it gets no more than that.

    Attributes:
        pixels: uint8 [height, width, 3], BGR, a view of the picture.
        origin: int64 [2], its first pixel, x y.
        detection: the object as supervision.Detections, in pixels of the window.
        color: of its class, a supervision.Color.
        stroke: width of lines, in pixels.
    """

    pixels: NDArray[np.uint8]
    origin: NDArray[np.int64]
    detection: Any
    color: Any
    stroke: int


class ObjectPainter:
    """Draws objects into a picture, all but their labels.

    Args:
        supervision: the package.
        scene: uint8 [height, width, 3], BGR; drawn into.
        stroke_width: of lines, in pixels; see `draw_response`.
    """

    def __init__(self, supervision: ModuleType, scene: NDArray[np.uint8], stroke_width: int) -> None:
        self._supervision = supervision
        self._scene = scene
        self._stroke_width = stroke_width
        self._palette = supervision.ColorPalette.DEFAULT

    def paint(self, drawn: DrawnObject) -> bool:
        """Draw the object; False where no part of it is in the picture."""
        first, last = _extent(drawn)
        if (last < 0).any() or (first >= self._scene.shape[1::-1]).any():
            return False
        window = self._window(drawn, first, last)
        if drawn.mask is not None:
            self._paint_mask(window, drawn.mask)
        boxes = self._supervision.BoxAnnotator(self._palette, thickness=window.stroke)
        boxes.annotate(window.pixels, window.detection)
        if len(drawn.points) > 0:
            self._paint_keypoints(window, drawn)
        return True

    def _window(self, drawn: DrawnObject, first: NDArray[np.int64], last: NDArray[np.int64]) -> _Window:
        stroke = limited_stroke(self._stroke_width, drawn.box)
        # Of lines and points, which may be wider than what they are of.
        margin = 2 * stroke + 1
        size = self._scene.shape[1::-1]
        (left, top), (right, bottom) = (np.clip(edge, 0, size) for edge in (first - margin, last + margin + 1))
        origin = np.array([left, top])
        corners = np.concatenate([corner - origin for corner in _corner_pixels(drawn.box)])
        color_index = drawn.class_id % len(self._palette.colors)
        return _Window(
            pixels=self._scene[top:bottom, left:right],
            origin=origin,
            detection=self._supervision.Detections(
                xyxy=corners[None].astype(np.float32), class_id=np.array([color_index])
            ),
            color=self._palette.by_idx(color_index),
            stroke=stroke,
        )

    def _paint_mask(self, window: _Window, placed: PlacedMask) -> None:
        mask = _in_window(placed, window.origin, window.pixels)
        window.detection.mask = mask[None]
        self._supervision.MaskAnnotator(self._palette, opacity=_MASK_OPACITY).annotate(window.pixels, window.detection)
        for contour in ops.find_contours(mask):
            self._supervision.draw_polygon(window.pixels, contour, window.color, window.stroke)

    def _paint_keypoints(self, window: _Window, drawn: DrawnObject) -> None:
        # Half a pixel on, within the same: supervision takes (0, 0) for a point that is not there.
        points = np.floor(drawn.points) - window.origin + 0.5
        keypoints = self._supervision.KeyPoints(xy=points[None].astype(np.float32))
        if drawn.edges:  # with none it would look for a skeleton of its own
            edges = [(start + 1, end + 1) for start, end in drawn.edges]
            lines = self._supervision.EdgeAnnotator(window.color, thickness=window.stroke, edges=edges)
            lines.annotate(window.pixels, keypoints)
        dots = self._supervision.VertexAnnotator(window.color, radius=window.stroke + 1)
        dots.annotate(window.pixels, keypoints)


class LabelPainter:
    """Writes labels into a picture: text on the colour of its class.

    Args:
        supervision: the package.
        picture: RGB; drawn into.
    """

    def __init__(self, supervision: ModuleType, picture: PillowImage.Image) -> None:
        self._supervision = supervision
        self._picture = picture
        self._palette = supervision.ColorPalette.DEFAULT
        black, white = supervision.Color.BLACK, supervision.Color.WHITE
        ink = [black if _is_bright(*color.as_rgb()) else white for color in self._palette.colors]
        font_size = max(12, min(picture.size) // 40)
        self._annotator = supervision.RichLabelAnnotator(
            self._palette,
            text_color=supervision.ColorPalette(ink),
            font_path=label_font(),
            font_size=font_size,
            text_padding=font_size // 4,
            smart_position=True,  # moved into the picture where it would leave it
        )
        self._row_height = font_size * 8 // 5

    def label(self, drawn: DrawnObject) -> None:
        """Write the label above the object's box."""
        corner = np.clip(np.floor(drawn.box[:2]), 0, np.array(self._picture.size) - 1)
        self._write(drawn, corner)

    def list_classes(self, classes: Sequence[DrawnObject]) -> None:
        """Write labels one below the other from the upper left corner on, as many as the picture has room for."""
        for row, drawn in enumerate(classes, start=1):
            if row > 1 and row * self._row_height > self._picture.height:
                return
            self._write(drawn, np.array([0, row * self._row_height]))

    def _write(self, drawn: DrawnObject, corner: NDArray[Any]) -> None:
        # One label a call: of several, supervision would move those that overlap away from their objects.
        detection = self._supervision.Detections(
            xyxy=np.concatenate([corner, corner])[None].astype(np.float32),
            class_id=np.array([drawn.class_id % len(self._palette.colors)]),
        )
        text = f"{_readable(drawn.class_name)} {drawn.confidence:.2f}"
        self._annotator.annotate(self._picture, detection, labels=[text])


def limited_stroke(stroke_width: int, box: NDArray[np.float64]) -> int:
    """A stroke of which something is seen and which leaves something of the box to be seen."""
    shorter_side = int(min(box[2:] - box[:2]))
    return max(1, min(stroke_width, shorter_side // 4, _WIDEST_STROKE))


def _corner_pixels(box: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the last pixel (x y) within a box, whose sides lie between pixels; one where it is empty."""
    first = np.floor(box[:2]).astype(np.int64)
    return first, np.maximum(first, np.ceil(box[2:]).astype(np.int64) - 1)


def _extent(drawn: DrawnObject) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and the last pixel (x y) of anything of the object."""
    pixels = [*_corner_pixels(drawn.box), *np.floor(drawn.points).astype(np.int64)]
    if drawn.mask is not None:
        corner = np.array([drawn.mask.left, drawn.mask.top])
        pixels += [corner, corner + drawn.mask.pixels.shape[::-1] - 1]
    return np.min(pixels, axis=0), np.max(pixels, axis=0)


def _in_window(mask: PlacedMask, origin: NDArray[np.int64], window: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The mask as bool [height, width] of the window, which has all of it that is in the picture."""
    out = np.zeros(window.shape[:2], np.bool_)
    left, top = mask.left - origin[0], mask.top - origin[1]
    target = out[top : top + mask.pixels.shape[0], left : left + mask.pixels.shape[1]]
    target[:] = mask.pixels[: target.shape[0], : target.shape[1]]
    return out


def _is_bright(red: int, green: int, blue: int) -> bool:
    """Whether black is read more easily on it than white; by the luma of ITU-R BT.601."""
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140


def _readable(name: str) -> str:
    """The name on one line, without what is no letter, and no longer than can be read."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name[:_LONGEST_NAME])
    return f"{shown}…" if len(name) > _LONGEST_NAME else shown
