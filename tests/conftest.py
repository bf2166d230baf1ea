"""Fixtures that all tests share."""

from collections.abc import Iterator

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
