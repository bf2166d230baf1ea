"""`rfkernels infer`: a model, images, the V2 response."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rfkernels.cli.terminal import printable, progress, waiting
from rfkernels.errors import InputImageLoadError, InvalidArgumentError

if TYPE_CHECKING:
    from rfkernels.images import Image
    from rfkernels.schema import ErrorResponse
    from rfkernels.tasks.loading import Model
    from rfkernels.tasks.vision_model import Response

# The options of `infer` and the arguments they are given as, of which a task has some.
_OPTIONS = {
    "confidence": "--confidence",
    "iou_threshold": "--iou",
    "max_detections": "--max-detections",
    "class_agnostic_nms": "--class-agnostic",
    "class_filter": "--class",
    "convention": "--convention",
    "response_mask_format": "--mask-format",
    "mask_decode_mode": "--mask-decode-mode",
    "tradeoff_factor": "--tradeoff-factor",
    "allow_reduced_mask_resolution": "--allow-reduced-mask-resolution",
    "keypoint_confidence": "--keypoint-confidence",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("model", metavar="MODEL", help="an .onnx file made by `rfkernels build`")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files, or https URLs with --allow-url")
    options = parser.add_argument_group("what to find", "Left out, each is as the model's convention has it.")
    options.add_argument("--confidence", type=float, help="scores must be greater, those of a classifier at least this")
    options.add_argument("--iou", dest="iou_threshold", type=float, help="a box of a greater IoU is suppressed")
    options.add_argument("--max-detections", type=int, help="most detections of one image (default: 300)")
    options.add_argument(
        "--class-agnostic",
        dest="class_agnostic_nms",
        action="store_true",
        default=None,
        help="boxes of any class suppress each other",
    )
    options.add_argument(
        "--class", dest="class_filter", metavar="NAME", action="append", help="keep this class; repeatable"
    )
    options.add_argument(
        "--convention", choices=("v2", "ultralytics"), help="whose numbers to give (default: the model's)"
    )
    masks = parser.add_argument_group("of a segmentation model")
    masks.add_argument(
        "--mask-format",
        dest="response_mask_format",
        choices=("polygon", "rle"),
        help="outlines, or run lengths as COCO has them (default: polygon)",
    )
    masks.add_argument(
        "--mask-decode-mode",
        choices=("accurate", "fast", "tradeoff"),
        help="with --allow-reduced-mask-resolution: the image's, the network's, or one between (default: accurate)",
    )
    masks.add_argument(
        "--tradeoff-factor", type=float, help="for the mode tradeoff: 0 as fast, 1 as accurate (default: 0)"
    )
    masks.add_argument(
        "--allow-reduced-mask-resolution",
        action="store_true",
        default=None,
        help="answer on the grid that --mask-decode-mode names",
    )
    keypoints = parser.add_argument_group("of a keypoint model")
    keypoints.add_argument("--keypoint-confidence", type=float, help="keypoints of less are left out (default: 0)")
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
    chosen = _chosen_options(model, arguments)
    responses: list[Response | ErrorResponse] = []
    failures: dict[int, InputImageLoadError] = {}
    # A bar for those who wait and look: more than one image, at a terminal.
    pairs = zip(arguments.images, outputs, strict=True)
    for source, output in progress(pairs, "images", len(outputs), disable=len(outputs) == 1):
        try:
            image = load_image(source, options=options)
            response = _infer(model, image, chosen)
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
            model.draw(image, response, stroke_width=max(2, image.width // 400)).save(output)
    if arguments.format == "table":
        from rfkernels.cli.response_table import print_table

        print_table(arguments.images, responses)
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


def _chosen_options(model: Model, arguments: argparse.Namespace) -> dict[str, object]:
    """The options that were given, all of which the model's task has."""
    given = {name: value for name in _OPTIONS if (value := getattr(arguments, name)) is not None}
    known = inspect.signature(type(model).infer).parameters
    for name in given:
        if name not in known:
            raise InvalidArgumentError(f"{_OPTIONS[name]} is given, but the model is one for {model.metadata.task}")
    return given


def _infer(model: Model, image: Image, options: dict[str, object]) -> Response:
    infer: Callable[..., Response] = model.infer  # of one image: one response
    return infer(image, **options)


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


def _print_json(responses: list[Response | ErrorResponse]) -> None:
    import msgspec

    documents = [response.to_json() for response in responses]
    document = documents[0] if len(documents) == 1 else "[" + ",".join(documents) + "]"
    print(msgspec.json.format(document, indent=2))
