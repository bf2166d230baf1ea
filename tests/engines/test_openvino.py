"""The OpenVINO engine on a network small enough to compute by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper

from rfkernels.engines import OpenVINOEngine, OpenVINOOptions
from rfkernels.engines.openvino import aligned_empty, supported_precisions
from rfkernels.errors import EngineError, InvalidArgumentError


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
            values = rng.random((1, 3, 64, 96)).astype(np.float32)
            session.inputs["images"][...] = values
            for _ in range(3):
                session.run()
            np.testing.assert_array_equal(session.inputs["images"], values)


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
