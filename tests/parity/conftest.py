"""Comparisons with peers: OpenCV, torchvision, ultralytics and inference-models, each the installed package, run and
not copied.

`make parity` makes the environment (requirements*.txt beside this file) and runs this folder. Nothing here is fetched
from a network: the peers are told so before they are imported.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

_scratch = tempfile.TemporaryDirectory(prefix="rfkernels-parity-")

# Both peers read their settings when they are imported, and write folders of their own: into the scratch folder with
# them.
os.environ.update(
    YOLO_OFFLINE="1",
    YOLO_AUTOINSTALL="false",
    YOLO_VERBOSE="false",
    YOLO_CONFIG_DIR=_scratch.name,
    OFFLINE_MODE="True",
    METRICS_ENABLED="False",
    MODEL_CACHE_DIR=f"{_scratch.name}/models",
    INFERENCE_HOME=f"{_scratch.name}/models",
    MPLCONFIGDIR=_scratch.name,
)

sys.path.insert(0, str(Path(__file__).parent))
# For models.demo, which is not installed. Last, so that the installed rfkernels is the one that is tested.
sys.path.append(str(Path(__file__).parents[2]))

# In offline mode inference-models insists on being imported before ultralytics.
import inference_models  # noqa: E402, F401
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

_figures: list[str] = []


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260726)


@pytest.fixture
def figure() -> Callable[[str], None]:
    """Call it with one line: what was compared and what came out. All are printed together at the end of the run."""
    return _figures.append


@pytest.fixture(scope="session", autouse=True)
def _two_threads() -> Iterator[None]:
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    yield
    _scratch.cleanup()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _figures:
        terminalreporter.section("parity")
        for line in _figures:
            terminalreporter.write_line(line)
