"""Models on the emulated device: the kernels of a GPU, its streams and one graph, and the answers of the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import rfkernels
from rfkernels import _native
from rfkernels.builder import BuildOptions, build
from rfkernels.engines import OpenVINOEngine, OpenVINOOptions
from rfkernels.errors import InvalidArgumentError
from rfkernels.images import Image, load_image
from rfkernels.model_metadata import read_model_metadata
from rfkernels.tasks.loading import MODELS

# Absent where the build has no CUDA headers; CONTRIBUTING.md says so.
emulation: Any = getattr(_native, "emulation", None)
pytestmark = pytest.mark.emulated

TASKS = ("detect", "segment", "pose", "classify")
SCHEDULES = {
    "sequential": {},
    "reverse": {"lanes": "reverse", "blocks": "reverse"},
    "random, eager": {"lanes": "random", "blocks": "random", "seed": 3, "eager": True},
    "interleaved": {"lanes": "random", "blocks": "random", "resident_blocks": 4, "seed": 4},
}


@pytest.fixture(autouse=True)
def schedule() -> Iterator[None]:
    emulation.configure()
    emulation.take_findings()
    yield
    emulation.configure()


@pytest.fixture
def model_paths(
    small_model_path, small_segmentation_path, small_keypoint_path, small_classification_path
) -> dict[str, Path]:
    paths = (small_model_path, small_segmentation_path, small_keypoint_path, small_classification_path)
    return dict(zip(TASKS, paths, strict=True))


def built_for_any_batch(path: Path, folder: Path) -> Path:
    """The same weights."""
    return build(path.with_suffix(".safetensors"), folder / "batch.onnx", BuildOptions(batch="dynamic")).output_path


def noise(height: int, width: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def both(path: Path) -> tuple[Any, Any]:
    """The model on the CPU and on the emulated device, with the same numbers from the network: all boxes are computed.

    (`rfkernels.load` has them computed for candidates alone, which rounds otherwise in the last digit.)
    """
    options = OpenVINOOptions(precision="fp32", cache_directory=False, threads=1)
    metadata = read_model_metadata(path)
    on_cpu = MODELS[metadata.task](OpenVINOEngine(path, options), metadata)
    emulated = rfkernels.load(path, device="emulated", precision="fp32", cache_directory=False, threads=1)
    return on_cpu, emulated


def test_what_load_gives_answers_alike(model_paths):
    for task, path in model_paths.items():
        options = {"precision": "fp32", "cache_directory": False, "threads": 1}
        on_cpu, emulated = rfkernels.load(path, **options), rfkernels.load(path, device="emulated", **options)
        expected, actual = without_ids(on_cpu.infer(noise(61, 97))), without_ids(emulated.infer(noise(61, 97)))
        # Boxes are whole pixels; scores come from the same numbers.
        assert actual == expected, task
    check_nothing_was_found()


def without_ids(response: Any) -> Any:
    text = msgspec.to_builtins(response)
    text.pop("time", None)
    text.pop("inference_id", None)
    for prediction in text["predictions"] if isinstance(text["predictions"], list) else []:
        prediction.pop("detection_id", None)
    return text


def check_nothing_was_found() -> None:
    assert emulation.take_findings() == []


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("task", TASKS)
def test_the_answers_are_the_cpu_s_under_every_schedule(task, name, model_paths):
    emulation.configure(**SCHEDULES[name])
    on_cpu, emulated = both(model_paths[task])
    found = 0
    # Of several sizes and a grey one: the graph that was captured with the first serves them all.
    for image in (noise(61, 97), noise(130, 75, 6), noise(64, 96, 7)[..., 0], noise(20, 300, 8)):
        expected, actual = on_cpu.infer(image), emulated.infer(image)
        assert without_ids(actual) == without_ids(expected)
        found += len(expected.predictions)
    assert found > 0
    check_nothing_was_found()


@pytest.mark.parametrize("convention", ["v2", "ultralytics"])
@pytest.mark.parametrize("mask_format", ["polygon", "rle"])
def test_masks_in_either_form(mask_format, convention, model_paths):
    on_cpu, emulated = both(model_paths["segment"])
    options = {"response_mask_format": mask_format, "convention": convention, "confidence": 0.2}
    image = noise(130, 175)
    expected, actual = on_cpu.infer(image, **options), emulated.infer(image, **options)
    assert without_ids(actual) == without_ids(expected)
    assert len(expected.predictions) > 0
    check_nothing_was_found()


def test_reduced_masks(model_paths):
    on_cpu, emulated = both(model_paths["segment"])
    options = {"allow_reduced_mask_resolution": True, "mask_decode_mode": "tradeoff", "tradeoff_factor": 0.5}
    expected, actual = on_cpu.infer(noise(130, 175), **options), emulated.infer(noise(130, 175), **options)
    assert without_ids(actual) == without_ids(expected)
    check_nothing_was_found()


def test_more_room_is_made_where_masks_need_it(model_paths, monkeypatch):
    monkeypatch.setattr("rfkernels.tasks.segmentation_on_device._USUAL_ARENA_BYTES", 64)
    on_cpu, emulated = both(model_paths["segment"])
    image = noise(130, 175)
    assert without_ids(emulated.infer(image)) == without_ids(on_cpu.infer(image))
    check_nothing_was_found()


def test_more_room_is_made_for_more_detections(model_paths):
    on_cpu, emulated = both(model_paths["detect"])
    image = noise(61, 97)
    for most in (1, 300, 700):
        options = {"max_detections": most, "confidence": 0.0, "iou_threshold": 1.0}
        expected, actual = on_cpu.infer(image, **options), emulated.infer(image, **options)
        assert without_ids(actual) == without_ids(expected)
    check_nothing_was_found()


def test_more_room_is_made_for_larger_pictures_of_a_classifier(model_paths, monkeypatch):
    monkeypatch.setattr("rfkernels.tasks.device_request._PARAMETER_BYTES", 1 << 14)
    on_cpu, emulated = both(model_paths["classify"])
    for image in (noise(61, 97), noise(2000, 1500), noise(70, 90)):
        assert without_ids(emulated.infer(image)) == without_ids(on_cpu.infer(image))
    check_nothing_was_found()


@pytest.mark.parametrize("task", TASKS)
def test_a_batch_of_different_images(task, model_paths, tmp_path):
    on_cpu, emulated = both(built_for_any_batch(model_paths[task], tmp_path))
    pictures = [noise(61, 97), noise(200, 90, 9), noise(64, 96, 3)]
    for expected, actual in zip(on_cpu.infer(pictures), emulated.infer(pictures), strict=True):
        assert without_ids(actual) == without_ids(expected)
    check_nothing_was_found()


def test_masks_of_more_images_than_the_usual_memory_is_told_of(model_paths, tmp_path):
    on_cpu, emulated = both(built_for_any_batch(model_paths["segment"], tmp_path))
    pictures = [noise(61, 97, seed) for seed in range(13)]
    for expected, actual in zip(on_cpu.infer(pictures), emulated.infer(pictures), strict=True):
        assert without_ids(actual) == without_ids(expected)
    check_nothing_was_found()


def test_images_of_either_order_of_channels_in_a_batch(model_paths, tmp_path):
    on_cpu, emulated = both(built_for_any_batch(model_paths["detect"], tmp_path))
    pixels = noise(61, 97)
    images = [Image(pixels, "bgr"), Image(np.ascontiguousarray(pixels[..., ::-1]), "rgb")]
    for expected, actual in zip(on_cpu.detect_images(images), emulated.detect_images(images), strict=True):
        np.testing.assert_array_equal(actual.boxes, expected.boxes)
        np.testing.assert_array_equal(actual.scores, expected.scores)
    check_nothing_was_found()


def test_a_request_is_one_graph_launch_and_one_wait(model_paths):
    expected = {"detect": (2, 65536), "pose": (3, 65536 * 4), "segment": (4, 2 << 20), "classify": (1, 4096)}
    for task, (launches, most_bytes) in expected.items():
        _, emulated = both(model_paths[task])
        image = load_image(noise(61, 97))
        emulated.infer(image.pixels)
        device = emulated._device_requests.device
        before = device.counters()
        emulated.infer(image.pixels)
        spent = {name: value - before[name] for name, value in device.counters().items()}
        assert spent["graph_launches"] == spent["synchronizations"] == 1
        assert spent["kernel_launches"] == 0
        assert spent["kernels_in_graphs"] == launches
        assert spent["bytes_to_host"] <= most_bytes
    check_nothing_was_found()


def test_memory_goes_back(model_paths, nothing_in_flight):
    import gc

    before = emulation.live_allocations()
    _, emulated = both(model_paths["segment"])
    emulated.infer(noise(61, 97))
    assert emulation.live_allocations()[0] > before[0]
    del emulated
    gc.collect()
    assert emulation.live_allocations() == before


def test_another_device_is_refused(model_paths):
    with pytest.raises(InvalidArgumentError, match="device is 'tpu'; this version runs on \"cpu\""):
        rfkernels.load(model_paths["detect"], device="tpu")


def test_requests_from_several_threads(model_paths):
    on_cpu, emulated = both(model_paths["detect"])
    pictures = [noise(61, 97, seed) for seed in range(6)]
    expected = [without_ids(on_cpu.infer(picture)) for picture in pictures]
    with ThreadPoolExecutor(3) as pool:
        actual = [without_ids(response) for response in pool.map(emulated.infer, pictures)]
    assert actual == expected
    check_nothing_was_found()


def test_the_compiled_network_is_kept_where_it_is_asked_for(model_paths, tmp_path):
    rfkernels.load(model_paths["detect"], device="emulated", cache_directory=tmp_path / "kept")
    assert [file for file in (tmp_path / "kept").iterdir() if file.name != "lock"]
