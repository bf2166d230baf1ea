"""`rfkernels build`: weights in, one portable model file out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rfkernels.cli.terminal import progress_bar
from rfkernels.errors import InvalidArgumentError
from rfkernels.model_metadata import CONTRASTS, CONVENTIONS, RESIZE_MODES

_MOST_DIGITS = 18


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("weights", metavar="WEIGHTS", help="YOLOv8 weights: .pt, .safetensors, or ultralytics' .onnx")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="MODEL.onnx", help="the file to write")
    parser.add_argument("--imgsz", metavar="640|384x640", help="side, or height x width (default: as the weights say)")
    parser.add_argument("--names", metavar="A,B,...", help="class names, in order (default: as the weights say)")
    parser.add_argument("--batch", default="1", metavar="N|dynamic", help="images of one run (default: 1)")
    parser.add_argument("--convention", choices=CONVENTIONS, default="v2", help="the model's own (default: v2)")
    parser.add_argument(
        "--resize-mode",
        choices=RESIZE_MODES,
        help="default: letterbox; for a classifier shortest_side_crop",
    )
    parser.add_argument("--pad-value", type=int, help="grey around a letterbox, 0 to 255 (default: 114)")
    parser.add_argument(
        "--static-crop",
        type=float,
        nargs=4,
        metavar=("X_MIN", "X_MAX", "Y_MIN", "Y_MAX"),
        help="the part of each image that is used, in percent of its sides",
    )
    parser.add_argument("--grayscale", action="store_true", help="make images grey first")
    parser.add_argument("--contrast", choices=CONTRASTS, help="enhance the contrast of images first")
    parser.add_argument(
        "--keypoint-shape",
        metavar="17x3",
        help="of a pose network: keypoints x numbers of each (default: as the weights say)",
    )
    parser.add_argument(
        "--keypoint-names",
        metavar="A,B,...",
        help="in order (default: as the weights say, COCO's for 17x3, else numbers)",
    )
    parser.add_argument(
        "--skeleton",
        metavar="0-1,0-2,...",
        help="joined keypoints, counted from 0 (default: as the weights say, COCO's for its names, else none)",
    )
    parser.add_argument(
        "--multi-label", action="store_true", help="of a classification network: an image may be of several classes"
    )


def run(arguments: argparse.Namespace) -> None:
    """Build, and say what was built."""
    from rfkernels.builder import BuildOptions, build

    options = BuildOptions(
        image_size=_image_size(arguments.imgsz),
        class_names=None if arguments.names is None else arguments.names.split(","),
        batch=_batch(arguments.batch),
        convention=arguments.convention,
        preprocessing=_preprocessing(arguments),
        keypoint_shape=_keypoint_shape(arguments.keypoint_shape),
        keypoint_names=None if arguments.keypoint_names is None else arguments.keypoint_names.split(","),
        skeleton=_skeleton(arguments.skeleton),
        multi_label=arguments.multi_label,
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
        f"{report.output_path}: {metadata.family}{metadata.scale or ''} for {metadata.task}, "
        f"{len(metadata.class_names)} {'class' if len(metadata.class_names) == 1 else 'classes'}, "
        f"{height}x{width}, {report.parameter_count / 1e6:.1f} M parameters, {report.file_bytes / 1e6:.1f} MB"
    )
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)


def _preprocessing(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was asked for; all else is the task's own."""
    crop = arguments.static_crop
    wanted = {
        "resize_mode": arguments.resize_mode,
        "pad_value": arguments.pad_value,
        "static_crop": None if crop is None else tuple(crop),
        "grayscale": arguments.grayscale or None,
        "contrast": arguments.contrast,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _is_number(text: str) -> bool:
    # Of thousands of digits Python makes no number.
    return text.isdecimal() and len(text) <= _MOST_DIGITS


def _keypoint_shape(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    numbers = text.lower().replace(",", "x").split("x")
    if len(numbers) != 2 or not all(map(_is_number, numbers)):
        raise InvalidArgumentError(f"--keypoint-shape is {text!r:.80}; give keypoints x numbers of each (17x3)")
    return int(numbers[0]), int(numbers[1])


def _skeleton(text: str | None) -> list[tuple[int, int]] | None:
    if text is None:
        return None
    edges: list[tuple[int, int]] = []
    for edge in text.split(",") if text else []:
        ends = edge.split("-")
        if len(ends) != 2 or not all(map(_is_number, ends)):
            raise InvalidArgumentError(f"--skeleton has {edge!r:.80}; give pairs of keypoints counted from 0 (0-1,0-2)")
        edges.append((int(ends[0]), int(ends[1])))
    return edges


def _image_size(text: str | None) -> int | tuple[int, int] | None:
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(map(_is_number, sides)):
        raise InvalidArgumentError(f"--imgsz is {text!r:.80}; give one side (640) or height x width (384x640)")
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def _batch(text: str) -> Any:  # noqa: ANN401 - a number or the word "dynamic"; the builder checks it
    return int(text) if _is_number(text) else text
