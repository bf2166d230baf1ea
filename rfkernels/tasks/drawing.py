"""Draws a response onto its picture: for `--output` and `visualize_predictions`, and for nothing that is timed.

The drawing is supervision's (the extra "pictures").
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from PIL import Image as PillowImage

from rfkernels.errors import InvalidArgumentError
from rfkernels.images import Image
from rfkernels.schema import (
    ClassificationInferenceResponse,
    CvInferenceResponse,
    InstanceSegmentationInferenceResponse,
    MultiLabelClassificationInferenceResponse,
)
from rfkernels.tasks.drawn_objects import DrawnObject, ObjectResponse, Skeletons, objects_of
from rfkernels.tasks.painting import LabelPainter, ObjectPainter
from rfkernels.tasks.supervision_package import require_supervision

_JPEG_QUALITY = 90
# libjpeg's JPEG_MAX_DIMENSION.
_LARGEST_JPEG_SIDE = 65500

ClassifiedResponse: TypeAlias = ClassificationInferenceResponse | MultiLabelClassificationInferenceResponse


def draw_response(
    image: Image,
    response: ObjectResponse | ClassifiedResponse,
    *,
    labels: bool = True,
    stroke_width: int = 2,
    skeletons: Skeletons | None = None,
) -> PillowImage.Image:
    """What a response says, over a copy of its picture; the same each time.

    Objects have a box and a label; a translucent mask with its outline, or keypoints and the edges of their skeleton,
    where the response has them. The surest are on top. A classified picture has a frame, and in its upper left corner
    the label of its class, or of all its classes. A class has its colour of supervision's palette.

    Args:
        image: the picture, in either order of channels.
        response: of that picture. Geometry on a mask grid is scaled back to the picture.
        labels: write class names and confidences.
        stroke_width: of lines, in pixels; 1 if it is less, and at most a quarter of the object's box and 256.
        skeletons: for each class of objects, by class id, the pairs of keypoint class ids (from 0) that are joined,
            where the response has both.

    Returns:
        An RGB Pillow image of the same size.

    Raises:
        RfkernelsError: supervision is not installed.
        InvalidArgumentError: a response that cannot be drawn, or of an image of another size; coordinates that are not
            finite; a mask that is damaged or not of the response's size.
    """
    if not isinstance(response, ObjectResponse | ClassifiedResponse):
        raise InvalidArgumentError(f"response is a {type(response).__name__}; give that of one of the four tasks")
    if not isinstance(image, Image):
        raise InvalidArgumentError(
            f"image is a {type(image).__name__}; give what load_image returns, whose pixels are on the host, where "
            "pictures are drawn"
        )
    _check_size(image, response)
    supervision = require_supervision()
    # supervision draws onto BGR.
    scene = np.array(image.pixels if image.color_order == "bgr" else image.pixels[..., ::-1], order="C")
    painter = ObjectPainter(supervision, scene, stroke_width)
    if isinstance(response, ObjectResponse):
        objects = objects_of(supervision, response, skeletons or {}, (image.width, image.height))
        # For the labels, and without the masks: all at once would need the memory of as many pictures.
        drawn = [replace(item, mask=None) for item in objects if painter.paint(item)]
    else:
        drawn = _classes_of(image, response)
        if drawn:
            painter.paint(drawn[0])
    picture = PillowImage.fromarray(np.ascontiguousarray(scene[..., ::-1]))
    if not labels:
        return picture
    writer = LabelPainter(supervision, picture)
    if isinstance(response, ObjectResponse):
        for item in drawn:
            writer.label(item)
    else:
        writer.list_classes(drawn)
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


def _check_size(image: Image, response: CvInferenceResponse) -> None:
    size = response.image
    if isinstance(response, InstanceSegmentationInferenceResponse) and response.mask_metadata is not None:
        if response.original_image is None:
            return
        size = response.original_image
    if (size.width, size.height) != (image.width, image.height):
        raise InvalidArgumentError(
            f"response is of an image of {size.width} x {size.height} pixels, image has {image.width} x "
            f"{image.height}; give the image that it was made of"
        )


def _classes_of(image: Image, response: ClassifiedResponse) -> list[DrawnObject]:
    """The classes that the image is said to be of, the surest first, each with the whole image as its box."""
    if isinstance(response, MultiLabelClassificationInferenceResponse):
        unknown = [name for name in response.predicted_classes if name not in response.predictions]
        if unknown:
            raise InvalidArgumentError(f"response has {unknown[0]!r} in predicted_classes and not in predictions")
        found = [(name, response.predictions[name]) for name in response.predicted_classes]
        classes = [(prediction.class_id, name, prediction.confidence) for name, prediction in found]
        classes.sort(key=lambda entry: -entry[2])
    else:
        classes = [(best.class_id, best.class_name, best.confidence) for best in response.predictions[:1]]
    box = np.array([0.0, 0.0, image.width, image.height])
    return [DrawnObject(class_id, name, confidence, box) for class_id, name, confidence in classes]
