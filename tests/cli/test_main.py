"""The command line as a user meets it: exit codes, one line on standard error, JSON on standard output."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shlex
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from rfkernels import schema
from rfkernels.cli.main import main
from rfkernels.cli.response_table import print_table
from rfkernels.model_metadata import Preprocessing, read_model_metadata
from rfkernels.tasks import loading


@pytest.fixture
def photo(tmp_path, rng):
    path = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 256, (61, 97, 3), dtype=np.uint8)).save(path)
    return path


def test_infer_prints_the_v2_response(small_model_path, photo, capsys):
    assert main(["infer", str(small_model_path), str(photo), "--confidence", "0.3"]) == 0
    response = json.loads(capsys.readouterr().out)
    assert response["image"] == {"width": 97, "height": 61}
    assert response["predictions"]
    fields = {"x", "y", "width", "height", "confidence", "class", "class_id", "detection_id"}
    assert set(response["predictions"][0]) == fields
    assert all(prediction["confidence"] > 0.3 for prediction in response["predictions"])


def test_classes_that_are_kept(small_model_path, photo, capsys):
    def found(*arguments):
        assert main(["infer", *arguments, str(small_model_path), str(photo), "--confidence", "0.1"]) == 0
        return {prediction["class"] for prediction in json.loads(capsys.readouterr().out)["predictions"]}

    every = found()
    assert len(every) > 1
    chosen = sorted(every)[:2]
    assert found("--class", chosen[0]) == {chosen[0]}
    assert found("--class", chosen[0], "--class", chosen[1]) == set(chosen)


def test_several_images_print_a_list(small_model_path, photo, capsys):
    assert main(["infer", str(small_model_path), str(photo), str(photo)]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert len(first["predictions"]) == len(second["predictions"]) > 0


@pytest.mark.parametrize("form", ["json", "table"])
def test_a_bad_image_does_not_cost_the_answers_of_the_others(form, small_model_path, photo, tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_bytes(photo.read_bytes()[:99])
    sources = [str(photo), str(bad), "no-such.png", str(photo)]
    folder = tmp_path / "out"
    arguments = [] if form == "table" else ["--output", str(folder)]
    named = sources if form == "table" else sources[:3]
    assert main(["infer", str(small_model_path), *named, "--format", form, *arguments]) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert lines[-1].startswith("rfkernels: 2 of ")
    assert sum("(bad.png): " in line and "truncated" in line for line in lines) == 1
    assert sum("image 3 of " in line and "no-such.png" in line for line in lines) == 1
    if form == "table":
        assert "in 2 image(s)" in captured.out
        return
    answer, unreadable, missing = json.loads(captured.out)
    assert answer["predictions"]
    assert "truncated" in unreadable["message"]
    assert "no-such.png" in missing["message"]
    assert [path.name for path in folder.iterdir()] == ["photo-annotated.png"]
    assert captured.err.count("annotated picture") == 1


def test_a_bad_source_is_not_printed_back(small_model_path, photo, capsys):
    secret = "https://user:secret@127.0.0.1/x.png"
    assert main(["infer", str(small_model_path), str(photo), "QUJD" * 30_000, secret]) == 2
    captured = capsys.readouterr()
    assert "secret" not in captured.err + captured.out
    assert max(map(len, captured.err.splitlines())) < 300


def test_output_writes_the_annotated_picture_and_says_where(small_model_path, photo, tmp_path, capsys):
    output = tmp_path / "folder" / "annotated.png"
    assert main(["infer", str(small_model_path), str(photo), "--output", str(output)]) == 0
    captured = capsys.readouterr()
    assert str(output) in captured.err
    json.loads(captured.out)
    with Image.open(output) as annotated, Image.open(photo) as original:
        assert annotated.size == original.size
        assert not np.array_equal(np.asarray(annotated), np.asarray(original))


def test_output_of_several_images_is_a_folder(small_model_path, photo, tmp_path, capsys):
    other = photo.with_name("other.png")
    other.write_bytes(photo.read_bytes())
    assert main(["infer", str(small_model_path), str(photo), str(other), "--output", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["other-annotated.png", "photo-annotated.png"]
    assert main(["infer", str(small_model_path), str(photo), str(other), "--output", str(tmp_path / "x.png")]) == 2
    assert "give a folder" in capsys.readouterr().err


def test_a_picture_never_takes_the_place_of_an_image(small_model_path, photo, capsys):
    other = photo.with_name("photo-annotated.png")
    other.write_bytes(photo.read_bytes())
    before = other.read_bytes()
    assert main(["infer", str(small_model_path), str(photo), str(other), "--output", str(photo.parent)]) == 2
    assert "take the place of" in capsys.readouterr().err
    assert other.read_bytes() == before
    assert main(["infer", str(small_model_path), str(photo), "--output", ""]) == 2
    assert "--output is empty" in capsys.readouterr().err


def test_one_bad_image_is_named(small_model_path, photo, capsys):
    photo.write_bytes(photo.read_bytes()[:99])
    assert main(["infer", str(small_model_path), str(photo)]) == 2
    assert capsys.readouterr().err.startswith("rfkernels: photo.png: Could not load input image. Cause: ")


def test_an_image_that_the_models_crop_empties_does_not_cost_the_others(small_model_path, photo, tmp_path, capsys):
    (weights,) = small_model_path.parent.glob("*.safetensors")
    cropping = str(tmp_path / "crop.onnx")
    assert main(["build", str(weights), "-o", cropping, "--static-crop", "40", "60", "0", "100"]) == 0
    thin = tmp_path / "thin.png"
    Image.new("RGB", (1, 9)).save(thin)
    capsys.readouterr()
    assert main(["infer", cropping, str(photo), str(thin), str(photo)]) == 2
    answers = json.loads(capsys.readouterr().out)
    assert ["predictions" in answer for answer in answers] == [True, False, True]


def test_an_instruction_set_that_is_not_there_is_one_line():
    ran = subprocess.run(
        [sys.executable, "-m", "rfkernels", "info"],
        env={**os.environ, "RFKERNELS_INSTRUCTION_SET": "mmx"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith('rfkernels: the environment variable RFKERNELS_INSTRUCTION_SET is "mmx"')
    assert len(ran.stderr.splitlines()) == 1


def test_infer_passes_on_every_option(small_model_path, photo, monkeypatch, capsys):
    given = {}

    def load_and_look(path, **options):
        model = loading.load(path, **options)
        infer = model.infer

        def infer_and_look(image, **infer_options):
            given.update(options | infer_options)
            return infer(image, **infer_options)

        monkeypatch.setattr(model, "infer", infer_and_look)
        return model

    looking = types.SimpleNamespace(load=load_and_look)
    monkeypatch.setitem(sys.modules, "rfkernels.tasks.loading", looking)
    options = ["--confidence", "0.2", "--iou", "0.6", "--max-detections", "7", "--class-agnostic", "--class", "star"]
    engine = ["--convention", "ultralytics", "--precision", "fp32", "--threads", "1"]
    assert main(["infer", str(small_model_path), str(photo), *options, *engine]) == 0
    assert given == {
        "confidence": 0.2,
        "iou_threshold": 0.6,
        "max_detections": 7,
        "class_agnostic_nms": True,
        "class_filter": ["star"],
        "convention": "ultralytics",
        "precision": "fp32",
        "threads": 1,
    }


def test_build_passes_on_every_option(small_model_path, tmp_path, capsys):
    (weights,) = small_model_path.parent.glob("*.safetensors")
    output = str(tmp_path / "model.onnx")
    network = ["--imgsz", "96x32", "--names", "a,b,c", "--batch", "dynamic", "--convention", "ultralytics"]
    steps = ["--resize-mode", "stretch", "--pad-value", "9", "--grayscale", "--contrast", "stretching"]
    crop = ["--static-crop", "1", "99", "2", "98"]
    assert main(["build", str(weights), "-o", output, *network, *steps, *crop]) == 0
    assert "96x32" in capsys.readouterr().out
    metadata = read_model_metadata(output)
    assert (metadata.image_size, metadata.class_names, metadata.batch) == ((96, 32), ("a", "b", "c"), "dynamic")
    assert metadata.convention == "ultralytics"
    assert metadata.preprocessing == Preprocessing(
        resize_mode="stretch", pad_value=9, static_crop=(1.0, 99.0, 2.0, 98.0), grayscale=True, contrast="stretching"
    )


def test_a_person_at_a_terminal_sees_what_takes_its_time(small_model_path, photo, tmp_path):
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "rfkernels", "infer", str(small_model_path), str(photo), str(photo)]
    with (tmp_path / "answer.json").open("wb") as answer, os.fdopen(ours, "rb", buffering=0) as terminal:
        ran = subprocess.Popen(command, stdout=answer, stderr=theirs, cwd="/")
        os.close(theirs)
        shown = b""
        # Read as it is written: what is not would fill the terminal, and the program would wait. At its end Linux says
        # that the other side is gone.
        with contextlib.suppress(OSError):
            while part := terminal.read(1 << 16):
                shown += part
        assert ran.wait() == 0
    assert b"loading the model" in shown
    assert b"images" in shown
    assert len(json.loads((tmp_path / "answer.json").read_text())) == 2  # and standard output stays JSON


def test_table(small_model_path, photo, capsys):
    assert main(["infer", str(small_model_path), str(photo), "--format", "table"]) == 0
    printed = capsys.readouterr().out
    assert "photo.png" in printed
    assert "confidence" in printed


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["infer", "no-such.onnx", "no-such.png"], "no-such.onnx"),
        (["infer", "MODEL", "no-such.png"], "no-such.png"),
        (["infer", "MODEL", "PHOTO", "--confidence", "40"], "confidence is 40"),
        (["infer", "MODEL", "PHOTO", "--max-detections", "-1"], "max_detections is -1"),
        (["infer", "MODEL", "PHOTO", "--class", "unicorn"], "'unicorn'"),
        (["infer", "MODEL", "PHOTO", "--output", "picture.txt"], "picture.txt"),
        (["infer", "MODEL", "https://127.0.0.1/x.png"], "URL"),
        (["infer", "MODEL", "https://127.0.0.1/x.png", "--allow-url"], "127.0.0.1"),
        (["infer", "MODEL", "PHOTO", "--output", "PHOTO"], "the image itself"),
        (["infer", "MODEL", "PHOTO", "PHOTO", "--output", "folder"], "same name"),
        (["infer", "\x1b[31m.onnx", "PHOTO"], "\\x1b[31m.onnx"),
        (["bench", "ops", "--repeats", "0"], "--repeats is 0"),
        (["info", "no-such.onnx"], "no-such.onnx"),
        (["build", "no-such.pt", "--output", "x.onnx"], "no-such.pt"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(arguments, cause, small_model_path, photo, capsys):
    replaced = [{"MODEL": str(small_model_path), "PHOTO": str(photo)}.get(word, word) for word in arguments]
    assert main(replaced) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.err.startswith("rfkernels: ")
    assert cause in captured.err


def test_debug_shows_the_traceback(photo, capsys):
    assert main(["infer", "no-such.onnx", str(photo), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--debug", "info", "no.onnx"], ["info", "--debug", "no.onnx"]])
def test_debug_may_stand_before_the_command_or_behind_it(arguments, capsys):
    assert main(arguments) == 2
    assert "Traceback" in capsys.readouterr().err
    assert main(["info", "no.onnx"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_info_on_this_machine_and_on_a_model(small_model_path, capsys):
    assert main(["info"]) == 0
    assert "instruction sets" in capsys.readouterr().out
    assert main(["info", str(small_model_path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["task"] == "object-detection"
    assert facts["names"] == ["circle", "square", "star"]


def test_a_wrong_argument_is_one_line_and_exit_code_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["infer", "model.onnx", "photo.png", "--iou", "much"])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    assert "'much'" in message
    assert "rfkernels infer --help" in message


@pytest.mark.parametrize(
    ("arguments", "command"),
    [("infer m.onnx a.jpg -x b.png", "infer"), ("build w.pt -o m.onnx --imgsz 640 480", "build")],
)
def test_an_unknown_argument_leads_to_the_help_of_its_command(arguments, command, capsys):
    with pytest.raises(SystemExit) as exit_code:
        main(arguments.split())
    assert exit_code.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "unrecognized arguments" in error
    assert error.endswith(f"see rfkernels {command} --help\n")


def test_a_table_shows_names_as_they_are_and_cuts_no_figure(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    names = ["\\[b]:cat:", "a\x1b[2Jb", "name " * 20]
    predictions = [
        schema.ObjectDetectionPrediction(
            x=10203.5, y=1.0, width=20304.0, height=30405.0, confidence=0.25, class_name=name, class_id=index
        )
        for index, name in enumerate(names)
    ]
    response = schema.ObjectDetectionInferenceResponse(
        image=schema.InferenceResponseImage(width=1, height=1), predictions=predictions
    )
    print_table(["[bold]photo.png"], [response])
    printed = capsys.readouterr().out
    assert "\\[b]:cat:" in printed
    assert "\x1b" not in printed
    assert "a\\x1b[2Jb" in printed
    assert printed.count("name") == 20
    assert "[bold]" in printed
    assert all(printed.count(number) == 3 for number in ("10203.5", "20304.0", "30405.0", "0.250"))


@pytest.mark.parametrize(("redirection", "code"), [(">&-", 2), ("> /dev/full", 2), ("| head -c 1 > /dev/null", 0)])
def test_standard_output_that_takes_nothing(redirection, code, tmp_path):
    command = f"set -o pipefail; {shlex.quote(sys.executable)} -m rfkernels.cli.main info {redirection}"
    # Elsewhere than in the repository, whose own rfkernels folder has no native module.
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    assert "ignored" not in result.stderr
    assert len(result.stderr.splitlines()) == (1 if code else 0)


def test_bench_says_how_far_it_is(small_model_path, monkeypatch, capsys):
    told = []
    pipeline = importlib.import_module("rfkernels.benchmarks.pipeline")
    timed = pipeline.run_pipeline

    def listening(*, on_progress, **options):
        return timed(on_progress=lambda *counts: (told.append(counts), on_progress(*counts)), **options)

    monkeypatch.setattr(pipeline, "run_pipeline", listening)
    arguments = ["bench", "pipeline", "--model", str(small_model_path), "--repeats", "21", "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["repeats"] == 40
    assert told == [(0, 2), (1, 2)]


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_of:
        main(["--version"])
    assert exit_of.value.code == 0
    assert capsys.readouterr().out.startswith("rfkernels ")


@pytest.mark.parametrize(("option", "value"), [("--imgsz", "{}"), ("--keypoint-shape", "{}x3"), ("--skeleton", "0-{}")])
def test_numbers_of_thousands_of_digits(option, value, tmp_path, capsys):
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"")
    assert main(["build", str(weights), "-o", str(tmp_path / "m.onnx"), option, value.format("9" * 5000)]) == 2
    error = capsys.readouterr().err
    assert option in error
    assert "give" in error
    assert error.count("\n") == 1
    assert len(error) < 300
