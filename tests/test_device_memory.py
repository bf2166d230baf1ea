"""Who keeps what a device works with, who waits for it, and what is refused."""

import gc

import numpy as np
import pytest

from rfkernels import _native, ops
from rfkernels.device import DeviceMemory, Stream, host_call, open_device
from rfkernels.device_blocks import ParameterBlock
from rfkernels.errors import InvalidArgumentError, RfkernelsError
from rfkernels.in_flight import InFlight
from rfkernels.ops.detection_on_device import DetectionOnDevice
from rfkernels.ops.keypoints_on_device import KeypointsOnDevice

pytestmark = pytest.mark.emulated


def test_there_is_one_object_for_each_device(device):
    assert open_device("emulated:0") is device
    with pytest.raises(InvalidArgumentError, match="device is 5"):
        open_device(5)


@pytest.mark.usefixtures("nothing_in_flight")
def test_a_part_keeps_its_block(device, stream):
    before = _native.emulation.live_allocations()
    block = ParameterBlock(device, 1024)
    part = block.reserve(4)
    part.host[:] = [1, 2, 3, 4]
    block.upload(stream)
    stream.synchronize()
    del block
    gc.collect()
    pinned = device.pinned(4)
    device.native.copy(pinned.ctypes.data, part.address, 4, "to_host", stream.handle)
    stream.synchronize()
    assert pinned.tolist() == [1, 2, 3, 4]
    del part, pinned
    gc.collect()
    assert _native.emulation.live_allocations() == before


def test_a_function_that_a_stream_calls_is_kept_until_then(stream):
    called = []
    stream.call_host(host_call(lambda: called.append(1)))
    gc.collect()
    assert called == []
    stream.synchronize()
    assert called == [1]


def test_a_graph_keeps_its_functions_and_is_kept_until_it_is_done(stream):
    called = []
    with stream.capture() as graphs:
        stream.call_host(host_call(lambda: called.append(1)))
    gc.collect()
    graphs[0].launch(stream)
    graphs.clear()
    gc.collect()
    stream.synchronize()
    assert called == [1]


def test_what_nobody_knows_the_end_of_is_kept(device, stream, monkeypatch):
    class Asked:
        """The device, whose events cannot be asked for a while."""

        def __init__(self):
            self.fails = True

        def __getattr__(self, name):
            return getattr(device.native, name)

        def query_event(self, event):
            if self.fails:
                raise RfkernelsError("not now")
            return device.native.query_event(event)

    native = Asked()
    in_flight = InFlight(native)
    gone = []
    in_flight.keep([object()], stream.handle, [lambda: gone.append(1)])
    stream.synchronize()
    in_flight.sweep()
    assert (len(in_flight), gone) == (1, [])
    native.fails = False
    in_flight.sweep()
    assert (len(in_flight), gone) == (0, [1])


def test_arrays_are_written_and_read_after_what_was_written_before(device):
    first, second = device.stream(), device.stream()
    array = device.empty((4,), "int32")
    array.write(np.full(4, 1, np.int32), first)
    array.write(np.full(4, 2, np.int32), second)
    first.synchronize()
    assert array.numpy(second).tolist() == [2] * 4
    first.synchronize()
    assert array.host_view().tolist() == [2] * 4
    array.write(np.full(4, 3, np.int32), first)
    there = np.zeros(4, np.int32)
    array.read_into(there, second)
    second.synchronize()
    assert there.tolist() == [3] * 4


@pytest.mark.usefixtures("nothing_in_flight")
def test_pinned_memory_is_kept_while_it_is_copied(device, stream):
    before = _native.emulation.live_allocations()
    source = device.pinned(4)
    source[:] = 7
    array = device.upload(source, stream)
    del source
    gc.collect()
    assert len(device.in_flight) > 0
    assert array.numpy(stream).tolist() == [7] * 4
    del array
    gc.collect()
    assert _native.emulation.live_allocations() == before


@pytest.mark.parametrize("dtype", [">i4", ">f4", ">f2", "<i4"])
def test_bytes_in_the_other_order_are_turned_round(device, stream, dtype):
    assert device.upload(np.arange(3).astype(dtype), stream).numpy(stream).tolist() == [0, 1, 2]


