"""Ops of arrays on a device: where they run, who waits for whom, and how long what they read is kept."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from foreign_arrays import DLPackProducer, InterfaceProducer
from taking import pixels

from rfkernels import _native, ops
from rfkernels.device import Stream, open_device
from rfkernels.device_blocks import ParameterBlock
from rfkernels.errors import InvalidArgumentError
from rfkernels.ops import on_device
from rfkernels.ops.detection_on_device import DetectionOnDevice
from rfkernels.ops.keypoints_on_device import KeypointsOnDevice
from rfkernels.ops.on_device import Work, place_of
from rfkernels.ops.preprocess_on_device import PreprocessOnDevice

pytestmark = pytest.mark.emulated

emulation = getattr(_native, "emulation", None)


@pytest.fixture(autouse=True)
def nothing_was_found():
    emulation.configure()
    emulation.take_findings()
    yield
    # What nobody has waited for.
    open_device("emulated").in_flight.finish()
    # pytest keeps the streams of its fixtures for longer than their memory is looked for.
    on_device._workspaces.clear()
    assert emulation.take_findings() == []
    emulation.configure()


@pytest.fixture
def quick(device, stream):
    """A stream whose ops have worked before: their memory is there."""
    ops.connected_components(device.upload(np.zeros((1, 1), np.uint8), stream), stream=stream)
    stream.synchronize()
    return stream


def labels_of(values):
    return ops.connected_components(values).labels


MASK = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0]], np.uint8)

# Where it runs


def test_an_array_says_where(device, gpu, stream):
    memory, _ = pixels(device, stream)
    assert place_of((np.zeros(3), [1, 2], None), None, None) is None
    assert place_of((np.zeros(3), memory), None, None) == (device, device.default_stream)
    assert place_of((memory,), None, stream) == place_of((), device, stream) == (device, stream)
    other = gpu.empty((4,), "uint8")
    assert place_of((other, memory), None, None).device is gpu
    # The emulated device's memory is the host's to all but itself.
    assert place_of((np.from_dlpack(memory), DLPackProducer(memory.address, (12,))), None, None) is None


@pytest.mark.parametrize("name", ["dlpack", "managed", "interface"])
def test_an_array_of_a_gpu_is_looked_for_there(name, gpu, monkeypatch):
    asked = []
    monkeypatch.setattr("rfkernels.ops.on_device.open_device", lambda kind: asked.append(kind) or gpu)
    array, device = {
        "dlpack": (DLPackProducer(0, (4,), device=(2, 1)), "cuda:1"),
        "managed": (DLPackProducer(0, (4,), device=(13, 0)), "cuda:0"),
        "interface": (InterfaceProducer(0, (4,)), "cuda"),
    }[name]
    assert place_of(([1], array), None, None).device is gpu
    assert asked == [device]


def test_devices_that_do_not_agree(device, gpu, stream):
    memory, _ = pixels(device, stream)
    for arguments, told in (
        ((device, gpu.stream()), "stream is of .*cuda:0.*; give one of .*emulated:0"),
        ((gpu, Stream(gpu, 2)), "stream is 2, the default stream of whatever thread"),
        (("emulated", None), "device is 'emulated'; give one from open_device"),
        ((None, 7), r"stream is 7; give device.stream\(\)"),
    ):
        with pytest.raises(InvalidArgumentError, match=told):
            place_of((memory,), *arguments)
    scores = gpu.empty((3,), "float32")
    with pytest.raises(InvalidArgumentError, match="scores is on cuda:0; give one on emulated:0"):
        ops.nms(device.empty((3, 4), "float32"), scores, stream=stream)
    stream.synchronize()


def test_arrays_of_the_host_among_others_are_named(device, stream):
    boxes = device.empty((3, 4), "float32")
    for scores in (
        np.zeros(3, np.float32),
        DLPackProducer(np.zeros(3, np.float32).ctypes.data, (3,), dtype=(2, 32, 1)),
    ):
        with pytest.raises(InvalidArgumentError, match="scores is in memory of the host's, which emulated:0 does not"):
            ops.nms(boxes, scores, stream=stream)
    with pytest.raises(InvalidArgumentError, match="scores is a list; give a DeviceArray"):
        ops.nms(boxes, [0.5, 0.5, 0.5], stream=stream)
    stream.synchronize()


@pytest.mark.parametrize(
    ("op", "name"),
    [
        (lambda a: ops.contrast(a, kind="stretching"), "image"),
        (ops.grayscale, "image"),
        (ops.encode_rle, "mask"),
        (ops.find_contours, "mask"),
        (lambda a: ops.neighbourhoods(a, [1], []), "pixels"),
        (lambda a: ops.select_candidates([a]), r"classes\[0\]"),
        (lambda a: ops.detect_from_candidates([], [[a]], [], [], grids=[]), r"boxes\[0\]\[0\]"),
        (lambda a: ops.keypoints_from_rows([a], [[0]], [], [], grids=[]), r"rows\[0\]"),
        (lambda a: ops.keypoints_from_rows([], [a], [], [], grids=[]), r"anchor_indices\[0\]"),
    ],
)
def test_ops_without_a_kernel_say_so(device, stream, op, name):
    memory, _ = pixels(device, stream)
    for array in (memory, InterfaceProducer(memory.address, (3, 4)), DLPackProducer(0, (3, 4), device=(2, 0))):
        with pytest.raises(
            InvalidArgumentError, match=rf"^{name} is on a device, and [a-z_]+ runs on the host alone; copy"
        ):
            op(array)


# Arrays of others


def test_other_libraries_arrays_in_and_out(device, stream):
    memory = device.upload(MASK, stream)
    expected = labels_of(MASK)
    for given in (
        DLPackProducer(memory.address, (3, 4)),
        InterfaceProducer(memory.address, (3, 4), read_only=True),
        np.from_dlpack(memory),
    ):
        components = ops.connected_components(given, device=device, stream=stream)
        np.testing.assert_array_equal(np.from_dlpack(components.labels), expected)
    logits = device.upload(np.where(MASK, np.float32(1), np.float32(-1)), stream)
    out = device.empty((3, 4), "float32")
    ops.clean_mask_logits_into(
        InterfaceProducer(out.address, (3, 4), typestr="<f4"),
        DLPackProducer(logits.address, (3, 4), dtype=(2, 32, 1)),
        max_sprinkle_area=2,
        device=device,
        stream=stream,
    )
    expected = ops.clean_mask_logits(logits.numpy(stream), max_sprinkle_area=2)
    np.testing.assert_array_equal(out.numpy(stream), expected)


def test_rows_at_any_distance(device, stream, rng):
    whole = rng.integers(0, 256, (40, 60, 4), dtype=np.uint8)
    memory = device.upload(whole, stream)
    crop = InterfaceProducer(memory.address + 4 * 7, (40, 31, 4), strides=(240, 4, 1), read_only=True)
    actual = ops.letterbox(crop, size=(32, 32), device=device, stream=stream)
    np.testing.assert_array_equal(actual.numpy(stream), ops.letterbox(whole[:, 7:38], size=(32, 32)))
    for strides, shape in (((240, 8, 1), (40, 30, 4)), ((240, 4, 2), (40, 31, 1)), ((4, 240, 1), (60, 40, 4))):
        turned = InterfaceProducer(memory.address, shape, strides=strides)
        if shape[2] == 1:
            continue
        with pytest.raises(ValueError, match=r"images\[0\] has shape .* lie one behind the other"):
            ops.letterbox(turned, size=(32, 32), device=device, stream=stream)
    stream.synchronize()


def test_a_canvas_of_any_strides_between_planes(device, stream, rng):
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    memory = device.upload(np.zeros((2, 3, 40, 32), np.float32), stream)
    steps = memory.strides
    # Every plane's first 24 rows of 28 columns.
    out = InterfaceProducer(memory.address, (1, 3, 24, 28), strides=steps, typestr="<f4")
    placement = ops.plan_placement(20, 30, size=(24, 28))
    there = device.upload(image, stream)
    ops.preprocess_into(out, [there], [placement], device=device, stream=stream)
    values = memory.numpy(stream)
    np.testing.assert_array_equal(values[:1, :, :24, :28], ops.preprocess([image], [placement], size=(24, 28)))
    values[:1, :, :24, :28] = 0
    assert not values.any()
    read_only = InterfaceProducer(memory.address, (1, 3, 24, 28), strides=steps, typestr="<f4", read_only=True)
    with pytest.raises(InvalidArgumentError, match="out is read-only"):
        ops.preprocess_into(read_only, [there], [placement], device=device, stream=stream)
    overlapping = InterfaceProducer(memory.address, (1, 3, 24, 28), strides=(0, 0, 128, 4), typestr="<f4")
    with pytest.raises(InvalidArgumentError, match=r"out .*elements lie on each other"):
        ops.preprocess_into(overlapping, [there], [placement], device=device, stream=stream)
    stream.synchronize()


# Streams


def test_nobody_waits(device, quick):
    mask = device.upload(MASK, quick)
    before = device.counters()["synchronizations"]
    components = ops.connected_components(mask, stream=quick)
    cleaned = device.upload(np.zeros((3, 4), np.float32), quick)
    ops.clean_mask_logits_into(cleaned, cleaned, max_hole_area=100, stream=quick)
    assert device.counters()["synchronizations"] == before
    # And so nothing has run.
    assert not np.array_equal(components.labels.host_view(), labels_of(MASK))
    assert not (cleaned.host_view() == 10).any()
    quick.synchronize()
    np.testing.assert_array_equal(components.labels.host_view(), labels_of(MASK))
    assert (cleaned.host_view() == 10).all()


@pytest.mark.parametrize("who", ["interface", "own"])
def test_the_stream_waits_for_who_wrote_the_array(device, quick, who):
    memory = device.upload(np.zeros_like(MASK), quick)
    quick.synchronize()
    theirs = device.stream()
    pinned = device.pinned(MASK.size)
    pinned[:] = MASK.reshape(-1)
    memory.write(pinned, theirs)  # done when somebody waits, and not before
    given = memory if who == "own" else InterfaceProducer(memory.address, (3, 4), stream=theirs.handle)
    components = ops.connected_components(given, device=device, stream=quick)
    result = device.pinned(4 * MASK.size).view(np.int32)
    components.labels.read_into(result, quick)
    quick.synchronize()
    np.testing.assert_array_equal(result.reshape(3, 4), labels_of(MASK))


def test_who_takes_a_result_waits_for_it(device, quick):
    components = ops.connected_components(device.upload(MASK, quick), stream=quick)
    np.testing.assert_array_equal(np.from_dlpack(components.labels), labels_of(MASK))
    ours = device.stream()
    again = ops.connected_components(device.upload(MASK, quick), stream=quick)
    np.testing.assert_array_equal(again.areas.numpy(ours), ops.connected_components(MASK).areas)
    # An op that goes on with a result, on another stream.
    labels = ops.connected_components(device.upload(MASK, quick), stream=quick).labels
    seen = InterfaceProducer(labels.address, (3, 16), stream=quick.handle)
    bytes_of = ops.connected_components(seen, device=device, stream=ours).labels.numpy(ours)
    np.testing.assert_array_equal(bytes_of, labels_of(labels_of(MASK).view(np.uint8)))


def test_out_is_noted_as_written(device, quick):
    logits = device.upload(np.zeros((3, 4), np.float32), quick)
    out = device.empty((3, 4), "float32")
    ops.clean_mask_logits_into(out, logits, max_hole_area=100, stream=quick)
    assert (np.from_dlpack(out) == 10).all()
    image = device.upload(np.full((5, 5, 3), 9, np.uint8), quick)
    canvas = device.empty((1, 3, 5, 5), "uint8")
    ops.preprocess_into(canvas, [image], [ops.plan_placement(5, 5, size=(5, 5))], stream=quick)
    assert (np.from_dlpack(canvas) == 9).all()


def test_kernels_of_requests_note_what_they_write(device, stream, rng):
    placement = ops.plan_placement(64, 64, size=(64, 64))
    image = device.upload(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), stream)
    heads = [
        (
            device.upload(rng.normal(0, 2, (1, 64, 64 // step, 64 // step)).astype(np.float32), stream),
            device.upload(rng.normal(0, 2, (1, 3, 64 // step, 64 // step)).astype(np.float32), stream),
        )
        for step in (8, 16, 32)
    ]
    stream.synchronize()
    parameters = ParameterBlock(device, 1 << 16)
    canvas = device.empty((1, 3, 64, 64), "float32")
    drawing = PreprocessOnDevice(canvas, parameters)
    sizes = {"image_count": 1, "max_detections": 20}
    detection = DetectionOnDevice(device, class_count=3, anchor_count=84, parameters=parameters, stream=stream, **sizes)
    keypoints = KeypointsOnDevice(device, keypoint_count=3, dimensions=1 + 2, parameters=parameters, **sizes)
    drawing.describe([image.view()], [placement])
    detection.describe([placement], [(64, 64)], confidence=0.1, max_detections=20)
    keypoints.describe([placement], [(64, 64)])
    parameters.upload(stream)
    expected = ops.letterbox(image, size=(64, 64), stream=stream).numpy(stream)
    points = [device.upload(np.ones((1, 9, 64 // step, 64 // step), np.float32), stream) for step in (8, 16, 32)]
    stream.synchronize()
    other = device.stream()  # where nobody waits but who takes the arrays
    drawing.enqueue(other)
    np.testing.assert_array_equal(np.from_dlpack(canvas)[0].copy(), expected)
    found = detection.results.on_device
    detection.enqueue_from_heads(heads, (8, 16, 32), other)
    count = int(np.from_dlpack(found["counts"])[0])
    assert count > 0
    keypoints.enqueue(points, (8, 16, 32), found["anchor_indices"], found["counts"], other)
    confidences = np.from_dlpack(keypoints.results.on_device["points"])[0, :count, :, 2].copy()
    np.testing.assert_array_equal(confidences, np.full((count, 3), confidences[0, 0]))
    assert abs(confidences[0, 0] - 1 / (1 + np.exp(-1))) < 1e-6


def test_ops_of_one_stream_share_memory_and_not_results(device, quick, rng):
    masks = [(rng.random((300, 70)) < 0.5).astype(np.uint8) for _ in range(4)]
    found = [ops.connected_components(device.upload(mask, quick), stream=quick) for mask in masks]
    allocations = emulation.live_allocations()[0]
    image = rng.integers(0, 256, (50, 40, 3), dtype=np.uint8)
    drawn = [ops.letterbox(device.upload(image, quick), size=(n, n), stream=quick) for n in (8, 16, 24)]
    assert emulation.live_allocations()[0] <= allocations + 6  # the images and the results
    for mask, components in zip(masks, found, strict=True):
        np.testing.assert_array_equal(components.labels.numpy(quick), labels_of(mask))
    for size, canvas in zip((8, 16, 24), drawn, strict=True):
        np.testing.assert_array_equal(canvas.numpy(quick), ops.letterbox(image, size=(size, size)))


def test_threads_that_share_the_default_stream(device, rng):
    from concurrent.futures import ThreadPoolExecutor

    boxes = [np.sort(rng.uniform(0, 50, (60, 4)).astype(np.float32), axis=1) for _ in range(12)]
    scores = [rng.uniform(0, 1, 60).astype(np.float32) for _ in boxes]
    image = rng.integers(0, 256, (50, 40, 3), dtype=np.uint8)
    stream = Stream(device, 0)

    def both(index):
        given = device.upload(boxes[index], stream), device.upload(scores[index], stream)
        kept = ops.nms(*given, stream=stream)
        canvas = ops.letterbox(device.upload(image, stream), size=(8 + index, 8), stream=stream)
        return kept, canvas

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(both, range(12)))
    for index, (kept, canvas) in enumerate(results):
        expected = ops.nms(boxes[index], scores[index]).indices
        np.testing.assert_array_equal(kept.download(stream).indices, expected)
        np.testing.assert_array_equal(canvas.numpy(stream), ops.letterbox(image, size=(8 + index, 8)))


def test_a_captured_stream_is_refused(device, quick):
    mask = device.upload(MASK, quick)
    quick.synchronize()
    with (
        quick.capture() as graphs,
        pytest.raises(InvalidArgumentError, match=r"stream is captured.*PreprocessOnDevice"),
    ):
        ops.connected_components(mask, stream=quick)
    assert len(graphs) == 1
    assert len(device.in_flight) == 0


def test_dlpack_is_told_the_stream_of_the_op(gpu):
    memory = gpu.empty((4,), "uint8")
    ours = gpu.stream()
    producer = DLPackProducer(memory.address, (4,), device=(2, 0))
    with Work(place_of((), None, ours)) as work:
        work.take(producer, "image")
    assert producer.calls == [{"stream": ours.handle, "max_version": (1, 0)}]
    ours.synchronize()


# Lifetime


def test_what_an_op_reads_is_kept_until_it_is_done(device, quick):
    memory = device.upload(MASK, quick)
    producer = DLPackProducer(memory.address, (3, 4), owner=memory)
    components = ops.connected_components(producer, device=device, stream=quick)
    own = device.upload(MASK, quick)
    gone = weakref.ref(own)
    again = ops.connected_components(own, stream=quick)
    del own
    gc.collect()
    assert producer.deleted == 0
    assert gone() is not None
    assert len(device.in_flight) == 2
    quick.synchronize()
    gc.collect()
    assert producer.deleted == 1
    assert gone() is None
    for found in (components, again):
        np.testing.assert_array_equal(found.labels.numpy(quick), labels_of(MASK))


def test_what_is_done_goes_at_the_next_op(device, quick):
    first = DLPackProducer(device.upload(MASK, quick).address, (3, 4))
    memory = device.upload(MASK, quick)
    first = DLPackProducer(memory.address, (3, 4))
    components = ops.connected_components(first, device=device, stream=quick)
    np.from_dlpack(components.labels)  # waits for the stream, and so all is done
    assert first.deleted == 1
    other = device.stream()
    second = DLPackProducer(memory.address, (3, 4))
    ops.connected_components(second, device=device, stream=quick)
    device.native.synchronize(quick.handle)  # somebody else waits
    assert second.deleted == 0
    ops.connected_components(memory, stream=other)
    assert second.deleted == 1
    other.synchronize()


def test_letting_go_may_come_back_to_it(device, quick):
    memory = device.upload(MASK, quick)
    producers = [DLPackProducer(memory.address, (3, 4), when_deleted=quick.synchronize) for _ in range(3)]
    for producer in producers:
        ops.connected_components(producer, device=device, stream=quick)
    quick.synchronize()
    gc.collect()
    assert [producer.deleted for producer in producers] == [1, 1, 1]
    assert len(device.in_flight) == 0


def test_work_that_is_done_is_not_waited_for_again(gpu):
    memory = gpu.empty((4,), "uint8")
    stream = gpu.stream()
    producer = DLPackProducer(memory.address, (4,), device=(2, 0), when_deleted=lambda: list(gpu.native.notes))
    with Work(place_of((), None, stream)) as work:
        work.take(producer, "image")
    del work
    assert producer.deleted == 0
    stream.synchronize()
    gc.collect()
    # One wait, which was the caller's.
    assert [note for note, _ in producer.deletions[0]] == ["record", "synchronize"]


def test_an_op_that_is_refused_keeps_nothing_for_long(device, quick):
    memory = device.upload(MASK, quick)
    quick.synchronize()
    producer = DLPackProducer(memory.address, (3, 4))
    with pytest.raises(InvalidArgumentError, match="logits has dtype uint8"):
        ops.clean_mask_logits(producer, device=device, stream=quick)
    quick.synchronize()
    gc.collect()
    assert producer.deleted == 1


def test_memory_goes_with_its_stream(device):
    gc.collect()
    before = emulation.live_allocations()
    stream = device.stream()
    prototypes = device.upload(np.zeros((1, 4, 8, 8), np.float32), stream)
    grid = ops.plan_mask_grid(
        ops.plan_placement(32, 32, size=(32, 32)), image_size=(32, 32), network_size=(32, 32), prototype_size=(8, 8)
    )
    rows, boxes = (
        device.upload(np.zeros((2, 4), np.float32), stream),
        device.upload(np.zeros((2, 4), np.float32), stream),
    )
    ops.masks_to_rle(prototypes, rows, boxes, grid, stream=stream)
    del prototypes, rows, boxes
    gc.collect()
    assert emulation.live_allocations()[0] > before[0]
    del stream
    gc.collect()
    assert emulation.live_allocations() == before


@pytest.mark.parametrize("options", [{}, {"lanes": "random", "blocks": "random", "seed": 5, "eager": True}])
def test_schedules(device, stream, rng, options):
    emulation.configure(**options)
    mask = (rng.random((40, 70)) < 0.5).astype(np.uint8)
    components = ops.connected_components(device.upload(mask, stream), stream=stream)
    np.testing.assert_array_equal(components.labels.numpy(stream), labels_of(mask))
