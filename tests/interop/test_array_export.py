"""Arrays of ours for other libraries: NumPy over the emulated device's memory, and capsules for consumers by hand."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from foreign_arrays import LEGACY, VERSIONED, DLPackProducer, InterfaceProducer, capsule_name, managed_tensor
from taking import pixels, take

from rfkernels import _native
from rfkernels.device import DeviceArray
from rfkernels.errors import InvalidArgumentError

pytestmark = pytest.mark.emulated

DLPACK_1 = (1, 0)


class Given:
    """A capsule as a library hands it out."""

    def __init__(self, capsule, device):
        self.capsule = capsule
        self.device = device

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **arguments):
        return self.capsule


# NumPy


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float16", "float32"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 1, 4, 3), (0, 4)])
def test_numpy_sees_the_same_memory(device, stream, rng, dtype, shape):
    values = rng.integers(0, 2, shape).astype(dtype)
    memory = device.upload(values, stream)
    seen = np.from_dlpack(memory)
    assert seen.dtype == dtype
    np.testing.assert_array_equal(seen, values)
    if values.size:
        assert seen.ctypes.data == memory.address
        seen[...] = 1
        assert (memory.numpy(stream) == 1).all()


def test_strides_arrive(device, stream):
    memory, values = pixels(device, stream, (3, 16))
    array = take(InterfaceProducer(memory.address, (3, 4, 3), strides=(16, 3, 1)), device, stream)
    seen = np.from_dlpack(array)
    assert seen.strides == (16, 3, 1)
    np.testing.assert_array_equal(seen, values[:, :12].reshape(3, 4, 3))


def test_numpy_sees_what_was_written_last(device, stream):
    memory = device.empty((4,), "uint8")
    pinned = device.pinned(4)
    pinned[:] = 7
    memory.write(pinned, stream)  # done when somebody waits, and not before
    np.testing.assert_array_equal(np.from_dlpack(memory.part(0, 2)), [7, 7])


def test_a_read_only_array_stays_one(device, stream):
    memory, _ = pixels(device, stream)
    array = take(DLPackProducer(memory.address, (3, 4), flags=1), device, stream)
    assert not np.from_dlpack(array).flags.writeable
    with pytest.raises(BufferError, match=r"read-only.*max_version=\(1, 0\)"):
        array.__dlpack__()
    assert np.from_dlpack(memory).flags.writeable


def test_what_numpy_cannot_hold_goes_back(device, stream):
    memory = device.empty((4,), "bfloat16")
    before = _native.emulation.live_allocations()
    with pytest.raises((BufferError, RuntimeError)):
        np.from_dlpack(memory)
    del memory
    gc.collect()
    assert _native.emulation.live_allocations() == (before[0] - 1, before[1] - 8)


# Lifetime


@pytest.mark.parametrize("versioned", [True, False])
def test_a_capsule_keeps_the_memory(device, stream, versioned):
    memory, values = pixels(device, stream)
    before = _native.emulation.live_allocations()
    capsule = memory.__dlpack__(max_version=DLPACK_1 if versioned else None)
    del memory
    gc.collect()
    assert _native.emulation.live_allocations() == before
    seen = np.from_dlpack(Given(capsule, (1, 0)))
    del capsule
    gc.collect()
    np.testing.assert_array_equal(seen, values)
    assert _native.emulation.live_allocations() == before
    del seen
    gc.collect()
    assert _native.emulation.live_allocations() == (before[0] - 1, before[1] - 12)


@pytest.mark.parametrize("versioned", [True, False])
def test_a_capsule_that_nobody_consumes(device, stream, versioned):
    memory, _ = pixels(device, stream)
    before = _native.emulation.live_allocations()
    capsule = memory.__dlpack__(max_version=DLPACK_1 if versioned else None)
    del memory, capsule
    gc.collect()
    assert _native.emulation.live_allocations() == (before[0] - 1, before[1] - 12)


def test_a_capsule_is_consumed_once(device, stream):
    memory, values = pixels(device, stream)
    given = Given(memory.__dlpack__(max_version=DLPACK_1), (1, 0))
    array = take(given, device, stream)
    assert capsule_name(given.capsule) == "used_dltensor_versioned"
    with pytest.raises(InvalidArgumentError, match="consumed before"):
        take(given, device, stream)
    with pytest.raises((ValueError, BufferError)):
        np.from_dlpack(given)
    del memory, given
    gc.collect()
    np.testing.assert_array_equal(array.numpy(stream), values)


def test_a_deleter_called_from_another_thread(device, stream):
    import threading

    memory, _ = pixels(device, stream)
    before = _native.emulation.live_allocations()
    held = [np.from_dlpack(memory)]
    del memory
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    gc.collect()
    assert _native.emulation.live_allocations() == (before[0] - 1, before[1] - 12)


# What a capsule says


@pytest.mark.parametrize(
    ("max_version", "name"), [(None, LEGACY), ((0, 8), LEGACY), ((1, 0), VERSIONED), ((1, 3), VERSIONED)]
)
def test_the_capsule_is_of_the_consumers_version(device, max_version, name):
    assert capsule_name(device.empty((4,), "uint8").__dlpack__(max_version=max_version)) == name


@pytest.mark.parametrize(
    ("dtype", "code"),
    [
        ("bool", (6, 8)),
        ("uint8", (1, 8)),
        ("int32", (0, 32)),
        ("float16", (2, 16)),
        ("bfloat16", (4, 16)),
        ("float32", (2, 32)),
    ],
)
def test_what_a_capsule_says(gpu, dtype, code):
    memory = gpu.empty((2, 3, 4), dtype)
    capsule = memory.__dlpack__(max_version=DLPACK_1)
    managed = managed_tensor(capsule)
    assert (managed.major, managed.minor, managed.flags) == (1, 0, 0)
    tensor = managed.tensor
    assert (tensor.data, tensor.byte_offset) == (memory.address, 0)
    assert (tensor.device_type, tensor.device_id) == memory.__dlpack_device__() == (2, 0)
    assert (tensor.code, tensor.bits, tensor.lanes) == (*code, 1)
    assert (tensor.shape[:3], tensor.strides[:3]) == ([2, 3, 4], [12, 4, 1])
    again = take(Given(capsule, (2, 0)), gpu, None)
    assert (again.dtype, again.shape, again.address) == (dtype, (2, 3, 4), memory.address)


def test_an_empty_array_has_no_address(gpu):
    memory = gpu.empty((0, 4), "uint8")
    assert managed_tensor(memory.__dlpack__()).tensor.data is None
    assert memory.__cuda_array_interface__["data"] == (0, False)


def test_pinned_memory_of_a_gpu_is_the_hosts(gpu):
    stream = gpu.stream()
    pinned = gpu.pinned(4)
    pinned[:] = 3
    array = take(InterfaceProducer(pinned.ctypes.data, (4,)), gpu, stream)
    assert array.__dlpack_device__() == (3, 0)
    array.written_on(stream)
    gpu.native.take_notes()
    assert managed_tensor(array.__dlpack__()).tensor.device_type == 3
    assert gpu.native.take_notes() == [("synchronize", stream.handle)]


def test_copies_and_other_devices_are_refused(device, gpu):
    for memory, place in ((device.empty((4,), "uint8"), (1, 0)), (gpu.empty((4,), "uint8"), (2, 0))):
        memory.__dlpack__(dl_device=place, copy=False)
        with pytest.raises(BufferError, match="copy is True"):
            memory.__dlpack__(copy=True)
        with pytest.raises(BufferError, match=r"dl_device is \(2, 1\)"):
            memory.__dlpack__(dl_device=(2, 1))


# Streams


def test_the_consumers_stream_waits_for_ours(gpu):
    memory = gpu.empty((4,), "uint8")
    ours, theirs = gpu.stream(), gpu.stream()
    memory.__dlpack__(stream=theirs.handle)
    assert gpu.native.take_notes() == []  # nothing was written that is known of
    memory.write(np.zeros(4, np.uint8), ours)
    for number, waiting in ((None, 1), (1, 1), (2, 2), (theirs.handle, theirs.handle)):
        memory.__dlpack__(stream=number)
        assert gpu.native.take_notes() == [("record", ours.handle), ("wait", waiting)]
    for number in (-1, ours.handle):
        memory.part(1, 2).__dlpack__(stream=number)
        assert gpu.native.take_notes() == []
    for number in (0, -2):
        with pytest.raises(InvalidArgumentError, match=f"stream is {number}; give 1"):
            memory.__dlpack__(stream=number)


def test_what_was_taken_in_is_waited_for_where_we_wait(gpu):
    memory = gpu.empty((4,), "uint8")
    theirs, ours, others = gpu.stream(), gpu.stream(), gpu.stream()
    array = take(InterfaceProducer(memory.address, (4,), stream=theirs.handle), gpu, ours)
    gpu.native.take_notes()
    array.__dlpack__(stream=others.handle)
    assert gpu.native.take_notes() == [("record", ours.handle), ("wait", others.handle)]


def test_memory_of_the_host_has_no_stream(device):
    with pytest.raises(InvalidArgumentError, match="stream is 1; memory of the host has none"):
        device.empty((4,), "uint8").__dlpack__(stream=1)


# __cuda_array_interface__


def test_the_emulated_device_has_no_cuda_array_interface(device):
    memory = device.empty((4,), "uint8")
    assert not hasattr(memory, "__cuda_array_interface__")
    with pytest.raises(AttributeError, match="its memory is no GPU's"):
        memory.__cuda_array_interface__  # noqa: B018


@pytest.mark.parametrize(
    ("dtype", "typestr"),
    [("bool", "|b1"), ("uint8", "|u1"), ("int32", "<i4"), ("float16", "<f2"), ("bfloat16", "<V2"), ("float32", "<f4")],
)
def test_the_cuda_array_interface(gpu, dtype, typestr):
    memory = gpu.empty((2, 3), dtype)
    assert memory.__cuda_array_interface__ == {
        "version": 3,
        "shape": (2, 3),
        "typestr": typestr,
        "data": (memory.address, False),
        "strides": None,
        "stream": None,
    }
    stream = gpu.stream()
    memory.written_on(stream)
    assert memory.__cuda_array_interface__["stream"] == stream.handle
    assert memory.part(0, 1).__cuda_array_interface__["stream"] == stream.handle
    producer = InterfaceProducer(memory.address, (2,), read_only=True, typestr=typestr, strides=(memory.strides[0],))
    array = take(producer, gpu, None)
    assert array.__cuda_array_interface__["data"] == (memory.address, True)
    assert array.__cuda_array_interface__["strides"] == (memory.strides[0],)


def test_the_default_stream_is_numbered_1(gpu):
    from rfkernels.device import Stream

    memory = gpu.empty((2,), "uint8")
    memory.written_on(Stream(gpu, 0))
    assert memory.__cuda_array_interface__["stream"] == 1


def test_both_ways(gpu):
    stream = gpu.stream()
    memory, values = pixels(gpu, stream)

    class Interface:
        __cuda_array_interface__ = memory.__cuda_array_interface__

    for obj in (Interface(), Given(memory.__dlpack__(max_version=DLPACK_1), (2, 0))):
        array = take(obj, gpu, stream)
        assert isinstance(array, DeviceArray)
        np.testing.assert_array_equal(array.numpy(stream), values)
