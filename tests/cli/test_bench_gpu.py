"""`rfkernels bench gpu`, where there is no GPU: it runs, times nothing and says so."""

import json

import pytest
from rfkernels.benchmarks import gpu, gpu_requests
from rfkernels.benchmarks.gpu import OpTimes
from rfkernels.benchmarks.gpu_requests import RequestTimes
from rfkernels.benchmarks.kernel_cases import CASES

from rfkernels.cli.main import main
from rfkernels.device import open_device

pytestmark = pytest.mark.emulated


def test_the_emulated_device_runs_all_and_times_nothing(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "CASES", CASES[:1])
    monkeypatch.setattr(gpu_requests, "_TASKS", ("detect",))
    main(["bench", "gpu", "--device", "emulated", "--json"])
    made = json.loads(capsys.readouterr().out)
    assert made["copy_gigabytes_per_second"] is None
    (op,) = made["ops"]
    assert (op["case"], op["in_graph"], op["called"], op["floor"]) == (
        "letterbox 1080p -> 640 float16",
        None,
        None,
        None,
    )
    request = made["requests"][0]
    assert request["case"] == "yolov8n-320 detect, 1080p, OpenVINO"
    assert (request["median"], request["network"], request["note"]) == (None, None, "ran")


def test_the_tables():
    ops = [OpTimes("an op", 2.0, 9.5, 1.5, {"torch": 30.04, "other": None}), OpTimes("another", None, None, None, {})]
    requests = [RequestTimes("a request", 1.25, 2.5, 1.0), RequestTimes("one more", None, None, None, "no plan")]
    device = open_device("emulated")
    lines = gpu._lines(device, 3_000_000.0, ops, requests)
    assert "3000 GB/s" in lines[1]
    assert lines[4].split() == ["an", "op", "2.00", "75", "%", "9.5", "torch", "30.0,", "other", "ran"]
    assert lines[5].split() == ["another", "-", "-", "-"]
    assert lines[8].split() == ["a", "request", "1.250", "2.500", "1.000"]
    assert lines[9].split() == ["one", "more", "-", "-", "-", "no", "plan"]
    assert "nothing was timed" in gpu._lines(device, None, ops, requests)[1]


def test_inputs_rotate_and_medians_are_taken_in_turns(monkeypatch):
    order = []
    clock = iter(range(0, 10**9, 500))
    monkeypatch.setattr(gpu.time, "perf_counter_ns", lambda: next(clock))
    medians = gpu._medians([lambda: order.append("a"), lambda: order.append("b")], 2)
    assert medians == [0.5, 0.5]
    assert order == ["a", "b"] * 5  # three of them to warm up
    calls = []
    peer = gpu.Peer("torch", [lambda: calls.append(0), lambda: calls.append(1)], lambda: calls.append("wait"))
    gpu._in_turns(peer, 3)()
    assert calls == [0, 1, 0, "wait"]


@pytest.mark.parametrize(("argument", "value"), [("--device", "cuda"), ("--ptxas", "log")])
def test_options_of_other_benchmarks_are_refused(capsys, argument, value):
    assert main(["bench", "ops", argument, value]) == 2
    assert f"{argument} is {value}" in capsys.readouterr().err
