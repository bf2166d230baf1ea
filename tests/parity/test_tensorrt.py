"""The TensorRT engine with the real TensorRT-RTX, which builds plans and refuses to run them where there is no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType

import pytest
import tensorrt_rtx
import tensorrt_signatures

from rfkernels.engines import TensorRTEngine
from rfkernels.engines.tensorrt_runtime import import_runtime, log_of, read_plan, runtime_name_of
from rfkernels.errors import EngineError, RfkernelsError

pytestmark = pytest.mark.emulated

_LOADING = """
import sys, types
from rfkernels.device import open_device
from rfkernels.engines import TensorRTEngine
from rfkernels.engines.tensorrt_runtime import import_runtime
from rfkernels.errors import RfkernelsError

module = types.ModuleType("tensorrt_rtx")
module.__dict__.update(vars(import_runtime("tensorrt_rtx")), DEVICE_KIND="emulated")
for load in (lambda: open_device("cuda"), lambda: TensorRTEngine(sys.argv[1], open_device("emulated"), module)):
    try:
        load()
    except RfkernelsError as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def module() -> ModuleType:
    """The package, which claims to run on the emulated device, so that no GPU is asked for before the plan is read."""
    copied = ModuleType("tensorrt_rtx")
    copied.__dict__.update(vars(import_runtime("tensorrt_rtx")), DEVICE_KIND="emulated")
    return copied


@pytest.fixture(scope="module")
def plan() -> bytes:
    """y = x * x on a batch of 1 to 8, for compute capability 8.0."""
    builder = tensorrt_rtx.Builder(log_of(tensorrt_rtx).logger)
    network = builder.create_network(0)
    x = network.add_input("x", tensorrt_rtx.float32, (-1, 3, 4, 5))
    y = network.add_elementwise(x, x, tensorrt_rtx.ElementWiseOperation.PROD).get_output(0)
    y.name = "y"
    network.mark_output(y)
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(tensorrt_rtx.ComputeCapability.SM80, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("x", (1, 3, 4, 5), (2, 3, 4, 5), (8, 3, 4, 5))
    config.add_optimization_profile(profile)
    return bytes(builder.build_serialized_network(network, config))


def test_the_stand_in_is_held_to_the_signatures_of_the_package():
    installed = tensorrt_signatures.signatures_of(tensorrt_rtx)
    kept = tensorrt_signatures.load()
    if installed["version"] == kept["version"]:
        assert installed == kept
    # Another release may have more of them.
    for kind, methods in kept["methods"].items():
        for name, overloads in methods.items():
            assert set(overloads) <= set(installed["methods"][kind].get(name, [])), f"{kind}.{name}"
    for part in ("properties", "enums"):
        for kind, names in kept[part].items():
            assert set(names) <= set(installed[part][kind]), kind


def test_a_plan_is_recognised(plan):
    assert runtime_name_of(read_plan(plan)[0]) == "tensorrt_rtx"
    assert read_plan(plan)[1] == {}


def test_without_a_gpu_the_error_says_so(plan, tmp_path):
    path = tmp_path / "square.plan"
    path.write_bytes(plan)
    # In a process that sees no GPU, whatever this machine has.
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    run = subprocess.run(
        [sys.executable, "-c", _LOADING, str(path)], env=environment, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    of_the_device, of_the_plan = run.stdout.splitlines()
    assert of_the_device.startswith("UnavailableError")
    assert of_the_plan.startswith("UnavailableError tensorrt_rtx 1.")
    assert (
        f"deserialize_cuda_engine of square.plan ({len(plan)} bytes) failed: there is no NVIDIA driver" in of_the_plan
    )


@pytest.mark.parametrize(
    ("damage", "advice"),
    [
        (lambda plan: plan[:-100], "the plan is cut short or damaged"),
        (lambda plan: plan[:20], "the plan is cut short or damaged|this is no plan of tensorrt_rtx"),
        (lambda plan: bytes(1000), "this is no plan of tensorrt_rtx"),
        (lambda plan: b"ftrt" + plan[4:], "this is no plan of tensorrt_rtx"),
    ],
)
def test_plans_that_are_none(plan, device, module, damage, advice):
    with pytest.raises(EngineError, match=advice):
        TensorRTEngine(damage(plan), device, module)


def test_the_logger_takes_what_the_builder_says(plan):
    log = log_of(tensorrt_rtx)
    with log.lines() as lines, pytest.raises(RfkernelsError, match="deserialize"):
        log.call("deserialize", tensorrt_rtx.Runtime(log.logger).deserialize_cuda_engine, b"")
    assert lines == []  # the inner call's
