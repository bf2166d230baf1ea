"""The emulated device for tests of ops on arrays that lie there."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from rfkernels import _native
from rfkernels.device import Device, Stream, open_device


@pytest.fixture
def device() -> Device:
    return open_device("emulated")


@pytest.fixture
def stream(device) -> Stream:
    return device.stream()


@pytest.fixture
def watched() -> Iterator[None]:
    """Nothing runs before somebody waits, and the harness has found nothing wrong at the end."""
    _native.emulation.configure()
    _native.emulation.take_findings()
    yield
    gc.collect()
    assert _native.emulation.take_findings() == []
