"""V2 responses as a table, a row for each prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rfkernels.cli.terminal import printable
from rfkernels.schema import (
    ClassificationInferenceResponse,
    ErrorResponse,
    InstanceSegmentationPrediction,
    InstanceSegmentationRLEPrediction,
    KeypointsPrediction,
    MultiLabelClassificationInferenceResponse,
    ObjectDetectionPrediction,
)

if TYPE_CHECKING:
    from rfkernels.tasks.vision_model import Response

_NARROWEST_TABLE = 80
_BOX_HEADINGS = ("x", "y", "width", "height")

Prediction = ObjectDetectionPrediction | InstanceSegmentationPrediction | InstanceSegmentationRLEPrediction


def print_table(images: Sequence[str], responses: Sequence[Response | ErrorResponse]) -> None:
    """Print all predictions of the images that could be read, and how many there are."""
    answered = [
        (Path(image).name, response)
        for image, response in zip(images, responses, strict=True)
        if not isinstance(response, ErrorResponse)
    ]
    rows = [(name, *row) for name, response in answered for row in _rows(response)]
    extra = _extra_heading([response for _, response in answered])
    # Cells are text from files: `Text` is not read as markup, and what is no letter does not reach the terminal.
    table = Table("image", "class")
    for column in table.columns:
        column.overflow = "fold"
    are_classified = any(isinstance(response, _CLASSIFIED) for _, response in answered)
    headings = ("confidence",) if are_classified else ("confidence", *_BOX_HEADINGS, *([extra] if extra else []))
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for image, name, *figures in rows:
        table.add_row(Text(printable(image)), Text(printable(name)), *figures)
    # On a narrower terminal the lines wrap: a figure that is cut is a wrong figure.
    Console(width=max(Console().width, _NARROWEST_TABLE)).print(table)
    print(f"{len(rows)} {'classes' if are_classified else 'detections'} in {len(answered)} image(s)")


_CLASSIFIED = (ClassificationInferenceResponse, MultiLabelClassificationInferenceResponse)


def _rows(response: Response) -> list[tuple[str, ...]]:
    """Class, confidence and what else the table has of each prediction."""
    if isinstance(response, ClassificationInferenceResponse):
        return [(each.class_name, f"{each.confidence:.4f}") for each in response.predictions]
    if isinstance(response, MultiLabelClassificationInferenceResponse):
        return [(name, f"{response.predictions[name].confidence:.4f}") for name in response.predicted_classes]
    return [
        (
            each.class_name,
            f"{each.confidence:.3f}",
            *(f"{value:.1f}" for value in (each.x, each.y, each.width, each.height)),
            *_extra(each),
        )
        for each in response.predictions
    ]


def _extra(prediction: Prediction) -> tuple[str, ...]:
    if isinstance(prediction, InstanceSegmentationPrediction):
        return (str(len(prediction.points)),)
    if isinstance(prediction, InstanceSegmentationRLEPrediction):
        return (str(len(prediction.rle["counts"])),)
    if isinstance(prediction, KeypointsPrediction):
        return (str(len(prediction.keypoints)),)
    return ()


def _extra_heading(responses: Sequence[Response]) -> str | None:
    """Of what a task's predictions have besides a box: how many."""
    first = next((each for response in responses for each in response.predictions), None)
    if isinstance(first, InstanceSegmentationRLEPrediction):
        return "RLE bytes"
    return "points" if isinstance(first, InstanceSegmentationPrediction | KeypointsPrediction) else None
