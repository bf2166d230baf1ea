"""Who keeps the memory of a device."""

import gc

import numpy as np
import pytest

from rfkernels import _native
from rfkernels.device import ParameterBlock, open_device

pytestmark = pytest.mark.emulated


def test_a_part_keeps_its_block():
    device = open_device("emulated")
    stream = device.stream()
    gc.collect()
    before = _native.emulation.live_allocations()
    block = ParameterBlock(device, 1024)
    part = block.reserve(4)
    part.host[:] = [1, 2, 3, 4]
    block.upload(stream)
    stream.synchronize()
    del block
    gc.collect()
    seen = np.zeros(4, np.uint8)
    device.native.copy(seen.ctypes.data, part.address, 4, "to_host", stream.handle)
    stream.synchronize()
    assert seen.tolist() == [1, 2, 3, 4]
    del part
    gc.collect()
    assert _native.emulation.live_allocations() == before
