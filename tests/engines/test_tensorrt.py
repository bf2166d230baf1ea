"""The TensorRT engine on the emulated device, with a stand-in for the runtime that checks every call."""

from __future__ import annotations

import gc
import json
import logging
import struct
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import tensorrt_stand_in
from tensorrt_stand_in import StandIn, make_plan, tensor

from rfkernels.device import Device, Stream
from rfkernels.engines import DeviceEngine, DeviceSession, TensorRTEngine, TensorRTOptions
from rfkernels.errors import EngineError, InvalidArgumentError, UnavailableError
from rfkernels.reference.bfloat16 import from_bfloat16, to_bfloat16

pytestmark = pytest.mark.emulated

TWO_PROFILES = [{"x": [(1, 3, 4, 5)] * 3}, {"x": [(1, 3, 4, 5), (8, 3, 4, 5), (16, 3, 4, 5)]}]


@pytest.fixture
def runtime(device: Device) -> Iterator[StandIn]:
    """The stand-in. What it was asked against its rules fails the test, whoever caught the exception."""
    module = StandIn(device)
    yield module
    assert module.violations == []


@pytest.fixture
def rtx(device: Device) -> Iterator[StandIn]:
    module = StandIn(device, "tensorrt_rtx", "1.7.1")
    yield module
    assert module.violations == []


def run(session: DeviceSession, stream: Stream, values: np.ndarray) -> np.ndarray:
    (array,) = session.inputs.values()
    array.write(values, stream)
    session.enqueue(stream)
    stream.synchronize()
    session.check()
    return next(iter(session.outputs.values())).numpy(stream)


