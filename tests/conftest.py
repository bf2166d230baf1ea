"""Fixtures that all tests share."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rfkernels import _native


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
