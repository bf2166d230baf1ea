"""The budgets of the CUDA kernels, as `rfkernels bench kernels` counts them."""

import json

import pytest
from rfkernels.benchmarks import kernels

from rfkernels.cli.main import main

pytestmark = pytest.mark.emulated


@pytest.fixture(scope="module")
def rows() -> dict[str, kernels.KernelRow]:
    return {row.case: row for row in kernels.measure()}


def test_every_case_is_within_its_budget(rows):
    assert [row.case for row in rows.values() if not row.is_within_budget] == []
    # Those that have one.
    assert [case for case, row in rows.items() if row.budget is not None and row.ratio is not None] == [
        "letterbox 1080p -> 640 float16",
        "letterbox 1080p -> 640 float32",
        "detection 80 x 8400 float32",
        "detection 80 x 33600 float32",
    ]


def test_the_letterbox_asks_for_few_sectors_and_meets_no_conflicts(rows):
    row = rows["letterbox 1080p -> 640 float16"]
    assert row.load_sectors <= 4 * row.load_requests
    assert row.bank_conflicts == 0
    assert row.moved_bytes >= 4_531_200  # less would mean that something is not counted


def test_launches(rows):
    launches = {case: row.launches for case, row in rows.items()}
    assert launches["detection 80 x 33600 float32"] == 1
    # Beside the network: preprocess and detection; the masks' three; the keypoints.
    assert [launches[f"request: {task}, 320"] for task in ("detect", "segment", "pose")] == [2, 4, 3]


def test_a_case_over_its_budget_is_called_so(monkeypatch, capsys):
    row = kernels.KernelRow("made up", 1, 1200, 1000, 10, 40, 0, 1.1)
    monkeypatch.setattr(kernels, "measure", lambda on_progress: [row])
    main(["bench", "kernels"])
    assert "1.200x" in (text := capsys.readouterr().out)
    assert "OVER BUDGET" in text
    main(["bench", "kernels", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["ratio"] == 1.2
