"""The budgets of the CUDA kernels, as `rfkernels bench kernels` counts them, and its tables."""

import json

import pytest
from rfkernels.benchmarks import kernels
from rfkernels.benchmarks.kernel_cases import KernelRow, Launch
from rfkernels.benchmarks.kernel_resources import Resources, occupancies, read_resources

from rfkernels.cli.main import main
from rfkernels.errors import RfkernelsError

pytestmark = pytest.mark.emulated

MADE_UP = KernelRow("made up", (Launch("nms", 256, 128),), 1200, 1000, 30, 10, 40, 0, most_bytes=1100)

PTXAS_LOG = """
ptxas info    : Compiling entry function '_ZN9rfkernels4cuda12_GLOBAL__N_13nmsENS_17SuppressionLaunchE' for 'sm_90'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers, 25120 bytes smem, 424 bytes cmem[0]
"""


@pytest.fixture(scope="module")
def rows() -> dict[str, KernelRow]:
    return {row.case: row for row in kernels.measure()}


def test_every_case_is_within_its_budget(rows):
    assert [row.case for row in rows.values() if not row.is_within_budget] == []
    assert {case for case, row in rows.items() if row.most_bytes is not None} == {
        "letterbox 1080p -> 640 float16",
        "letterbox 1080p -> 640 float32",
        "letterbox 1080p NV12 -> 640 float16",
        "detection 80 x 8400 float32",
        "detection 80 x 33600 float32",
        "masks, 100 at 1080p, bits",
        "masks, 100 at 1080p, runs",
        "keypoints, 100 of 17, float16",
        "connected components, 16 of 256 x 256",
        "clean mask logits, 16 of 256 x 256",
    }


def test_the_letterbox_asks_for_few_sectors_and_meets_no_conflicts(rows):
    # Less than must be would mean that something is not counted.
    for case, least in (("1080p -> 640 float16", 4_531_200), ("1080p NV12 -> 640 float16", 3_840_000)):
        row = rows[f"letterbox {case}"]
        assert row.load_sectors <= 4 * row.load_requests
        assert row.bank_conflicts == 0
        assert row.moved_bytes >= least


def test_masks_are_counted_up_to_the_host(rows):
    for form, least in (("bits", 1_000_000), ("runs", 200_000)):
        row = rows[f"masks, 100 at 1080p, {form}"]
        assert least < row.host_bytes <= row.most_host_bytes == 2_000_000
        assert 1_638_400 < row.moved_bytes <= row.most_bytes == 4_000_000


def test_launches(rows):
    launches = {case: len(row.launches) for case, row in rows.items()}
    assert launches["detection 80 x 33600 float32"] == 1
    assert launches["nms of 1000"] == 1
    assert launches["connected components, 16 of 256 x 256"] == launches["clean mask logits, 16 of 256 x 256"] == 1
    # Beside the network: preprocess and detection; the masks' three; the keypoints.
    assert [launches[f"request: {task}, 320"] for task in ("detect", "segment", "pose")] == [2, 4, 3]


def test_what_requests_bring_to_the_host(rows):
    detect, segment, pose = (rows[f"request: {task}, 320"] for task in ("detect", "segment", "pose"))
    # Boxes twice, scores, classes and anchors of 300 places; the keypoints of each; the windows of masks.
    assert 300 * 44 < detect.host_bytes <= detect.most_host_bytes == 65536
    assert detect.host_bytes + 300 * 51 * 4 <= pose.host_bytes < detect.host_bytes + 300 * 51 * 4 + 1024
    assert segment.host_bytes > detect.host_bytes + 100_000


@pytest.mark.parametrize(
    ("budgets", "within"),
    [
        ({}, True),
        ({"most_bytes": 1200}, True),
        ({"most_bytes": 1199}, False),
        ({"most_host_bytes": 30}, True),
        ({"most_bytes": 5000, "most_host_bytes": 29}, False),
    ],
)
def test_what_is_within_a_budget(budgets, within):
    assert KernelRow("made up", (), 1200, 1000, 30, 10, 40, 0, **budgets).is_within_budget is within


def test_a_case_over_its_budget_is_called_so(monkeypatch, capsys):
    monkeypatch.setattr(kernels, "measure", lambda on_progress: [MADE_UP])
    main(["bench", "kernels"])
    assert "1.200x" in (text := capsys.readouterr().out)
    assert "OVER BUDGET" in text
    assert "sm_" not in text
    main(["bench", "kernels", "--json"])
    made = json.loads(capsys.readouterr().out)
    assert (made["rows"][0]["ratio"], made["rows"][0]["within_budget"], made["occupancy"]) == (1.2, False, [])


def test_occupancy_is_shown_where_ptxas_has_spoken(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(kernels, "measure", lambda on_progress: [MADE_UP])
    (tmp_path / "log").write_text(PTXAS_LOG)
    main(["bench", "kernels", "--ptxas", str(tmp_path / "log")])
    # 128 registers leave room for two blocks of 256.
    header, line = capsys.readouterr().out.splitlines()[-2:]
    assert header.split()[-4:] == ["lanes", "registers", "shared", "sm_90"]
    assert line.split() == ["nms", "256", "128", "25120", "16/64"]


def test_occupancy_is_that_of_the_variant_that_takes_most():
    resources = [Resources("draw", 90, registers, shared, 0, 0) for registers, shared in ((32, 0), (64, 0), (16, 512))]
    resources += [Resources("draw", 75, 255, 0, 0, 0), Resources("draw_all", 90, 255, 0, 0, 0)]
    (found,) = occupancies(resources, [Launch("draw<int>", 128, 0), Launch("draw", 256, 0), Launch("unknown", 1, 0)])
    assert (found.kernel, found.lanes, found.registers, found.shared_bytes) == ("draw", 256, 255, 512)
    assert found.warps == {75: 8, 90: 32}
    assert found.most_warps == {75: 32, 90: 64}


def test_ptxas_is_read():
    assert read_resources(PTXAS_LOG) == [Resources("nms", 90, 128, 25120, 0, 0)]
    # Compiled again, the last counts.
    again = PTXAS_LOG + PTXAS_LOG.replace("128", "96")
    assert read_resources(again) == [Resources("nms", 90, 96, 25120, 0, 0)]


@pytest.mark.parametrize(("text", "message"), [(None, "cannot be read"), ("nothing\n", "says nothing of kernels")])
def test_a_log_of_something_else_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "log").write_text(text)
    with pytest.raises(RfkernelsError, match=message):
        kernels.run_kernels(as_json=False, ptxas_log=tmp_path / "log")