@pytest.mark.parametrize("batch", [None, 1, 3, 4])
def test_a_batch_goes_through(device, runtime, rng, batch):
    engine: DeviceEngine = TensorRTEngine(make_plan(), device, runtime)
    assert [(one.name, one.shape, one.dtype) for one in engine.inputs] == [("x", (None, 3, 4, 5), "float32")]
    assert [(one.name, one.shape, one.dtype) for one in engine.outputs] == [("y", (None, 3, 4, 5), "float32")]
    session = engine.create_session(batch)
    values = rng.normal(size=(batch or 1, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(run(session, device.stream(), values), 2 * values + 1)


@pytest.mark.parametrize(
    ("dtype", "name"), [("FLOAT", "float32"), ("HALF", "float16"), ("BF16", "bfloat16"), ("INT32", "int32")]
)
def test_element_types(device, runtime, dtype, name):
    plan = make_plan([tensor("x", (2, 3), dtype)], [tensor("y", (2, 3), dtype)], [{}])
    engine = TensorRTEngine(plan, device, runtime)
    session = engine.create_session()
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    given = to_bfloat16(values) if dtype == "BF16" else values.astype(name)
    result = run(session, device.stream(), given)
    assert session.outputs["y"].dtype == engine.outputs[0].dtype == name
    np.testing.assert_array_equal(from_bfloat16(result) if dtype == "BF16" else result, 2 * values + 1)


def test_calls_come_in_the_order_that_the_runtime_needs(device, runtime):
    TensorRTEngine(make_plan(), device, runtime)
    names = [name.removeprefix("IExecutionContext.") for name, _ in runtime.calls if "Context." in name]
    assert names == [
        "set_optimization_profile_async",
        "set_input_shape",
        "infer_shapes",
        "get_tensor_shape",
        "set_tensor_address",
        "set_tensor_address",
        "execute_async_v3",
    ]


def test_enqueue_is_on_the_stream_that_is_given_and_does_not_wait(device, runtime, rng):
    session = TensorRTEngine(make_plan(), device, runtime).create_session(2)
    stream = device.stream()
    # The first run is of zeros.
    np.testing.assert_array_equal(session.outputs["y"].numpy(stream), np.ones((2, 3, 4, 5)))
    before = device.counters()["synchronizations"]
    values = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    session.inputs["x"].write(values, stream)
    session.enqueue(stream)
    assert runtime.named("IExecutionContext.execute_async_v3")[-1] == (stream.handle,)
    assert device.counters()["synchronizations"] == before
    # Nothing has run.
    np.testing.assert_array_equal(session.outputs["y"].host_view(), np.ones((2, 3, 4, 5)))
    np.testing.assert_array_equal(session.outputs["y"].numpy(stream), 2 * values + 1)


def test_a_captured_graph_runs_the_network_again(device, runtime, rng):
    session = TensorRTEngine(make_plan(), device, runtime).create_session(2)
    stream = device.stream()
    # The first enqueue that the caller makes.
    with stream.capture() as graphs:
        session.enqueue(stream)
    count = len(runtime.named("IExecutionContext.execute_async_v3"))
    for _ in range(3):
        values = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
        session.inputs["x"].write(values, stream)
        graphs[0].launch(stream)
        np.testing.assert_array_equal(session.outputs["y"].numpy(stream), 2 * values + 1)
    assert len(runtime.named("IExecutionContext.execute_async_v3")) == count


def test_the_first_run_is_over_before_a_session_is_handed_out_and_reads_zeros(device, runtime):
    engine = TensorRTEngine(make_plan(), device, runtime)
    waits = device.counters()["synchronizations"]
    session = engine.create_session(1)
    assert device.counters()["synchronizations"] == waits + 1
    stream = device.stream()
    np.testing.assert_array_equal(session.inputs["x"].numpy(stream), np.zeros((1, 3, 4, 5), np.float32))
    np.testing.assert_array_equal(session.outputs["y"].numpy(stream), np.ones((1, 3, 4, 5), np.float32))


def test_a_session_can_be_made_while_another_stream_is_captured(device, runtime):
    engine = TensorRTEngine(make_plan(), device, runtime)
    stream = device.stream()
    with stream.capture():
        session = engine.create_session()
    np.testing.assert_array_equal(session.outputs["y"].numpy(stream), np.ones(session.outputs["y"].shape, np.float32))


@pytest.mark.parametrize(("batch", "profile"), [(None, 0), (1, 0), (2, 1), (8, 1), (16, 1)])
def test_the_profile_made_for_a_batch_is_taken(device, runtime, rng, batch, profile):
    engine = TensorRTEngine(make_plan(profiles=TWO_PROFILES), device, runtime)
    session = engine.create_session(batch)
    assert runtime.named("IExecutionContext.set_optimization_profile_async")[-1][0] == profile
    values = rng.normal(size=(batch or 1, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(run(session, device.stream(), values), 2 * values + 1)


@pytest.mark.parametrize("batch", [0, -1, 17, 2.0, True, "1"])
def test_other_batches_are_refused(device, runtime, batch):
    engine = TensorRTEngine(make_plan(profiles=TWO_PROFILES), device, runtime)
    with pytest.raises(InvalidArgumentError, match=r"batch is .*; give 1 or 1 to 16"):
        engine.create_session(batch)


def test_a_static_batch(device, runtime):
    plan = make_plan([tensor("x", (8, 2))], [tensor("y", (8, 2))], [{}])
    engine = TensorRTEngine(plan, device, runtime)
    assert engine.inputs[0].shape == (8, 2)
    assert engine.create_session().inputs["x"].shape == engine.create_session(8).inputs["x"].shape == (8, 2)
    with pytest.raises(InvalidArgumentError, match="batch is 1; give 8, which the plan was built for"):
        engine.create_session(1)


def test_several_inputs_share_the_batch(device, runtime):
    inputs = [tensor("x", (-1, 2)), tensor("p", (-1, 4)), tensor("s", (1,))]
    profiles = [{"x": [(1, 2), (4, 2), (8, 2)], "p": [(2, 4), (4, 4), (6, 4)]}]
    engine = TensorRTEngine(make_plan(inputs, [tensor("y", (-1, 2))], profiles), device, runtime)
    session = engine.create_session(6)
    assert {name: array.shape for name, array in session.inputs.items()} == {"x": (6, 2), "p": (6, 4), "s": (1,)}
    assert engine.create_session().inputs["x"].shape == (2, 2)
    for batch in (1, 7):
        with pytest.raises(InvalidArgumentError, match="give 2 to 6"):
            engine.create_session(batch)


def test_profiles_that_take_no_common_batch(device, runtime):
    inputs = [tensor("x", (-1, 2)), tensor("p", (-1, 4))]
    profiles = [{"x": [(1, 2), (1, 2), (1, 2)], "p": [(2, 4), (2, 4), (2, 4)]}]
    with pytest.raises(EngineError, match=r"takes one batch of all of \['x', 'p'\]"):
        TensorRTEngine(make_plan(inputs, None, profiles), device, runtime)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dtype": "INT64"}, "input x has element type INT64; build the network with a cast to one of float32"),
        ({"dtype": "INT8"}, "element type INT8"),
        ({"dtype": "BOOL"}, "element type BOOL"),
        ({"dtype": "FP8"}, "element type FP8"),
        ({"location": "HOST"}, "input x is a shape tensor"),
        ({"layout": "HWC8"}, "input x has the layout HWC8; build it with LINEAR"),
        ({"shape": (-1, 3, -1, -1)}, r"input x has shape \(None, 3, None, None\), open in more than the batch"),
    ],
)
def test_inputs_without_memory_of_ours_are_refused(device, runtime, changed, message):
    profiles = [{"x": [(1, 3, 4, 5)] * 3}]
    with pytest.raises(EngineError, match=message):
        TensorRTEngine(make_plan([tensor("x", **changed)], [tensor("y")], profiles), device, runtime)


def test_outputs_whose_size_depends_on_the_data_are_refused(device, runtime):
    outputs = [tensor("y"), tensor("kept", (-1, 7), is_open=True)]
    with pytest.raises(EngineError, match=r"output kept has shape \(-1, 7\): only a run shows its size .*fixed size"):
        TensorRTEngine(make_plan(outputs=outputs), device, runtime)


def test_a_plan_of_outputs_only_is_refused(device, runtime):
    plan = make_plan()
    document = json.loads(plan[len(b"stand-in") :])
    document["outputs"] = []
    with pytest.raises(EngineError, match="1 inputs and 0 outputs"):
        TensorRTEngine(b"stand-in" + json.dumps(document).encode(), device, runtime)


@pytest.mark.parametrize(
    ("method", "about"),
    [
        ("create_execution_context", r"create_execution_context \(1024 bytes of device memory\)"),
        ("set_optimization_profile_async", r"set_optimization_profile_async\(0\)"),
        ("set_input_shape", r"set_input_shape\('x', \(1, 3, 4, 5\)\)"),
        ("set_tensor_address", r"set_tensor_address\('x'\) to float32 \(1, 3, 4, 5\)"),
        ("execute_async_v3", r"execute_async_v3 with inputs \{'x': \(1, 3, 4, 5\)\}"),
    ],
)
def test_a_call_that_fails_is_named_with_what_the_runtime_said(device, runtime, method, about):
    runtime.failures[method] = "Error Code 3: API Usage Error (no such luck)"
    with pytest.raises(EngineError, match=rf"tensorrt 11\.4\.0: {about} failed.*API Usage Error \(no such luck\)"):
        TensorRTEngine(make_plan(), device, runtime)


def test_shapes_that_are_not_all_known_are_named(device, runtime, monkeypatch):
    monkeypatch.setattr(tensorrt_stand_in._IExecutionContext, "infer_shapes", lambda self: ["p"])
    with pytest.raises(EngineError, match=r"infer_shapes with inputs .*not enough is known of \['p'\]"):
        TensorRTEngine(make_plan(), device, runtime)


def test_a_failing_session_does_not_lend_its_context_again(device, runtime):
    engine = TensorRTEngine(make_plan(), device, runtime)
    runtime.failures["infer_shapes"] = "no"
    with pytest.raises(EngineError, match="infer_shapes"):
        engine.create_session()
    del runtime.failures["infer_shapes"]
    gc.collect()
    assert runtime.contexts_alive == 0
    engine.create_session()
    assert len(runtime.named("ICudaEngine.create_execution_context")) == 2


def test_contexts_are_lent_again_and_only_two_are_kept(device, runtime):
    engine = TensorRTEngine(make_plan(), device, runtime)
    created = runtime.named("ICudaEngine.create_execution_context")
    session = engine.create_session(1)
    assert len(runtime.named("ICudaEngine.create_execution_context")) == len(created) == 1
    sessions = [session, *(engine.create_session(batch) for batch in (1, 2, 4))]
    assert runtime.contexts_alive == 4
    addresses = [array.address for one in sessions for array in (*one.inputs.values(), *one.outputs.values())]
    assert len(set(addresses)) == len(addresses)
    del session
    sessions.clear()
    assert runtime.contexts_alive == 2
    # With another profile, shape and memory.
    values = np.ones((3, 3, 4, 5), np.float32)
    np.testing.assert_array_equal(run(engine.create_session(3), device.stream(), values), 2 * values + 1)
    assert len(runtime.named("ICudaEngine.create_execution_context")) == 4


def test_a_session_outlives_its_engine(device, runtime):
    session = TensorRTEngine(make_plan(), device, runtime).create_session(1)
    gc.collect()
    values = np.full((1, 3, 4, 5), 3, np.float32)
    np.testing.assert_array_equal(run(session, device.stream(), values), 2 * values + 1)
    del session
    gc.collect()
    assert runtime.contexts_alive == 0


def test_threads_with_sessions_of_their_own(device, runtime):
    engine = TensorRTEngine(make_plan(), device, runtime)
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            for round_number in range(10):
                values = np.full((1 + number % 4, 3, 4, 5), number + 10 * round_number, np.float32)
                result = run(engine.create_session(len(values)), device.stream(), values)
                np.testing.assert_array_equal(result, 2 * values + 1)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_second_thread_is_kept_from_a_session_that_is_being_enqueued(device, runtime):
    session = TensorRTEngine(make_plan(), device, runtime).create_session(1)
    inside, leave = threading.Event(), threading.Event()
    first, second = device.stream(), device.stream()

    def wait() -> None:
        inside.set()
        leave.wait(20)

    runtime.while_executing = wait
    thread = threading.Thread(target=session.enqueue, args=(first,))
    thread.start()
    try:
        assert inside.wait(20)
        with pytest.raises(EngineError, match="another thread is enqueueing this session; create one for each"):
            session.enqueue(second)
    finally:
        leave.set()
        thread.join()
    runtime.while_executing = lambda: None
    session.enqueue(second)
    first.synchronize()
    second.synchronize()


def test_a_stream_of_another_device_is_refused(device, runtime):
    session = TensorRTEngine(make_plan(), device, runtime).create_session()
    other = Device(device.native)
    other.kind = "cuda"
    with pytest.raises(InvalidArgumentError, match="stream is of"):
        session.enqueue(other.stream())


def test_a_module_of_another_device_is_refused(device, runtime):
    runtime.DEVICE_KIND = "cuda"
    with pytest.raises(InvalidArgumentError, match=r"device is .*emulated.*; tensorrt runs on 'cuda'"):
        TensorRTEngine(make_plan(), device, runtime)


def test_a_second_gpu_is_refused(device, runtime, monkeypatch):
    other = Device(device.native)
    monkeypatch.setattr(other, "ordinal", 1)
    with pytest.raises(UnavailableError, match="CUDA_VISIBLE_DEVICES"):
        TensorRTEngine(make_plan(), other, runtime)


def test_a_plan_with_host_code_needs_permission(device, runtime):
    plan = make_plan(host_code=True)
    with pytest.raises(EngineError, match=r"TensorRTOptions\(engine_host_code_allowed=True\)"):
        TensorRTEngine(plan, device, runtime)
    TensorRTEngine(plan, device, runtime, TensorRTOptions(engine_host_code_allowed=True))
    with pytest.raises(InvalidArgumentError, match="engine_host_code_allowed is 1; give True or False"):
        TensorRTOptions(engine_host_code_allowed=1)


@pytest.mark.parametrize(
    ("said", "kind", "advice"),
    [
        (tensorrt_stand_in.NO_DRIVER, UnavailableError, "there is no NVIDIA driver, no GPU, or the driver is older"),
        ("CUDA initialization failure with error: 100.", UnavailableError, "there is no NVIDIA driver"),
        (
            "IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine plan file is generated on an "
            "incompatible device, expecting compute 8.9 got compute 8.6, please rebuild.)",
            EngineError,
            r"another compute capability than this GPU's; build it again from the \.onnx on this GPU",
        ),
        (
            "Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match. "
            "Note: Current Version: 237, Serialized Engine Version: 239",
            EngineError,
            r"another release than tensorrt 11\.4\.0; build it again",
        ),
        ("Serialization assertion plan.header.size == blobSize failed.", EngineError, "cut short or damaged"),
        ("Error Code 2: OutOfMemory (Requested size was 12 bytes.)", EngineError, "memory does not suffice"),
    ],
)
def test_a_plan_that_is_refused(device, runtime, said, kind, advice):
    runtime.failures["deserialize_cuda_engine"] = said
    with pytest.raises(kind, match=rf"deserialize_cuda_engine of a plan \(\d+ bytes\) failed.*{advice}") as caught:
        TensorRTEngine(make_plan(), device, runtime)
    assert type(caught.value) is kind
    assert said in str(caught.value)


def test_a_plan_of_something_else(device, runtime):
    with pytest.raises(EngineError, match=r"this is no plan of tensorrt 11\.4\.0"):
        TensorRTEngine(b"ftrt" + bytes(100), device, runtime)


def test_tensorrt_rtx_says_more_of_a_plan_that_it_refuses(device, rtx):
    rtx.failures["deserialize_cuda_engine"] = "failed"
    with pytest.raises(EngineError, match=r"another release than tensorrt_rtx 1\.7\.1.*created with TensorRT-RTX ver"):
        TensorRTEngine(make_plan(), device, rtx)


def test_tensorrt_rtx_compiles_for_the_shapes_before_a_capture(device, rtx, rng):
    session = TensorRTEngine(make_plan(), device, rtx).create_session(2)
    (arguments,) = rtx.named("ICudaEngine.create_execution_context")
    eager = rtx.DynamicShapesKernelSpecializationStrategy.EAGER
    assert arguments[0].dynamic_shapes_kernel_specialization_strategy == eager
    stream = device.stream()
    with stream.capture() as graphs:
        session.enqueue(stream)
    values = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    session.inputs["x"].write(values, stream)
    graphs[0].launch(stream)
    np.testing.assert_array_equal(session.outputs["y"].numpy(stream), 2 * values + 1)


def test_tensorrt_and_static_plans_take_the_plain_context(device, runtime, rtx):
    TensorRTEngine(make_plan(), device, runtime)
    TensorRTEngine(make_plan([tensor("x", (1, 2))], [tensor("y", (1, 2))], [{}]), device, rtx)
    for module in (runtime, rtx):
        assert module.named("ICudaEngine.create_execution_context") == [()]


@pytest.mark.parametrize("name", ["model.engine", "umlaut-ä.plan"])
def test_a_header_before_the_plan_is_read_and_stepped_over(device, runtime, tmp_path, name):
    text = json.dumps({"stride": 32, "names": {"0": "Straße"}}, ensure_ascii=False).encode()
    plan = struct.pack("<i", len(text)) + text + make_plan()
    path = tmp_path / name
    path.write_bytes(plan)
    for given in (plan, bytearray(plan), memoryview(plan), path, str(path)):
        engine = TensorRTEngine(given, device, runtime)
        assert engine.header == {"stride": 32, "names": {"0": "Straße"}}
        assert bytes(runtime.named("Runtime.deserialize_cuda_engine")[-1][0]) == make_plan()
    assert TensorRTEngine(make_plan(), device, runtime).header == {}
    runtime.failures["deserialize_cuda_engine"] = "no"
    with pytest.raises(EngineError, match=f"deserialize_cuda_engine of {name} "):
        TensorRTEngine(path, device, runtime)


def test_the_description_and_the_memory_of_a_context(device, runtime):
    engine = TensorRTEngine(make_plan(), device, runtime)
    assert engine.description == {
        "runtime": "tensorrt",
        "version": "11.4.0",
        "device": "emulated:0",
        "precision": "as built, inputs float32",
    }
    assert engine.bytes_per_context == 1024


def test_nothing_is_printed_and_messages_go_to_logging(device, runtime, capfd, caplog):
    with caplog.at_level(logging.DEBUG, "rfkernels.engines.tensorrt_runtime"):
        TensorRTEngine(make_plan(), device, runtime)
    assert ("rfkernels.engines.tensorrt_runtime", logging.DEBUG, "tensorrt 11.4.0: Loaded engine size: 0 MiB") in (
        caplog.record_tuples
    )
    runtime.failures["infer_shapes"] = "a warning to be had in the error"
    with pytest.raises(EngineError, match="a warning to be had"):
        TensorRTEngine(make_plan(), device, runtime)
    assert capfd.readouterr() == ("", "")
    # pytest has handlers of its own; without any, Python prints warnings.
    logger = logging.getLogger("rfkernels.engines.tensorrt_runtime")
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]


def test_one_logger_serves_all_engines_of_a_module(device, runtime):
    TensorRTEngine(make_plan(), device, runtime)
    TensorRTEngine(make_plan(), device, runtime)
    (first,), (second,) = runtime.named("Runtime.__init__")
    assert first is second


def test_a_log_line_of_another_call_is_not_in_an_error(device, runtime):
    session = TensorRTEngine(make_plan(), device, runtime).create_session()
    runtime.failures["execute_async_v3"] = "the first"
    with pytest.raises(EngineError, match="the first"):
        session.enqueue(device.stream())
    runtime.failures["execute_async_v3"] = "the second"
    with pytest.raises(EngineError, match="the second") as caught:
        session.enqueue(device.stream())
    assert "the first" not in str(caught.value)
