"""The emulated device for tests of ops on arrays that lie there."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from rfkernels import _native


@pytest.fixture
def watched() -> Iterator[None]:
    """Nothing runs before somebody waits, and the harness has found nothing wrong at the end."""
    _native.emulation.configure()
    _native.emulation.take_findings()
    yield
    gc.collect()
    assert _native.emulation.take_findings() == []
