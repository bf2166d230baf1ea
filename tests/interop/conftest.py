"""The emulated device under its own name and under that of a GPU; every test gives back the memory it took."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from foreign_arrays import pretended_gpu

from rfkernels import _native
from rfkernels.device import Device, open_device
from rfkernels.ops import on_device


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
def no_memory_left() -> Iterator[None]:
    """Every test gives back what it took."""
    # Of other folders' tests: what nobody has waited for, and what the default stream's ops work in.
    open_device("emulated").in_flight.finish()
    on_device._workspaces.clear()
    gc.collect()
    before = _native.emulation.live_allocations()
    yield
    gc.collect()
    assert _native.emulation.live_allocations() == before
