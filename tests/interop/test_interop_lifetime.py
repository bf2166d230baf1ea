"""Arrays of other libraries: who waits for whom, and when their memory goes back."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from foreign_arrays import LEGACY, VERSIONED, DLPackProducer, InterfaceProducer
from taking import pixels, refused, take

from rfkernels.device import Event, Stream
from rfkernels.device_blocks import ParameterBlock, ResultBlock
from rfkernels.errors import InvalidArgumentError

pytestmark = pytest.mark.emulated

# Streams


def test_dlpack_is_told_our_stream(gpu):
    memory = gpu.empty((4,), "uint8")
    ours = gpu.stream()
    for stream, number in ((ours, ours.handle), (Stream(gpu, 0), 1), (None, -1)):
        producer = DLPackProducer(memory.address, (4,), device=(2, 0))
        take(producer, gpu, stream)
        assert producer.calls == [{"stream": number, "max_version": (1, 0)}]
        assert all(note == "synchronize" for note, _ in gpu.native.take_notes())  # the library waits, not we


def test_the_default_stream_of_each_thread_is_refused(gpu):
    memory = gpu.empty((4,), "uint8")
    with pytest.raises(InvalidArgumentError, match="stream is 2, the default stream of whatever thread"):
        take(DLPackProducer(memory.address, (4,), device=(2, 0)), gpu, Stream(gpu, 2))


def test_streams_of_other_devices_are_refused(device, gpu, stream):
    memory, _ = pixels(device, stream)
    theirs = gpu.stream()
    producer = DLPackProducer(memory.address, (12,))
    values = np.zeros(12, np.uint8)
    with stream.capture() as graphs:
        pass
    for call in (
        lambda: take(producer, device, theirs),
        lambda: memory.write(values, theirs),
        lambda: memory.read_into(values, theirs),
        lambda: memory.numpy(theirs),
        lambda: device.upload(values, theirs),
        lambda: graphs[0].launch(theirs),
        lambda: Event(device).record(theirs),
        lambda: Event(device).wait(theirs),
        lambda: ParameterBlock(device, 16).upload(theirs),
        lambda: ResultBlock(device, {"x": ((4,), "uint8")}).download(theirs),
    ):
        with pytest.raises(InvalidArgumentError, match=r"stream is of .*cuda:0.*; give one of .*emulated:0"):
            call()
    with pytest.raises(InvalidArgumentError, match="stream is 5"):
        memory.numpy(5)


def test_a_stream_outlives_memory_that_waits_for_it(gpu):
    """In a collection that takes both: the memory goes back after a wait for a stream that is still there."""
    memory = gpu.empty((4,), "uint8")
    stream = gpu.stream()
    array = take(DLPackProducer(memory.address, (4,), device=(2, 0)), gpu, stream)
    handle = stream.handle
    circle = [stream, array]
    circle.append(circle)
    gpu.native.take_notes()
    del stream, array, circle
    gc.collect()
    assert gpu.native.take_notes() == [("synchronize", handle)]


def test_memory_of_the_host_has_no_stream(device, stream):
    memory, _ = pixels(device, stream)
    producer = DLPackProducer(memory.address, (12,))
    take(producer, device, stream)
    assert producer.calls == [{"max_version": (1, 0)}]


def test_older_libraries(gpu):
    memory = gpu.empty((4,), "uint8")
    stream = gpu.stream()
    before_versions = DLPackProducer(memory.address, (4,), device=(2, 0), name=LEGACY, accepts=("stream",))
    array = take(before_versions, gpu, stream)
    assert before_versions.calls == [{"stream": stream.handle}]
    assert gpu.native.take_notes() == []
    before_streams = DLPackProducer(memory.address, (4,), device=(2, 0), name=LEGACY, accepts=())
    other = take(before_streams, gpu, stream)
    assert before_streams.calls == [{}]
    assert gpu.native.take_notes() == [("record", 1), ("wait", stream.handle)]
    del array, other


def test_the_stream_of_an_interface_is_waited_for(gpu):
    memory = gpu.empty((4,), "uint8")
    ours, theirs = gpu.stream(), gpu.stream()
    for number, notes in (
        (..., []),
        (None, []),
        (1, [("record", 1), ("wait", ours.handle)]),
        (2, [("record", 2), ("wait", ours.handle)]),
        (theirs.handle, [("record", theirs.handle), ("wait", ours.handle)]),
        (ours.handle, []),
    ):
        array = take(InterfaceProducer(memory.address, (4,), stream=number), gpu, ours)
        assert gpu.native.take_notes() == notes
        del array
        gpu.native.take_notes()
    take(InterfaceProducer(memory.address, (4,), stream=theirs.handle), gpu, None)
    assert gpu.native.take_notes() == []


@pytest.mark.parametrize("make", ["interface", "own"])
def test_the_wait_is_a_wait(device, stream, make):
    memory = device.empty((4,), "uint8")
    theirs = device.stream()
    pinned = device.pinned(4)
    pinned[:] = 7
    memory.write(pinned, theirs)  # done when somebody waits, and not before
    producer = memory if make == "own" else InterfaceProducer(memory.address, (4,), stream=theirs.handle)
    array = take(producer, device, stream)
    result = device.pinned(4)
    array.read_into(result, stream)
    stream.synchronize()
    assert (result == 7).all()


def test_what_is_written_to_is_noted(device, stream):
    memory = device.empty((4,), "uint8")
    pinned = device.pinned(4)
    pinned[:] = 7
    array = take(memory, device, stream, writeable=True)
    device.native.copy(array.address, pinned.ctypes.data, 4, "to_device", stream.handle)  # as an op would
    np.testing.assert_array_equal(np.from_dlpack(memory), [7] * 4)


# Lifetime


@pytest.mark.parametrize("name", [LEGACY, VERSIONED])
def test_the_deleter_is_called_once_when_the_last_user_is_gone(device, stream, name):
    memory, _ = pixels(device, stream)
    producer = DLPackProducer(memory.address, (3, 4), name=name)
    array = take(producer, device, stream)
    part = array.part(1, 2)
    exported = np.from_dlpack(array)
    del array
    gc.collect()
    assert producer.deleted == 0
    del part
    gc.collect()
    assert producer.deleted == 0
    del exported
    gc.collect()
    assert producer.deleted == 1


@pytest.mark.parametrize("name", [LEGACY, VERSIONED])
def test_a_library_without_a_deleter(device, stream, name):
    memory, _ = pixels(device, stream)
    producer = DLPackProducer(memory.address, (3, 4), name=name, with_deleter=False)
    take(producer, device, stream)
    gc.collect()
    assert producer.deleted == 0


def test_an_interface_keeps_its_owner(device, stream):
    memory, _ = pixels(device, stream)
    producer = InterfaceProducer(memory.address, (3, 4))
    gone = weakref.ref(producer)
    array = take(producer, device, stream)
    del producer
    gc.collect()
    assert gone() is not None
    del array
    gc.collect()
    assert gone() is None


def test_a_cycle_through_the_owner_goes(device, stream):
    memory, _ = pixels(device, stream)
    producer = InterfaceProducer(memory.address, (3, 4))
    producer.taken = take(producer, device, stream)  # type: ignore[attr-defined]
    gone = weakref.ref(producer)
    del producer
    gc.collect()
    assert gone() is None


def test_work_on_our_stream_is_done_before_the_owner_gets_its_memory_back(gpu):
    memory = gpu.empty((4,), "uint8")
    stream = gpu.stream()
    producer = DLPackProducer(memory.address, (4,), device=(2, 0), when_deleted=lambda: list(gpu.native.notes))
    array = take(producer, gpu, stream)
    assert gpu.native.notes == []
    del array
    gc.collect()
    assert producer.deletions == [[("synchronize", stream.handle)]]


@pytest.mark.parametrize("name", [LEGACY, VERSIONED])
def test_an_array_that_is_refused_goes_back_at_once(device, stream, name):
    producer = DLPackProducer(np.zeros(4, np.uint8).ctypes.data, (4,), name=name)
    with pytest.raises(InvalidArgumentError) as caught:
        take(producer, device, stream)
    assert producer.deleted == 1  # while the error, and with it every frame, is still there
    del caught
    gc.collect()
    assert producer.deleted == 1


def test_a_layout_to_come_is_deleted_and_not_read(device, stream):
    producer = DLPackProducer(0, (4,), major=2)
    assert "layout of DLPack 2" in refused(producer, device, stream)
    assert producer.deleted == 1


def test_capsules_that_are_none(device, stream):
    memory, _ = pixels(device, stream)
    producer = DLPackProducer(memory.address, (4,))
    capsule = producer.__dlpack__()

    class Again:
        def __dlpack_device__(self):
            return (1, 0)

        def __dlpack__(self, **arguments):
            return self.given

    again = Again()
    again.given = capsule
    array = take(again, device, stream)
    assert "consumed before" in refused(again, device, stream)
    assert producer.deleted == 0
    del array
    gc.collect()
    assert producer.deleted == 1
    again.given = "a text"
    assert "returned str, which is no DLPack capsule" in refused(again, device, stream)
    broken = DLPackProducer(memory.address, (4,))
    broken._managed.tensor.ndim = -1
    assert "broken DLPack tensor: it has -1 axes" in refused(broken, device, stream)
    assert broken.deleted == 1


@pytest.mark.parametrize("error", [BufferError, RuntimeError, ValueError, TypeError])
def test_a_library_that_refuses(device, stream, error):
    class Refusing:
        def __dlpack_device__(self):
            return (1, 0)

        def __dlpack__(self, **arguments):
            raise error("requires grad")

    assert "whose __dlpack__ failed: requires grad" in refused(Refusing(), device, stream)


def test_an_error_on_its_way_survives_the_deleter(device, stream):
    memory, _ = pixels(device, stream)
    producer = DLPackProducer(memory.address, (4,))

    def use() -> None:
        array = take(producer, device, stream)
        assert array is not None
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        use()
