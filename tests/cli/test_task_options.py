"""The command line with models that give more than boxes: what it prints, and the options of each task."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import rfkernels
from rfkernels.cli.main import main
from rfkernels.model_metadata import read_model_metadata

HEIGHT, WIDTH = 61, 97
# The options that only some tasks have, and of which.
OPTIONS_OF_TASKS = {
    ("--mask-format", "rle"): {"segmentation"},
    ("--mask-decode-mode", "fast"): {"segmentation"},
    ("--tradeoff-factor", "0.5"): {"segmentation"},
    ("--allow-reduced-mask-resolution",): {"segmentation"},
    ("--keypoint-confidence", "0.5"): {"keypoint"},
    ("--iou", "0.5"): {"detection", "segmentation", "keypoint"},
    ("--max-detections", "5"): {"detection", "segmentation", "keypoint"},
    ("--class-agnostic",): {"detection", "segmentation", "keypoint"},
    ("--class", "star"): {"detection", "segmentation", "keypoint"},
    ("--confidence", "0.5"): {"detection", "segmentation", "keypoint", "classification"},
    ("--convention", "ultralytics"): {"detection", "segmentation", "keypoint", "classification"},
}
TASK_NAMES = {
    "detection": "object-detection",
    "segmentation": "instance-segmentation",
    "keypoint": "keypoint-detection",
    "classification": "classification",
}


@pytest.fixture
def photo(tmp_path, rng):
    path = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def paths(small_model_path, small_segmentation_path, small_keypoint_path, small_classification_path):
    return {
        "detection": small_model_path,
        "segmentation": small_segmentation_path,
        "keypoint": small_keypoint_path,
        "classification": small_classification_path,
    }


@pytest.fixture
def answer(photo, paths, capsys):
    """Run a task's model on the photo with more arguments; what was printed."""

    def run(task, *arguments):
        assert main(["infer", str(paths[task]), str(photo), "--precision", "fp32", *arguments]) == 0
        return capsys.readouterr().out

    return run


def without_ids(document):
    for prediction in document["predictions"]:
        prediction.pop("detection_id", None)
    return {name: value for name, value in document.items() if name not in ("inference_id", "time")}


@pytest.mark.parametrize("task", TASK_NAMES)
def test_json_is_the_response_of_the_task(task, answer, photo, paths):
    model = rfkernels.load(paths[task], precision="fp32")
    expected = json.loads(model.infer(str(photo)).to_json())
    assert without_ids(json.loads(answer(task))) == without_ids(expected)
    assert expected["predictions"]


def test_mask_format(answer):
    outlines = json.loads(answer("segmentation", "--mask-format", "polygon"))["predictions"]
    masks = json.loads(answer("segmentation", "--mask-format", "rle"))["predictions"]
    assert {prediction["mask_format"] for prediction in outlines} == {"polygon"}
    assert {prediction["mask_format"] for prediction in masks} == {"rle"}
    assert all(prediction["rle"]["size"] == [HEIGHT, WIDTH] for prediction in masks)
    assert [prediction["x"] for prediction in masks] == [prediction["x"] for prediction in outlines]


def test_reduced_masks(answer):
    sizes = []
    for mode in (["accurate"], ["fast"], ["tradeoff", "--tradeoff-factor", "0.5"]):
        document = json.loads(answer("segmentation", "--allow-reduced-mask-resolution", "--mask-decode-mode", *mode))
        assert document["original_image"] == {"width": WIDTH, "height": HEIGHT}
        assert document["mask_metadata"]["width"] == document["image"]["width"]
        sizes.append(document["image"]["width"])
    full, network, between = sizes
    assert full == WIDTH
    assert network < between < full
    assert json.loads(answer("segmentation", "--mask-decode-mode", "fast"))["image"]["width"] == WIDTH


def test_keypoint_confidence(answer):
    every, some, none = (
        [
            point
            for prediction in json.loads(answer("keypoint", *arguments))["predictions"]
            for point in prediction["keypoints"]
        ]
        for arguments in ([], ["--keypoint-confidence", "0.5"], ["--keypoint-confidence", "1"])
    )
    assert some == [point for point in every if point["confidence"] >= 0.5]
    assert 0 < len(some) < len(every)
    assert none == []


@pytest.mark.parametrize("option", OPTIONS_OF_TASKS, ids=" ".join)
@pytest.mark.parametrize("task", TASK_NAMES)
def test_an_option_of_another_task_is_refused_by_its_name(task, option, paths, photo, capsys):
    code = main(["infer", str(paths[task]), str(photo), *option])
    captured = capsys.readouterr()
    if task in OPTIONS_OF_TASKS[option]:
        assert code == 0
        return
    assert code == 2
    assert captured.out == ""
    assert captured.err == f"rfkernels: {option[0]} is given, but the model is one for {TASK_NAMES[task]}\n"


