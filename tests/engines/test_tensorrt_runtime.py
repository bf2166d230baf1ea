"""What stands around a TensorRT engine: packages that are not there, and what is a plan."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rfkernels.device import open_device
from rfkernels.engines import TensorRTEngine
from rfkernels.engines.tensorrt_runtime import import_runtime, read_plan, runtime_name_of
from rfkernels.errors import EngineError, InvalidArgumentError, UnavailableError

pytestmark = pytest.mark.emulated


@pytest.mark.parametrize(
    "plan",
    [
        b"\x02\0\0\0[]plan",  # no object
        b"\x02\0\0\0{]plan",
        b"\x02\0\0\0\xff\xfeplan",
        b"\xff\xff\xff\xff{}plan",
        b"\x64\0\0\0{}plan",  # longer than the file
        b"ftrt{}",
        b"\0\0\0\0{}",
        b"\x02\0\0",
    ],
)
def test_what_is_no_header_is_part_of_the_plan(plan):
    data, header = read_plan(plan)
    assert (bytes(data), header) == (plan, {})


def test_plans_that_hold_nothing_or_cannot_be_read(tmp_path):
    with pytest.raises(EngineError, match="plan is empty"):
        read_plan(b"")
    with pytest.raises(EngineError, match="plan ends after its header of 6 bytes"):
        read_plan(b"\x02\0\0\0{}")
    with pytest.raises(EngineError, match=r"none\.engine cannot be read: No such file"):
        read_plan(tmp_path / "none.engine")
    with pytest.raises(InvalidArgumentError, match="plan is a int; give bytes"):
        read_plan(7)


def test_a_runtime_is_imported_by_its_name(monkeypatch, tmp_path: Path):
    with pytest.raises(InvalidArgumentError, match='name is \'onnxruntime\'; give "tensorrt" or "tensorrt_rtx"'):
        import_runtime("onnxruntime")
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnavailableError, match=r"tensorrt_rtx is .*pip install tensorrt-rtx"):
        import_runtime("tensorrt_rtx")
    monkeypatch.delitem(sys.modules, "tensorrt")
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.11: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnavailableError, match=r"tensorrt is installed and cannot be imported: libnvinfer\.so\.11"):
        import_runtime("tensorrt")


def test_the_plan_says_which_runtime_it_is_for(monkeypatch):
    assert runtime_name_of(memoryview(b"vtrt\0\0")) == "tensorrt_rtx"
    assert runtime_name_of(memoryview(b"ftrt\0\0")) == "tensorrt"
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnavailableError, match="tensorrt_rtx is"):
        TensorRTEngine(b"vtrt\0\0", open_device("emulated"))
