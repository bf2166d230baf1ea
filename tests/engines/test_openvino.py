"""The OpenVINO engine on a network small enough to compute by hand."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper

from rfkernels.engines import OpenVINOEngine, OpenVINOOptions, openvino_model
from rfkernels.engines import openvino as openvino_engine
from rfkernels.engines.openvino import aligned_empty, supported_precisions
from rfkernels.errors import EngineError, InvalidArgumentError
from rfkernels.reference.bfloat16 import from_bfloat16, to_bfloat16


def save_affine_network(path: Path, batch: int | str = 1) -> Path:
    """y = 2 x + 1 and z = x * x on [batch, 3, 4, 5]."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 4, 5])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3, 4, 5])
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, [batch, 3, 4, 5])
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["doubled"]),
        helper.make_node("Add", ["doubled", "one"], ["y"]),
        helper.make_node("Mul", ["x", "x"], ["z"]),
    ]
    constants = [
        helper.make_tensor("two", TensorProto.FLOAT, [], [2.0]),
        helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
    ]
    graph = helper.make_graph(nodes, "affine", [x], [y, z], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def options(tmp_path: Path) -> OpenVINOOptions:
    return OpenVINOOptions(precision="fp32", threads=1, cache_directory=tmp_path / "cache")


def test_input_is_written_and_outputs_are_read_in_place(tmp_path, options, rng):
    engine = OpenVINOEngine(save_affine_network(tmp_path / "affine.onnx"), options)
    assert [tensor.name for tensor in engine.inputs] == ["x"]
    assert [tensor.name for tensor in engine.outputs] == ["y", "z"]
    assert engine.inputs[0].shape == (1, 3, 4, 5)
    with engine.session() as session:
        for _ in range(3):
            values = rng.normal(size=(1, 3, 4, 5)).astype(np.float32)
            session.inputs["x"][...] = values
            outputs = session.run()
            np.testing.assert_array_equal(outputs["y"], values * 2 + 1)
            np.testing.assert_array_equal(outputs["z"], values * values)
        assert not outputs["y"].flags.owndata


def test_a_session_is_reused_and_two_at_once_do_not_share_memory(tmp_path, options):
    engine = OpenVINOEngine(save_affine_network(tmp_path / "affine.onnx"), options)
    with engine.session() as first, engine.session() as second:
        assert not np.shares_memory(first.inputs["x"], second.inputs["x"])
        address = second.inputs["x"].ctypes.data
    with engine.session() as third:
        assert third.inputs["x"].ctypes.data in (address, first.inputs["x"].ctypes.data)


def test_threads_get_their_own_answers(tmp_path, options):
    engine = OpenVINOEngine(save_affine_network(tmp_path / "affine.onnx"), options)
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(50):
            with engine.session() as session:
                session.inputs["x"].fill(number)
                if not (session.run()["y"] == 2 * number + 1).all():
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("batch", [1, 3])
def test_dynamic_batch(tmp_path, options, batch):
    engine = OpenVINOEngine(save_affine_network(tmp_path / "affine.onnx", "batch"), options)
    assert engine.inputs[0].shape == (None, 3, 4, 5)
    with engine.session(batch) as session:
        session.inputs["x"].fill(3.0)
        assert session.run()["y"].shape == (batch, 3, 4, 5)


def test_idle_sessions_do_not_add_up_over_batch_sizes(tmp_path, options):
    engine = OpenVINOEngine(save_affine_network(tmp_path / "affine.onnx", "batch"), options)
    kept = []
    for batch in range(1, 20):
        with engine.session(batch) as session:
            kept.append(weakref.ref(session))
    del session
    assert sum(reference() is not None for reference in kept) == 2
    # A batch size in use all the time keeps its session, whatever comes between.
    address = None
    for batch in (30, 31, 30, 32, 30, 33, 30):
        with engine.session(batch) as session:
            if batch == 30:
                assert address in (None, session.inputs["x"].ctypes.data)
                address = session.inputs["x"].ctypes.data


def test_notes_on_inputs_end_where_anybody_may_write(tmp_path, options):
    engine = OpenVINOEngine(save_affine_network(tmp_path / "affine.onnx"), options)
    for _ in range(2):
        with engine.session() as session:
            canvas, notes = session.canvas("x")
            assert notes == {}
            notes[0] = "drawn"
        with engine.session() as session:
            assert session.canvas("x")[1] == {0: "drawn"}
            assert np.shares_memory(canvas, session.inputs["x"])
            written_meanwhile = session.canvas("x")[1]
            assert written_meanwhile == {}
            written_meanwhile[0] = "drawn too"


@pytest.mark.parametrize(("built_for", "batch"), [(2, 1), (2, 3), (2, True), (None, 0), (None, "1"), (None, 1.0)])
def test_batches_that_a_network_does_not_take(tmp_path, options, built_for, batch):
    engine = OpenVINOEngine(save_affine_network(tmp_path / "affine.onnx", batch=built_for or "batch"), options)
    with pytest.raises(InvalidArgumentError, match=f"batch is {batch!r}; give "), engine.session(batch):
        pass
    with engine.session() as session:
        assert len(session.inputs["x"]) == (built_for or 1)


def test_a_session_serves_again_after_an_exception(tmp_path, options):
    engine = OpenVINOEngine(save_affine_network(tmp_path / "affine.onnx"), options)

    def fail():
        with engine.session() as session:
            session.run()
            raise ZeroDivisionError(id(session))

    with pytest.raises(ZeroDivisionError) as failure:
        fail()
    with engine.session() as again:
        assert id(again) == failure.value.args[0]
        again.inputs["x"].fill(2.0)
        assert (again.run()["y"] == 5.0).all()


def test_the_compiled_network_is_kept_in_the_cache(tmp_path, options):
    path = save_affine_network(tmp_path / "affine.onnx")
    OpenVINOEngine(path, options)
    assert list((tmp_path / "cache").rglob("*.blob"))


def test_one_at_a_time_uses_the_cache(tmp_path, options, monkeypatch):
    compile_network, is_locked = openvino_engine._compile, []

    def compile_and_look(*arguments):
        with (tmp_path / "cache" / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                is_locked.append(True)
        return compile_network(*arguments)

    monkeypatch.setattr(openvino_engine, "_compile", compile_and_look)
    path = save_affine_network(tmp_path / "affine.onnx")
    for _ in range(2):  # the second finds the lock free again
        OpenVINOEngine(path, options)
    assert is_locked == [True, True]


def test_no_home_is_no_cache(tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for a user whom the system does not know
    OpenVINOEngine(save_affine_network(tmp_path / "affine.onnx"), OpenVINOOptions())
    assert "not cached: neither XDG_CACHE_HOME nor HOME" in caplog.text


def test_no_cache_on_request(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    OpenVINOEngine(save_affine_network(tmp_path / "affine.onnx"), OpenVINOOptions(cache_directory=False))
    assert not (tmp_path / "home").exists()


def test_auto_precision_is_bf16_where_the_cpu_has_it(tmp_path):
    engine = OpenVINOEngine(save_affine_network(tmp_path / "affine.onnx"), OpenVINOOptions(cache_directory=False))
    has_bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert engine.description["precision"] == ("bf16" if has_bf16 else "fp32")
    assert supported_precisions()[-1] == engine.description["precision"]


def test_a_broken_file_is_one_clear_error(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(EngineError, match=r"could not compile broken\.onnx"):
        OpenVINOEngine(path, OpenVINOOptions(cache_directory=False))


def test_options_are_checked():
    with pytest.raises(InvalidArgumentError, match="precision is 'int4'"):
        OpenVINOOptions(precision="int4")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="threads is 0"):
        OpenVINOOptions(threads=0)
    with pytest.raises(InvalidArgumentError, match=r"threads is 2\.5"):
        OpenVINOOptions(threads=2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(1,), (1, 3, 31, 33), (7, 1)])
def test_aligned_empty(shape):
    array = aligned_empty(shape, np.dtype(np.float32))
    assert array.shape == shape
    assert array.ctypes.data % 64 == 0
    assert array.flags.c_contiguous


def test_inputs_keep_their_values_over_a_run(small_model_path, rng):
    for precision in supported_precisions():
        engine = OpenVINOEngine(small_model_path, OpenVINOOptions(precision=precision, cache_directory=False))
        with engine.session() as session:
            values = as_input(engine, rng.random((1, 3, 64, 96)).astype(np.float32))
            session.inputs["images"][...] = values
            for _ in range(3):
                session.run()
            np.testing.assert_array_equal(session.inputs["images"], values)


def as_input(engine: OpenVINOEngine, values: np.ndarray) -> np.ndarray:
    return to_bfloat16(values) if engine.inputs[0].dtype == "bfloat16" else values


def outputs_of(engine: OpenVINOEngine, values: np.ndarray) -> np.ndarray:
    """All of a run, one behind the other, in float32."""
    with engine.session() as session:
        session.inputs[engine.inputs[0].name][...] = as_input(engine, values)
        outputs = session.run()
        assert [(name, value.shape) for name, value in outputs.items()] == [
            (tensor.name, tensor.shape) for tensor in engine.outputs
        ]
        parts = [from_bfloat16(part) if part.dtype == np.uint16 else part for part in outputs.values()]
        return np.concatenate([part.ravel() for part in parts])


def test_ports_are_float32_unless_asked_otherwise(small_model_path):
    for precision in supported_precisions():
        engine = OpenVINOEngine(small_model_path, OpenVINOOptions(precision=precision, cache_directory=False))
        assert {tensor.dtype for tensor in engine.inputs + engine.outputs} == {"float32"}


@pytest.mark.parametrize("bfloat16_ports", [False, True])
@pytest.mark.parametrize("precision", supported_precisions())
def test_as_near_to_fp32_as_openvino_left_alone(small_model_path, tmp_path, rng, precision, bfloat16_ports):
    values = rng.random((1, 3, 64, 96)).astype(np.float32)
    exact = outputs_of(
        OpenVINOEngine(small_model_path, OpenVINOOptions(precision="fp32", cache_directory=False)), values
    )
    options = OpenVINOOptions(precision=precision, cache_directory=tmp_path, bfloat16_ports=bfloat16_ports)
    ours = OpenVINOEngine(small_model_path, options)
    expected_dtype = "bfloat16" if precision == "bf16" and bfloat16_ports else "float32"
    assert {tensor.dtype for tensor in ours.inputs + ours.outputs} == {expected_dtype}
    settings = {"INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision]}
    alone = openvino.Core().compile_model(str(small_model_path), "CPU", settings)
    results = alone(values)
    left_alone = np.concatenate([results[port].ravel() for port in alone.outputs])

    def error(outputs: np.ndarray) -> float:
        return float(np.sqrt(np.mean((outputs - exact) ** 2)))

    assert error(outputs_of(ours, values)) <= 1.2 * error(left_alone)
    assert (error(outputs_of(ours, values)) > 0) == (precision == "bf16")
    # From the cache the same network comes back.
    again = OpenVINOEngine(small_model_path, options)
    np.testing.assert_array_equal(outputs_of(again, values), outputs_of(ours, values))
    assert convolutions_of(again) == convolutions_of(ours)


def convolutions_of(engine: OpenVINOEngine) -> list[str]:
    """Which implementation each convolution runs, in running order."""
    return implementations(engine._network.compiled)


def implementations(compiled: openvino.CompiledModel) -> list[str]:
    nodes = compiled.get_runtime_model().get_ops()
    facts = [node.get_rt_info() for node in nodes]
    return [fact["primitiveType"].astype(str) for fact in facts if fact["layerType"].astype(str) == "Convolution"]


@pytest.mark.parametrize("precision", supported_precisions())
def test_the_convolutions_within_concatenate_in_place(small_model_path, precision):
    used = convolutions_of(
        OpenVINOEngine(small_model_path, OpenVINOOptions(precision=precision, cache_directory=False))
    )
    name = {"fp32": "f32", "bf16": "bf16"}[precision]
    core = openvino.Core()
    alone = core.compile_model(str(small_model_path), "CPU", {"INFERENCE_PRECISION_HINT": name})
    left_alone = implementations(alone)
    assert len(used) == len(left_alone) == 63
    assert all(one.endswith(f"_{name}") for one in used + left_alone)
    if precision == "bf16" and all(one.startswith("brgconv_avx512_") and "amx" not in one for one in left_alone):
        # An AVX-512 CPU that computes in bfloat16, without AMX: there the choice is ours.
        assert sum(one.startswith("jit_avx512") for one in used) == 57
        assert sum(one.startswith("brgconv_avx512") for one in used) == 6
    else:
        assert used == left_alone


def save_network_with_a_tail(path: Path, tail: str) -> Path:
    """A convolution to 4 planes, and something after it that bfloat16 could not hold."""
    rng = np.random.default_rng(3)
    numbers = {
        "weights": rng.normal(size=(4, 3, 3, 3)),
        "grid": np.arange(64).reshape(1, 1, 8, 8) * 10,
        "thousand": np.array([1000]),
    }
    between = [helper.make_node("Sigmoid", ["convolved"], ["before"])] if tail == "sigmoid and grid" else []
    nodes = [
        helper.make_node("Conv", ["x", "weights"], ["convolved"], pads=[1] * 4),
        *between,
        helper.make_node(
            "Add",
            ["before" if between else "convolved", "thousand" if tail == "thousand" else "grid"],
            ["y"],
        ),
    ]
    constants = [onnx.numpy_helper.from_array(values.astype(np.float32), name) for name, values in numbers.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 8, 8])
    graph = helper.make_graph(nodes, "tail", [x], [y], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("tail", ["sigmoid and grid", "grid", "thousand"])
@pytest.mark.parametrize("precision", supported_precisions())
def test_what_openvino_keeps_in_float32_stays_in_it(tmp_path, rng, precision, tail):
    values = rng.random((1, 3, 8, 8)).astype(np.float32)
    path = save_network_with_a_tail(tmp_path / "tail.onnx", tail)
    options = OpenVINOOptions(precision="fp32", cache_directory=False)
    exact = outputs_of(OpenVINOEngine(path, options), values)
    engine = OpenVINOEngine(path, replace(options, precision=precision, bfloat16_ports=True))
    assert engine.outputs[0].dtype == "float32"
    np.testing.assert_allclose(outputs_of(engine, values), exact, rtol=0, atol=0.1)
    affine = OpenVINOEngine(
        save_affine_network(tmp_path / "affine.onnx"), replace(options, precision=precision, bfloat16_ports=True)
    )
    assert {tensor.dtype for tensor in affine.inputs + affine.outputs} == {"float32"}


@pytest.mark.parametrize(
    "network",
    [
        openvino_model._NETWORK_WITH_PRIORITY.replace("primitives_priority", "unheard_of"),
        openvino_model._NETWORK_WITH_PRIORITY.replace("cpu:jit_avx512", "cpu:nonsense"),
        openvino_model._NETWORK_WITH_PRIORITY.replace("Relu", "Sigmoid"),
        "<net",
    ],
)
def test_an_openvino_that_cannot_be_asked_runs_the_network_all_the_same(
    small_model_path, rng, monkeypatch, caplog, network
):
    monkeypatch.setattr(openvino_model, "_NETWORK_WITH_PRIORITY", network)
    precision = supported_precisions()[-1]
    options = OpenVINOOptions(precision=precision, cache_directory=False, bfloat16_ports=True)
    values = rng.random((1, 3, 64, 96)).astype(np.float32)
    exact = outputs_of(
        OpenVINOEngine(small_model_path, OpenVINOOptions(precision="fp32", cache_directory=False)), values
    )
    np.testing.assert_allclose(
        outputs_of(OpenVINOEngine(small_model_path, options), values), exact, atol=0.15 * np.abs(exact).max()
    )
    assert ("chooses its convolutions by itself" in caplog.text) == (precision == "bf16")


def test_nothing_is_reported_to_anybody(tmp_path):
    """The telemetry, which a plain `import openvino` loads, is not; and nothing is written to the home folder."""
    program = """
import sys
import rfkernels.engines.openvino
assert "openvino_telemetry" not in sys.modules
"""
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
