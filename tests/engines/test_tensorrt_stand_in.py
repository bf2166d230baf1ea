"""The rules of the stand-in for TensorRT, each broken once: what it lets pass proves nothing about its users."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from tensorrt_stand_in import RuleViolationError, StandIn, make_plan

from rfkernels.device import Device, DeviceArray

pytestmark = pytest.mark.emulated

SHAPE = (2, 3, 4, 5)


@pytest.fixture
def runtime(device: Device) -> StandIn:
    return StandIn(device)


@pytest.fixture
def engine(runtime: StandIn) -> Any:
    class Logger(runtime.ILogger):
        def log(self, severity, msg):
            pass

    return runtime.Runtime(Logger()).deserialize_cuda_engine(make_plan())


@pytest.fixture
def context(engine: Any) -> Any:
    return engine.create_execution_context()


def prepare(context: Any, device: Device, stream: Any) -> list[DeviceArray]:
    """All that comes before a run."""
    context.set_optimization_profile_async(0, stream.handle)
    context.set_input_shape("x", SHAPE)
    assert context.infer_shapes() == []
    arrays = [device.empty(SHAPE, "float32") for _ in range(2)]
    for name, array in zip("xy", arrays, strict=True):
        context.set_tensor_address(name, array.address)
    return arrays


def test_what_is_right_passes(runtime, context, device):
    stream = device.stream()
    arrays = prepare(context, device, stream)
    assert context.execute_async_v3(stream_handle=stream.handle) is True
    stream.synchronize()
    del arrays
    assert runtime.violations == []


@pytest.mark.parametrize(
    "arguments",
    [("x",), (7, SHAPE), ("x", SHAPE, 1), ("x", 3)],
)
def test_arguments_that_the_real_one_does_not_take(runtime, context, device, arguments):
    stream = device.stream()
    context.set_optimization_profile_async(0, stream.handle)
    with pytest.raises(RuleViolationError, match="fits none"):
        context.set_input_shape(*arguments)
    assert runtime.violations


def test_names_that_the_real_one_does_not_take(context):
    with pytest.raises(RuleViolationError, match="fits none"):
        context.execute_async_v3(stream=1)
    with pytest.raises(AttributeError):
        context.execute_async_v2()
    with pytest.raises(AttributeError):
        context.is_stream_capturable(1)
    with pytest.raises(RuleViolationError, match="no property"):
        context.no_such_property = 1


def test_shapes_before_the_profile(context):
    with pytest.raises(RuleViolationError, match="before a profile"):
        context.set_input_shape("x", SHAPE)


def test_addresses_before_the_shapes(context, device):
    stream = device.stream()
    context.set_optimization_profile_async(0, stream.handle)
    with pytest.raises(RuleViolationError, match="before infer_shapes"):
        context.set_tensor_address("y", device.empty(SHAPE, "float32").address)


def test_a_run_before_the_addresses(context, device):
    stream = device.stream()
    context.set_optimization_profile_async(0, stream.handle)
    context.set_input_shape("x", SHAPE)
    context.infer_shapes()
    with pytest.raises(RuleViolationError, match=r"without addresses of \['x', 'y'\]"):
        context.execute_async_v3(stream.handle)


def test_a_run_after_new_shapes_that_nobody_inferred(context, device):
    stream = device.stream()
    arrays = prepare(context, device, stream)
    context.set_input_shape("x", (1, 3, 4, 5))
    with pytest.raises(RuleViolationError, match="a run with shapes"):
        context.execute_async_v3(stream.handle)
    del arrays


def test_addresses_that_are_no_memory_for_it(context, device):
    prepare(context, device, device.stream())
    small, pinned = device.empty((2, 3, 4, 4), "float32"), device.pinned(1024)
    with pytest.raises(RuleViolationError, match="too small"):
        context.set_tensor_address("x", small.address)
    with pytest.raises(RuleViolationError, match="no device memory"):
        context.set_tensor_address("x", pinned.ctypes.data // 256 * 256)
    with pytest.raises(RuleViolationError, match="no multiple of 256"):
        context.set_tensor_address("x", device.empty((8, *SHAPE), "float32").address + 16)


def test_a_run_beside_the_switch_of_the_profile(context, device):
    stream, other = device.stream(), device.stream()
    arrays = prepare(context, device, stream)
    with pytest.raises(RuleViolationError, match="which nobody has waited for"):
        context.execute_async_v3(other.handle)
    stream.synchronize()
    assert context.execute_async_v3(other.handle)
    other.synchronize()
    del arrays


def test_a_first_run_in_a_capture_fails(context, device):
    stream = device.stream()
    arrays = prepare(context, device, stream)
    with stream.capture():
        assert context.execute_async_v3(stream.handle) is False
    del arrays


def test_two_threads_in_one_context(runtime, context, device):
    stream = device.stream()
    arrays = prepare(context, device, stream)
    inside, leave = threading.Event(), threading.Event()
    runtime.while_executing = lambda: (inside.set(), leave.wait(20))
    thread = threading.Thread(target=context.execute_async_v3, args=(stream.handle,))
    thread.start()
    try:
        assert inside.wait(20)
        with pytest.raises(RuleViolationError, match="while another thread uses the context"):
            context.infer_shapes()
    finally:
        leave.set()
        thread.join()
    stream.synchronize()
    del arrays


def test_a_graph_of_a_context_that_is_gone(runtime, engine, device):
    stream, context = device.stream(), engine.create_execution_context()
    arrays = prepare(context, device, stream)
    context.execute_async_v3(stream.handle)
    stream.synchronize()
    with stream.capture() as graphs:
        context.execute_async_v3(stream.handle)
    assert runtime.contexts_alive == 1
    del context
    assert runtime.contexts_alive == 0
    graphs[0].launch(stream)
    stream.synchronize()
    assert runtime.violations == ["a stream or graph runs a context that is gone"]
    del arrays


def test_a_logger_without_its_constructor(runtime):
    class Logger(runtime.ILogger):
        def __init__(self):
            pass

    for logger in (Logger(), None):
        with pytest.raises(RuleViolationError, match="no logger"):
            runtime.Runtime(logger)
