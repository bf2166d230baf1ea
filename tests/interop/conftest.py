"""The emulated device under its own name and under that of a GPU; every test gives back the memory it took."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from foreign_arrays import pretended_gpu

from rfkernels import _native
from rfkernels.device import Device


@pytest.fixture
def gpu() -> Device:
    """The emulated device under the name cuda:0."""
    return pretended_gpu()


@pytest.fixture(scope="session", autouse=True)
def loaded_modules_are_no_garbage() -> Iterator[None]:
    """Collections look at what tests make alone: most of these tests' time would be theirs."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_memory_left(nothing_in_flight) -> Iterator[None]:
    """Every test gives back what it took."""
    before = _native.emulation.live_allocations()
    yield
    gc.collect()
    assert _native.emulation.live_allocations() == before
