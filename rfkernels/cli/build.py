"""`rfkernels build`: weights in, one portable model file out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rfkernels.cli.terminal import progress_bar
from rfkernels.errors import InvalidArgumentError
from rfkernels.model_metadata import CONTRASTS, CONVENTIONS, RESIZE_MODES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("weights", metavar="WEIGHTS", help="YOLOv8 weights: .pt, .safetensors, or ultralytics' .onnx")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="MODEL.onnx", help="the file to write")
    parser.add_argument("--imgsz", metavar="640|384x640", help="side, or height x width (default: as the weights say)")
    parser.add_argument("--names", metavar="A,B,...", help="class names, in order (default: as the weights say)")
    parser.add_argument("--batch", default="1", metavar="N|dynamic", help="images of one run (default: 1)")
    parser.add_argument("--convention", choices=CONVENTIONS, default="v2", help="the model's own (default: v2)")
    parser.add_argument("--resize-mode", choices=RESIZE_MODES, default="letterbox", help="default: letterbox")
    parser.add_argument("--pad-value", type=int, default=114, help="grey around a letterbox, 0 to 255 (default: 114)")
    parser.add_argument(
        "--static-crop",
        type=float,
        nargs=4,
        metavar=("X_MIN", "X_MAX", "Y_MIN", "Y_MAX"),
        help="the part of each image that is used, in percent of its sides",
    )
    parser.add_argument("--grayscale", action="store_true", help="make images grey first")
    parser.add_argument("--contrast", choices=CONTRASTS, help="enhance the contrast of images first")


def run(arguments: argparse.Namespace) -> None:
    """Build, and say what was built."""
    from rfkernels.builder import BuildOptions, build
    from rfkernels.model_metadata import Preprocessing

    options = BuildOptions(
        image_size=_image_size(arguments.imgsz),
        class_names=None if arguments.names is None else arguments.names.split(","),
        batch=_batch(arguments.batch),
        convention=arguments.convention,
        preprocessing=Preprocessing(
            resize_mode=arguments.resize_mode,
            pad_value=arguments.pad_value,
            static_crop=None if arguments.static_crop is None else tuple(arguments.static_crop),
            grayscale=arguments.grayscale,
            contrast=arguments.contrast,
        ),
    )
    with progress_bar() as progress:
        tasks: dict[str, Any] = {}

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done)

        report = build(arguments.weights, arguments.output, options, on_progress)
    metadata = report.metadata
    height, width = metadata.image_size
    print(
        f"{report.output_path}: {metadata.family}{metadata.scale or ''}, {len(metadata.class_names)} classes, "
        f"{height}x{width}, {report.parameter_count / 1e6:.1f} M parameters, {report.file_bytes / 1e6:.1f} MB"
    )
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)


def _image_size(text: str | None) -> int | tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise InvalidArgumentError(f"--imgsz is {text!r}; give one side (640) or height x width (384x640)")
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def _batch(text: str) -> Any:  # noqa: ANN401 - a number or the word "dynamic"; the builder checks it
    return int(text) if text.isdecimal() else text
