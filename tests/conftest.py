"""Fixtures that all tests share."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rfkernels import _native
from rfkernels.device import Device, Stream, open_device
from rfkernels.ops import on_device


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests of the emulated device are left out, saying so, where the build has none."""
    if item.get_closest_marker("emulated") is not None and not hasattr(_native, "emulation"):
        pytest.skip("this build has no emulated device")


@pytest.fixture(params=_native.supported_instruction_sets())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set of the kernels that this machine runs, one after the other."""
    _native.force_instruction_set(request.param)
    yield request.param
    _native.force_instruction_set("auto")


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20240607)


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled networks of tests are not kept in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def small_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLOv8n of three classes and random weights, 64 x 96, that finds a few things in noise."""
    from rfkernels.benchmarks.random_model import make_random_model

    noise = np.random.default_rng(5).integers(0, 256, (61, 97, 3), dtype=np.uint8)
    names = ["circle", "square", "star"]
    folder = tmp_path_factory.mktemp("small-model")
    return make_random_model(folder, "n", names, (64, 96), noise, wanted_detections=8)[1]


@pytest.fixture(scope="session")
def small_segmentation_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLOv8n-seg of three classes and random weights, 64 x 96; beside it its .safetensors."""
    return _small_model(tmp_path_factory, "instance-segmentation")


@pytest.fixture(scope="session")
def small_keypoint_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLOv8n-pose of three classes, 5 keypoints with confidences and random weights, 64 x 96."""
    names = {"0": list("abcde"), "1": list("fgh"), "2": list("ijklm")}
    skeleton = {"0": [[0, 1], [1, 4]], "1": [[2, 0]]}
    return _small_model(
        tmp_path_factory, "keypoint-detection", keypoint_shape=(5, 3), kpt_names=names, skeleton=skeleton
    )


@pytest.fixture(scope="session")
def small_classification_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLOv8n-cls of three classes and random weights, 64 x 64."""
    return _small_model(tmp_path_factory, "classification")


def _small_model(factory: pytest.TempPathFactory, task: str, **options: Any) -> Path:
    from small_networks import write_small_network

    from rfkernels.builder import build

    weights = factory.mktemp(task) / "small.safetensors"
    write_small_network(weights, task, **options)
    return build(weights, weights.with_suffix(".onnx")).output_path


@pytest.fixture
def device() -> Device:
    """The emulated device."""
    return open_device("emulated")


@pytest.fixture
def stream(device) -> Stream:
    """A stream of the device."""
    return device.stream()


@pytest.fixture
def nothing_in_flight() -> None:
    """The emulated device without what tests before left there: what nobody has waited for, and what the default
    stream's ops work in."""
    open_device("emulated").in_flight.finish()
    on_device._workspaces.clear()
    gc.collect()