@pytest.mark.parametrize(
    ("task", "arguments", "cause"),
    [
        (
            "segmentation",
            ["--mask-decode-mode", "tradeoff", "--tradeoff-factor", "2"],
            "Invalid tradeoff_factor: 2.0. Must be in [0.0, 1.0]",
        ),
        ("keypoint", ["--keypoint-confidence", "50"], "keypoint_confidence is 50.0"),
        ("classification", ["--confidence", "50"], "confidence is 50.0"),
        ("segmentation", ["--allow-reduced-mask-resolution", "--convention", "ultralytics"], "ultralytics"),
    ],
)
def test_a_wrong_value_is_one_line_and_exit_code_2(task, arguments, cause, paths, photo, capsys):
    assert main(["infer", str(paths[task]), str(photo), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("rfkernels: ")
    assert len(captured.err.splitlines()) == 1
    assert cause in captured.err


# Tables


def rows_of(table):
    """Cells of the rows between the lines of a table, its head first."""
    rows = [line.replace("┃", "│").split("│")[1:-1] for line in table.splitlines() if "│" in line or "┃" in line]
    return [[cell.strip() for cell in row] for row in rows]


def test_table_of_outlines_and_of_run_lengths(answer):
    for mask_format, heading in (("polygon", "points"), ("rle", "RLE bytes")):
        predictions = json.loads(answer("segmentation", "--mask-format", mask_format))["predictions"]
        printed = answer("segmentation", "--mask-format", mask_format, "--format", "table")
        head, *rows = rows_of(printed)
        assert head == ["image", "class", "confidence", "x", "y", "width", "height", heading]
        sizes = [len(p["points"]) if mask_format == "polygon" else len(p["rle"]["counts"]) for p in predictions]
        assert [(row[1], row[-1]) for row in rows] == [
            (prediction["class"], str(size)) for prediction, size in zip(predictions, sizes, strict=True)
        ]
        assert f"{len(rows)} detections in 1 image(s)" in printed


def test_table_of_keypoints(answer):
    predictions = json.loads(answer("keypoint", "--keypoint-confidence", "0.5"))["predictions"]
    head, *rows = rows_of(answer("keypoint", "--keypoint-confidence", "0.5", "--format", "table"))
    assert head[-1] == "points"
    assert [row[-1] for row in rows] == [str(len(prediction["keypoints"])) for prediction in predictions]


def test_table_of_classes(answer):
    predictions = json.loads(answer("classification", "--confidence", "0"))["predictions"]
    printed = answer("classification", "--confidence", "0", "--format", "table")
    head, *rows = rows_of(printed)
    assert head == ["image", "class", "confidence"]
    assert [row[1:] for row in rows] == [[p["class"], f"{p['confidence']:.4f}"] for p in predictions]
    assert "3 classes in 1 image(s)" in printed


def test_tables_of_nothing(answer):
    assert "0 detections in 1 image(s)" in answer("segmentation", "--confidence", "1", "--format", "table")
    assert "0 detections in 1 image(s)" in answer("keypoint", "--confidence", "1", "--format", "table")
    assert "0 classes in 1 image(s)" in answer("classification", "--confidence", "1", "--format", "table")


# Pictures


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("segmentation", []),
        ("segmentation", ["--mask-format", "rle"]),
        ("segmentation", ["--allow-reduced-mask-resolution", "--mask-decode-mode", "fast"]),
        ("keypoint", []),
        ("classification", []),
    ],
)
def test_output_is_the_annotated_picture(task, arguments, answer, photo, tmp_path):
    output = tmp_path / "annotated.png"
    json.loads(answer(task, *arguments, "--output", str(output)))
    with Image.open(output) as annotated, Image.open(photo) as original:
        assert annotated.size == original.size
        assert not np.array_equal(np.asarray(annotated), np.asarray(original))


# Several classes of one image


def test_build_multi_label(small_classification_path, photo, tmp_path, capsys):
    weights = small_classification_path.with_suffix(".safetensors")
    model = tmp_path / "multi.onnx"
    assert main(["build", str(weights), "-o", str(model), "--multi-label"]) == 0
    assert "for classification, 3 classes, 64x64" in capsys.readouterr().out
    assert read_model_metadata(model).multi_label
    assert not read_model_metadata(small_classification_path).multi_label
    assert main(["infer", str(model), str(photo), "--confidence", "0.3"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document["predictions"]) == ["circle", "square", "star"]
    sure = [name for name, value in document["predictions"].items() if value["confidence"] >= 0.3]
    assert document["predicted_classes"] == sure
    assert main(["infer", str(model), str(photo), "--confidence", "0.3", "--format", "table"]) == 0
    printed = capsys.readouterr().out
    assert [row[1] for row in rows_of(printed)[1:]] == sure
    assert f"{len(sure)} classes in 1 image(s)" in printed


@pytest.mark.parametrize("task", ["detection", "segmentation", "keypoint"])
def test_multi_label_is_refused_for_other_tasks(task, paths, tmp_path, capsys):
    weights = tmp_path / "weights.safetensors"
    shutil.copy(next(paths[task].parent.glob("*.safetensors")), weights)
    assert main(["build", str(weights), "-o", str(tmp_path / "out.onnx"), "--multi-label"]) == 2
    assert "multi_label: True, but weights.safetensors is no classification network" in capsys.readouterr().err
    assert not (tmp_path / "out.onnx").exists()
