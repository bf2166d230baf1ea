"""Images that lie on a model's device: every task's answers are those for the same image on the host."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from foreign_arrays import DLPackProducer, InterfaceProducer, pretended_gpu
from PIL import Image as PillowImage
from test_on_device import TASKS, both, built_for_any_batch, noise, without_ids

import rfkernels
from rfkernels import _native
from rfkernels.device import Graph
from rfkernels.errors import InputImageLoadError, InvalidArgumentError
from rfkernels.images import Image, ImageOptions, load_image
from rfkernels.ops.detection_on_device import DetectionOnDevice

emulation: Any = getattr(_native, "emulation", None)
pytestmark = pytest.mark.emulated


@pytest.fixture(autouse=True)
def nothing_was_found() -> Iterator[None]:
    emulation.configure()
    emulation.take_findings()
    yield
    assert emulation.take_findings() == []
    emulation.configure()


@pytest.fixture
def model_paths(small_model_path, small_segmentation_path, small_keypoint_path, small_classification_path):
    paths = (small_model_path, small_segmentation_path, small_keypoint_path, small_classification_path)
    return dict(zip(TASKS, paths, strict=True))


@pytest.mark.parametrize("task", TASKS)
def test_the_answers_are_those_for_the_host_s_image(task, model_paths, device, stream):
    on_cpu, emulated = both(model_paths[task])
    found = 0
    grey, alpha = noise(64, 96, 7)[..., 0], np.dstack([noise(61, 97, 9), np.full((61, 97), 200, np.uint8)])
    for pixels in (noise(61, 97), noise(130, 75, 6), grey, grey[..., None], alpha, noise(1, 1), noise(20, 300, 8)):
        expected = on_cpu.infer(pixels)
        assert without_ids(emulated.infer(device.upload(pixels, stream))) == without_ids(expected)
        # Rows of a larger picture, as another library hands them out.
        whole = np.zeros((pixels.shape[0], pixels.shape[1] + 11, *pixels.shape[2:]), np.uint8)
        whole[:, 4 : 4 + pixels.shape[1]] = pixels
        memory = device.upload(whole, stream)
        crop = InterfaceProducer(
            memory.address + 4 * memory.strides[1],
            pixels.shape,
            strides=memory.strides,
            read_only=True,
            stream=stream.handle,
        )
        assert without_ids(emulated.infer(crop)) == without_ids(expected)
        found += len(expected.predictions)
    assert found > 0


@pytest.mark.parametrize("task", TASKS)
def test_a_batch_of_images_here_and_there(task, model_paths, tmp_path, device, stream):
    on_cpu, emulated = both(built_for_any_batch(model_paths[task], tmp_path))
    first, second, third = noise(61, 97), noise(200, 90, 9), noise(64, 96, 3)
    picture = PillowImage.fromarray(third)  # red first, where arrays are blue first
    expected = on_cpu.infer([first, picture, second])
    there = [device.upload(first, stream), picture, device.upload(second, stream)]
    for given, wanted in ((there, expected), ([picture, *there[:1]], [expected[1], expected[0]])):
        for one, other in zip(emulated.infer(given), wanted, strict=True):
            assert without_ids(one) == without_ids(other)


def test_no_pixel_is_copied(model_paths, device, stream, nothing_in_flight):
    _, emulated = both(model_paths["detect"])
    image = device.upload(noise(480, 640), stream)
    emulated.infer(image)
    before, allocations = device.counters(), emulation.live_allocations()
    emulated.infer(image)
    spent = {name: value - before[name] for name, value in device.counters().items()}
    assert spent["graph_launches"] == spent["synchronizations"] == 1
    assert spent["kernel_launches"] == 0
    assert spent["bytes_to_device"] < 480 * 640
    assert emulation.live_allocations() == allocations
    (request,) = emulated._device_requests._idle
    assert len(request._staging._memory) == 0


def test_pinned_memory_is_an_image_too(model_paths, device, stream):
    on_cpu, emulated = both(model_paths["detect"])
    pixels = noise(61, 97)
    memory = device.pinned(pixels.nbytes)
    memory[:] = pixels.reshape(-1)
    given = InterfaceProducer(memory.ctypes.data, pixels.shape)
    assert without_ids(emulated.infer(given)) == without_ids(on_cpu.infer(pixels))


@pytest.mark.parametrize("who_says", ["the array", "its library", "the caller"])
def test_the_request_waits_for_who_wrote_the_image(model_paths, device, who_says):
    on_cpu, emulated = both(model_paths["detect"])
    pixels = noise(61, 97)
    memory = device.upload(np.zeros_like(pixels), device.default_stream)
    emulated.infer(memory)  # whatever is done at a first request is done
    theirs = device.stream()
    pinned = device.pinned(pixels.nbytes)
    pinned[:] = pixels.reshape(-1)
    device.native.copy(memory.address, pinned.ctypes.data, pixels.nbytes, "to_device", theirs.handle)
    options = {}
    if who_says == "the array":
        memory.written_on(theirs)
        given = memory
    elif who_says == "its library":
        given = InterfaceProducer(memory.address, pixels.shape, stream=theirs.handle)
    else:
        given = InterfaceProducer(memory.address, pixels.shape)
        options["stream"] = theirs
    assert without_ids(emulated.infer(given, **options)) == without_ids(on_cpu.infer(pixels))


def test_the_image_is_kept_until_the_request_has_ended(model_paths, device, stream):
    _, emulated = both(model_paths["detect"])
    emulated.infer(noise(61, 97))
    memory = device.upload(noise(61, 97), stream)
    deleted_at = []
    producer = DLPackProducer(
        memory.address,
        (61, 97, 3),
        device=(13, 0),  # managed memory: on a device, and on any
        when_deleted=lambda: deleted_at.append(device.counters()["graph_launches"]),
    )
    before = device.counters()["graph_launches"]
    emulated.infer(producer)
    gc.collect()
    # Taken in for its size, and for the request.
    assert producer.deleted == 2
    assert deleted_at[-1] == before + 1


def test_after_an_error_the_image_s_readers_are_waited_for(model_paths, device, stream, monkeypatch):
    _, emulated = both(model_paths["detect"])
    image = device.upload(noise(61, 97), stream)
    emulated.infer(image)
    (request,) = emulated._device_requests._idle
    waits = []
    monkeypatch.setattr(request.finish, "read", lambda *arguments: 1 / 0)
    synchronize = request.stream.synchronize
    monkeypatch.setattr(request.stream, "synchronize", lambda: waits.append(1) or synchronize())
    with pytest.raises(ZeroDivisionError):
        emulated.infer(image)
    assert len(waits) == 2


def test_raw_results_of_images_there(model_paths, device, stream):
    pixels = noise(61, 97)
    there = device.upload(pixels, stream)
    on_cpu, emulated = both(model_paths["detect"])
    for expected, actual in zip(
        on_cpu.detect_images([load_image(pixels)]), emulated.detect_images([there]), strict=True
    ):
        np.testing.assert_array_equal(actual.boxes, expected.boxes)
    on_cpu, emulated = both(model_paths["classify"])
    (expected,), (actual,) = on_cpu.classify_images([load_image(pixels)]), emulated.classify_images([there])
    np.testing.assert_array_equal(actual, expected)


# What is refused


def test_a_model_on_the_cpu_refuses_arrays_on_a_device(model_paths, device, stream):
    on_cpu = rfkernels.load(model_paths["detect"], cache_directory=False)
    memory = device.upload(noise(61, 97), stream)
    for given in (memory, InterfaceProducer(memory.address, (61, 97, 3)), DLPackProducer(0, (4,), device=(2, 0))):
        with pytest.raises(
            InvalidArgumentError, match=r"images is on a device, and the model runs on the CPU; copy it"
        ):
            on_cpu.infer(given)
    with pytest.raises(InvalidArgumentError, match=r"images\[1\] is on a device"):
        on_cpu.infer([noise(61, 97), memory])
    with pytest.raises(InvalidArgumentError, match="stream is given, and the model runs on the CPU"):
        on_cpu.infer(noise(61, 97), stream=stream)


def test_images_that_are_refused(model_paths, device, stream):
    _, emulated = both(model_paths["detect"])
    memory = device.upload(noise(61, 97), stream)
    host = noise(61, 97)
    gpu = pretended_gpu()
    for given, error, told in (
        (device.empty((61, 97, 3), "float32"), InputImageLoadError, "expected an array of dtype uint8.*float32"),
        (device.empty((61, 97, 2), "uint8"), InputImageLoadError, r"got shape \(61, 97, 2\)"),
        (device.empty((7,), "uint8"), InputImageLoadError, r"got shape \(7,\)"),
        (device.empty((0, 97, 3), "uint8"), InputImageLoadError, "97 x 0 pixels"),
        (gpu.empty((61, 97, 3), "uint8"), InvalidArgumentError, "images is on cuda:0; give one on emulated:0"),
        (DLPackProducer(0, (61, 97, 3), device=(2, 0)), InvalidArgumentError, "images is on cuda:0; give an array on"),
        (InterfaceProducer(host.ctypes.data, (61, 97, 3)), InvalidArgumentError, "images is in memory of the host's"),
        (
            InterfaceProducer(memory.address, (61, 48, 3), strides=(291, 6, 1)),
            InvalidArgumentError,
            "used where it lies",
        ),
        (
            InterfaceProducer(memory.address, (97, 61, 3), strides=(3, 291, 1)),
            InvalidArgumentError,
            "used where it lies",
        ),
        (InterfaceProducer(memory.address, (9, 97, 3), strides=(0, 3, 1)), InvalidArgumentError, "used where it lies"),
    ):
        with pytest.raises(error, match=told):
            emulated.infer(given)
    with pytest.raises(InputImageLoadError, match=r"images\[1\]: .*got shape \(7,\)"):
        emulated.infer([memory, device.empty((7,), "uint8")])
    with pytest.raises(InputImageLoadError, match="more than the 5000 allowed"):
        emulated.infer(memory, image_options=ImageOptions(max_pixels=5000))
    for stream_given, told in ((7, "stream is 7; give device.stream"), (gpu.stream(), "stream is of .*cuda:0")):
        with pytest.raises(InvalidArgumentError, match=told):
            emulated.infer(memory, stream=stream_given)


@pytest.mark.parametrize("step", ["grayscale", "contrast"])
def test_steps_that_run_on_the_host_say_so(model_paths, device, stream, step):
    from dataclasses import replace

    _, emulated = both(model_paths["detect"])
    steps = replace(
        emulated.metadata.preprocessing,
        grayscale=step == "grayscale",
        contrast="stretching" if step == "contrast" else None,
    )
    emulated._preparation._steps = steps
    with pytest.raises(InvalidArgumentError, match=f"images is on a device, and the model's {step} runs on the host"):
        emulated.infer(device.upload(noise(61, 97), stream))
    assert emulated.infer(noise(61, 97)).image.width == 97


def test_pictures_are_drawn_of_the_host_s_pixels(model_paths, device, stream):
    _, emulated = both(model_paths["detect"])
    memory = device.upload(noise(61, 97), stream)
    response = emulated.infer(memory)
    with pytest.raises(InvalidArgumentError, match="image is a DeviceArray; give what load_image returns"):
        emulated.draw(memory, response)
    (image,) = emulated._taken([memory], None)
    assert isinstance(image, Image)
    assert (image.height, image.width, image.color_order) == (61, 97, "bgr")
    with pytest.raises(
        InvalidArgumentError, match=r"images.0. is on emulated:0, and this step needs its pixels on the"
    ):
        image.pixels  # noqa: B018


@pytest.mark.parametrize("where", ["enqueue_from_heads", "launch"])
def test_after_an_error_nothing_of_the_request_is_still_used(model_paths, monkeypatch, where):
    """The functions and the memory that a request has put on its stream go with it: it waits first."""
    _, emulated = both(model_paths["detect"])
    picture = noise(61, 97)
    expected = without_ids(emulated.infer(picture))

    def fail(*_arguments, **_options):
        if where == "launch":
            real(*_arguments, **_options)
        raise KeyboardInterrupt

    owner = DetectionOnDevice if where == "enqueue_from_heads" else Graph
    real = getattr(owner, where)
    monkeypatch.setattr(owner, where, fail)
    if where == "enqueue_from_heads":
        emulated._device_requests._idle.clear()  # the next request is captured anew
    with pytest.raises(KeyboardInterrupt):
        emulated.infer(picture)
    monkeypatch.undo()
    gc.collect()
    assert without_ids(emulated.infer(picture)) == expected
