"""Draws a response onto its picture: for `--output` and `visualize_predictions`, and for nothing that is timed."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from rfkernels.errors import InvalidArgumentError
from rfkernels.images import Image
from rfkernels.schema import ObjectDetectionPrediction

_JPEG_QUALITY = 90
# libjpeg's JPEG_MAX_DIMENSION.
_LARGEST_JPEG_SIDE = 65500


def draw_detections(
    image: Image,
    predictions: Sequence[ObjectDetectionPrediction],
    *,
    labels: bool = True,
    stroke_width: int = 2,
) -> PillowImage.Image:
    """Boxes, and class names with confidences, over a copy of the picture.

    Args:
        image: the picture, in either order of channels.
        predictions: of that picture, in its pixels.
        labels: write the class and the confidence above each box.
        stroke_width: of the boxes, in pixels; 1 if it is less, and no more than fills the box.

    Returns:
        An RGB Pillow image of the same size.
    """
    pixels = image.pixels if image.color_order == "rgb" else image.pixels[..., ::-1]
    picture = PillowImage.fromarray(np.ascontiguousarray(pixels))
    canvas = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(12.0, min(picture.size) / 40))
    # The least sure first, so that the surest are on top.
    for prediction in reversed(predictions):
        left, top = prediction.x - prediction.width / 2, prediction.y - prediction.height / 2
        right, bottom = left + prediction.width, top + prediction.height
        color = class_color(prediction.class_id)
        # Pillow draws a wider outline line by line, also where none of it is seen: minutes for a width of 10,000.
        fills_the_box = int(min(prediction.width, prediction.height)) // 2 + 1
        stroke = min(max(stroke_width, 1), fills_the_box)
        canvas.rectangle((left, top, right, bottom), outline=color, width=stroke)
        if labels:
            text = f"{prediction.class_name} {prediction.confidence:.2f}"
            _draw_label(canvas, text, left, top, color=color, font=font)
    return picture


def encode_jpeg(picture: PillowImage.Image) -> bytes:
    """The picture as a JPEG file.

    Raises:
        InvalidArgumentError: a side is longer than a JPEG can have.
    """
    if max(picture.size) > _LARGEST_JPEG_SIDE:
        raise InvalidArgumentError(
            f"visualize_predictions: the image has {picture.width} x {picture.height} pixels, a JPEG has sides of at "
            f"most {_LARGEST_JPEG_SIDE}; ask without it"
        )
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def class_color(class_id: int) -> tuple[int, int, int]:
    """A colour for each class: steps of the golden angle round the hue circle keep neighbours apart."""
    red, green, blue = colorsys.hsv_to_rgb(class_id * 0.618034 % 1.0, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _draw_label(
    canvas: ImageDraw.ImageDraw,
    text: str,
    left: float,
    top: float,
    *,
    color: tuple[int, int, int],
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    x1, y1, x2, y2 = canvas.textbbox((0, 0), text, font=font)
    height, width = y2 - y1 + 4, x2 - x1 + 6
    # Above the box, or inside it where the picture ends.
    label_top = top - height if top >= height else top
    canvas.rectangle((left, label_top, left + width, label_top + height), fill=color)
    brightness = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    ink = (0, 0, 0) if brightness > 140 else (255, 255, 255)
    canvas.text((left + 3 - x1, label_top + 2 - y1), text, fill=ink, font=font)
