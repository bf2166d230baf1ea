"""`rfkernels infer`: a model, images, the V2 response."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rfkernels.cli.terminal import printable, progress, waiting
from rfkernels.errors import InputImageLoadError, InvalidArgumentError

if TYPE_CHECKING:
    from rfkernels.schema import ErrorResponse, ObjectDetectionInferenceResponse

_NARROWEST_TABLE = 80


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("model", metavar="MODEL", help="an .onnx file made by `rfkernels build`")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files, or https URLs with --allow-url")
    parser.add_argument("--confidence", type=float, help="scores must be greater (default: the convention's)")
    parser.add_argument("--iou", type=float, help="a box of a greater IoU is suppressed (default: the convention's)")
    parser.add_argument("--max-detections", type=int, help="most detections of one image (default: 300)")
    parser.add_argument("--class-agnostic", action="store_true", help="boxes of any class suppress each other")
    parser.add_argument("--class", dest="classes", metavar="NAME", action="append", help="keep this class; repeatable")
    parser.add_argument(
        "--convention", choices=("v2", "ultralytics"), help="whose numbers to give (default: the model's)"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="PICTURE",
        help='the annotated picture: .png, .jpg or .webp; a folder for several images (needs the extra "pictures")',
    )
    parser.add_argument(
        "--format", choices=("json", "table"), default="json", help="of what is printed (default: json)"
    )
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="default: auto")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")
    parser.add_argument("--allow-url", action="store_true", help="download images given as https URLs")


def run(arguments: argparse.Namespace) -> None:
    """Infer, draw where asked, print."""
    from rfkernels.images import ImageOptions, load_image
    from rfkernels.schema import ErrorResponse
    from rfkernels.tasks.loading import load
    from rfkernels.tasks.supervision_package import require_supervision

    outputs = _output_paths(arguments.output, arguments.images)
    if arguments.output is not None:
        # A picture that cannot be drawn is said before anything is computed.
        require_supervision()
    options = ImageOptions(allow_url=arguments.allow_url)
    with waiting("loading the model"):
        model = load(arguments.model, precision=arguments.precision, threads=arguments.threads)
    responses: list[ObjectDetectionInferenceResponse | ErrorResponse] = []
    failures: dict[int, InputImageLoadError] = {}
    # A bar for those who wait and look: more than one image, at a terminal.
    pairs = zip(arguments.images, outputs, strict=True)
    for source, output in progress(pairs, "images", len(outputs), disable=len(outputs) == 1):
        try:
            image = load_image(source, options=options)
            response = model.infer(
                image,
                confidence=arguments.confidence,
                iou_threshold=arguments.iou,
                max_detections=arguments.max_detections,
                class_agnostic_nms=arguments.class_agnostic,
                class_filter=arguments.classes,
                convention=arguments.convention,
            )
        except InputImageLoadError as error:
            if len(outputs) == 1:
                named = _file_name(source)
                raise InputImageLoadError(f"{named}: {error}" if named else str(error)) from error
            # The answers of the others are not lost with it: they are printed first.
            failures[len(responses)] = error
            responses.append(ErrorResponse(message=str(error)))
            continue
        responses.append(response)
        if output is not None:
            from rfkernels.tasks.drawing import draw_response

            draw_response(image, response, stroke_width=max(2, image.width // 400)).save(output)
    if arguments.format == "table":
        _print_table(arguments.images, responses)
    else:
        _print_json(responses)
    sys.stdout.flush()
    for output, answer in zip(outputs, responses, strict=True):
        if output is not None and not isinstance(answer, ErrorResponse):
            # After the answer, and not on standard output, which is JSON for the next program.
            print(f"annotated picture: {output}", file=sys.stderr)
    for index, failure in failures.items():
        print(f"{_label(arguments.images, index)}: {printable(str(failure))}", file=sys.stderr)
    if failures:
        cause = next(iter(failures.values()))
        raise InputImageLoadError(f"{len(failures)} of {len(responses)} images could not be read") from cause


def _label(images: list[str], index: int) -> str:
    """Which image it is. Base64 text would be long, and a URL may hold a password: only files are named."""
    place = f"image {index + 1} of {len(images)}"
    named = _file_name(images[index])
    return f"{place} ({named})" if named else place


def _file_name(image: str) -> str | None:
    try:
        return printable(Path(image).name) if Path(image).exists() else None
    except (OSError, ValueError):  # longer than a path can be, or with a null character
        return None


def _output_paths(given: str | None, images: list[str]) -> list[Path | None]:
    if given is None:
        return [None] * len(images)
    if not given:
        raise InvalidArgumentError("--output is empty; give the name of a picture or a folder")
    output = Path(given)
    if len(images) == 1 and not output.is_dir():
        if output.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
            raise InvalidArgumentError(f"--output is {output}; end it in .png, .jpg or .webp")
        if output.exists() and Path(images[0]).is_file() and output.samefile(images[0]):
            raise InvalidArgumentError(f"--output is {output}, the image itself; give another name")
        output.parent.mkdir(parents=True, exist_ok=True)
        return [output]
    if output.suffix and not output.is_dir():
        raise InvalidArgumentError(f"--output is {output}, but there are {len(images)} images; give a folder")
    paths: list[Path | None] = [output / f"{Path(image).stem}-annotated.png" for image in images]
    if len(set(paths)) != len(paths):
        raise InvalidArgumentError("two of the images have the same name, so their pictures would too; run them apart")
    for path in paths:
        if path is not None and path.exists():
            same = next((image for image in images if Path(image).is_file() and path.samefile(image)), None)
            if same is not None:
                raise InvalidArgumentError(f"--output is {output}, where a picture would take the place of {same}")
    output.mkdir(parents=True, exist_ok=True)
    return paths


def _print_json(responses: list[ObjectDetectionInferenceResponse | ErrorResponse]) -> None:
    import msgspec

    documents = [response.to_json() for response in responses]
    document = documents[0] if len(documents) == 1 else "[" + ",".join(documents) + "]"
    print(msgspec.json.format(document, indent=2))


def _print_table(images: list[str], responses: list[ObjectDetectionInferenceResponse | ErrorResponse]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from rfkernels.schema import ErrorResponse

    answered = [
        (image, response)
        for image, response in zip(images, responses, strict=True)
        if not isinstance(response, ErrorResponse)
    ]
    # Cells are text from files: `Text` is not read as markup, and what is no letter does not reach the terminal.
    table = Table("image", "class")
    for column in table.columns:
        column.overflow = "fold"
    for heading in ("confidence", "x", "y", "width", "height"):
        table.add_column(heading, justify="right", no_wrap=True)
    for image, response in answered:
        for prediction in response.predictions:
            numbers = (prediction.x, prediction.y, prediction.width, prediction.height)
            names = (Text(printable(name)) for name in (Path(image).name, prediction.class_name))
            table.add_row(*names, f"{prediction.confidence:.3f}", *map("{:.1f}".format, numbers))
    # On a narrower terminal the lines wrap: a figure that is cut is a wrong figure.
    Console(width=max(Console().width, _NARROWEST_TABLE)).print(table)
    print(f"{sum(len(response.predictions) for _, response in answered)} detections in {len(answered)} image(s)")