def test_an_array_written_in_a_capture_is_refused_by_ops_in_one_call(device):
    captured, stream = device.stream(), device.stream()
    image = device.empty((8, 8, 3), "uint8")
    pinned = device.pinned(image.nbytes).reshape(image.shape)
    with captured.capture():
        device.native.copy(image.address, pinned.ctypes.data, image.nbytes, "to_device", captured.handle)
        image.written_on(captured)
        with pytest.raises(InvalidArgumentError, match=r"images\[0\] was written on a stream that is captured"):
            ops.letterbox(image, size=(8, 8), stream=stream)
        # It is a part of the capture now, which must end on the stream where it began.
        event = device.native.create_event()
        device.native.record_event(event, stream.handle)
        device.native.wait_event(event, captured.handle)
    device.native.destroy_event(event)
    assert len(device.in_flight) == 0


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda device, stream: device.empty((2.7,), "uint8"), r"shape is \(2.7,\); give whole numbers"),
        (lambda device, stream: device.empty((-1,), "uint8"), "negative"),
        (lambda device, stream: device.empty((2**40, 2**40), "uint8"), "no memory is so large"),
        (lambda device, stream: device.pinned(-1), "size is -1"),
        (lambda device, stream: device.pinned(2**70), "as many as there can be"),
        (lambda device, stream: device.empty((3,), "uint8").part(0.5, 1.5), "part is 0.5 to 1.5; give whole numbers"),
        (lambda device, stream: device.empty((), "uint8").part(0, 0), "which has no axis"),
        (lambda device, stream: device.upload(np.zeros(3, np.float32), stream, dtype="int32"), "dtype is 'int32'"),
        (lambda device, stream: device.empty((3,), "uint8").numpy(stream.handle), "stream is"),
        (lambda device, stream: ops.letterbox(device.empty((8, 8, 3), "uint8"), size=(8, 8), stream=7), "stream is 7"),
    ],
)
@pytest.mark.usefixtures("nothing_in_flight")
def test_what_is_refused(device, stream, call, told):
    before = _native.emulation.live_allocations()
    with pytest.raises(InvalidArgumentError, match=told):
        call(device, stream)
    gc.collect()
    assert _native.emulation.live_allocations() == before


def made_for_one_image(device, stream, anchor_count=64):
    parameters = ParameterBlock(device, 1 << 14)
    detection = DetectionOnDevice(
        device,
        image_count=1,
        class_count=3,
        anchor_count=anchor_count,
        max_detections=5,
        parameters=parameters,
        stream=stream,
    )
    keypoints = KeypointsOnDevice(
        device, image_count=1, max_detections=5, keypoint_count=2, dimensions=3, parameters=parameters
    )
    return detection, keypoints


@pytest.mark.parametrize(("images", "side"), [(2, 8), (1, 16), (1, 4)])
def test_heads_that_the_memory_was_not_made_for(device, stream, images, side):
    """The kernels would write beyond it."""
    detection, keypoints = made_for_one_image(device, stream)
    boxes = device.empty((images, 64, side, side), "float32")
    classes = device.empty((images, 3, side, side), "float32")
    told = rf"with {side * side} anchors in all; the memory is for 1 images of 64 anchors"
    with pytest.raises(InvalidArgumentError, match=told):
        detection.enqueue_from_heads([(boxes, classes)], [8], stream)
    with pytest.raises(InvalidArgumentError, match=told):
        detection.enqueue_from_decoded(device.empty((images, 7, side * side), "float32"), stream)
    if images > 1:
        head = device.empty((images, 6, side, side), "float32")
        found = detection.results.on_device
        with pytest.raises(InvalidArgumentError, match=r"heads\[0\] has shape .*; the memory is for 1 images"):
            keypoints.enqueue([head], [8], found["anchor_indices"], found["counts"], stream)
    else:
        head = device.empty((1, 6, side, side), "float32")
        more = device.empty((1, 6), "int32")
        with pytest.raises(InvalidArgumentError, match=r"anchor_indices has shape .*; the memory is for \[1, 5\]"):
            keypoints.enqueue([head], [8], more, detection.results.on_device["counts"], stream)


def test_memory_that_work_is_on_its_way_in_is_kept(device):
    """More working memory for a second op, and a result that is dropped before its kernel has run."""
    stream = device.stream()
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, 40, 50)).astype(np.float32)
    small = ops.clean_mask_logits(device.upload(logits, stream), max_hole_area=3, stream=stream)
    ops.clean_mask_logits(device.upload(np.zeros((1, 300, 500), np.float32), stream), max_hole_area=3, stream=stream)
    workspaces = [
        kept
        for use in device.in_flight._uses
        for kept in use.objects
        if isinstance(kept, DeviceMemory) and kept.size < 1 << 20
    ]
    assert len(workspaces) == 1
    np.testing.assert_array_equal(small.numpy(stream), ops.clean_mask_logits(logits, max_hole_area=3))


def test_a_stream_of_another_library_has_its_handle(device):
    theirs = device.stream()
    ours = Stream(device, theirs.handle)
    assert device.upload(np.arange(3, dtype=np.uint8), ours).numpy(theirs).tolist() == [0, 1, 2]
