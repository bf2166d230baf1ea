"""docs/interop.md: what it says of the emulated device is run, and what it shows is what comes out."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

import rfkernels
from rfkernels.ops import on_device

pytestmark = pytest.mark.emulated

DOCUMENT = (Path(__file__).parents[2] / "docs" / "interop.md").read_text(encoding="utf-8")
SECTIONS = re.findall(r"^## ([^\n]+, on the emulated device)\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_what_the_document_says_of_the_emulated_device(small_model_path, tmp_path, monkeypatch):
    from rfkernels.device import open_device

    assert [name.split(",")[0] for name, _ in SECTIONS] == ["NumPy", "Ops", "Models"]
    monkeypatch.chdir(tmp_path)
    PillowImage.new("RGB", (64, 48)).save("picture.jpg")
    monkeypatch.setattr(rfkernels, "load", _loading_once(rfkernels.load))
    names: dict[str, Any] = {"path": small_model_path}
    shown = 0
    for _, text in SECTIONS:
        for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            lines = block.splitlines()
            for statement in ast.parse(block).body:
                source = ast.unparse(statement)
                if not isinstance(statement, ast.Expr):
                    exec(source, names)
                    continue
                value = eval(source, names)
                comment = lines[statement.end_lineno - 1][statement.end_col_offset :].strip().lstrip("# ")
                if re.match(r"[<(\d]", comment):
                    told = comment.split(";")[0]
                    assert repr(value.item() if isinstance(value, np.generic) else value) == told, source
                    shown += 1
    assert shown == 4
    names["stream"].synchronize()
    open_device("emulated").in_flight.finish()
    on_device._workspaces.clear()
    names.clear()


def _loading_once(load):
    return lambda path, **options: load(path, **options, cache_directory=False)
