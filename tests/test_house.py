"""Who may import whom: the arrows of CONTRIBUTING.md, read from the imports of every file."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Room: the rooms it may import. What stands outside the rooms in rfkernels/ is a room of its own.
FOUNDATION = {"errors"}
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "model_metadata": FOUNDATION,
    "array_protocols": FOUNDATION,
    "in_flight": FOUNDATION | {"_native"},
    "device": FOUNDATION | {"_native", "array_protocols", "in_flight"},
    "device_blocks": FOUNDATION | {"array_protocols", "device"},
    "interop": FOUNDATION | {"_native", "array_protocols", "device"},
    "schema": FOUNDATION,
    "images": FOUNDATION,
    "reference": set(),
    "ops": FOUNDATION | {"_native", "array_protocols", "device", "device_blocks", "interop"},
    "engines": FOUNDATION | {"_native", "device"},
    "models": FOUNDATION,
    "builder": FOUNDATION | {"model_metadata", "models"},
    "tasks": FOUNDATION
    | {"model_metadata", "schema", "images", "ops", "engines", "device", "device_blocks", "interop"},
    # The door to everything, the kernels apart.
    "cli": FOUNDATION | {"model_metadata", "schema", "images", "ops", "engines", "tasks", "builder", "benchmarks"},
    "__main__": {"cli"},
    # A definition is the peer of an op that no library has.
    "benchmarks": FOUNDATION
    | {"model_metadata", "schema", "images", "ops", "engines", "tasks", "builder", "models", "reference", "device"}
    | {"device_blocks"}
    # What the emulated device counts.
    | {"_native"},
}
# Packages besides the standard library that a room may name, outside of blocks for type checkers.
OUTSIDE: dict[str, set[str]] = {
    "errors": set(),
    "model_metadata": set(),
    "array_protocols": {"numpy"},
    "in_flight": set(),
    "device": {"numpy"},
    "device_blocks": {"numpy"},
    "interop": set(),
    "schema": {"msgspec"},
    "images": {"numpy", "PIL", "simplejpeg"},
    "reference": {"numpy"},
    "ops": {"numpy"},
    "engines": {"numpy", "openvino"},
    "models": {"numpy"},
    "builder": {"numpy"},
    "tasks": {"numpy", "PIL"},
    "cli": {"msgspec", "rich"},
}
KNOWN_PACKAGES = {
    "PIL",
    "cv2",
    "matplotlib",
    "msgspec",
    "numpy",
    "onnx",
    "openvino",
    "rich",
    "safetensors",
    "simplejpeg",
    "supervision",
    "torch",
}


def files_of(room: str) -> list[Path]:
    single = ROOT / "rfkernels" / f"{room}.py"
    if single.exists():
        return [single]
    folder = ROOT / room if room in ("models", "benchmarks") else ROOT / "rfkernels" / room
    # The demo's training is run from the repository and not installed.
    return sorted(path for path in folder.rglob("*.py") if "demo" not in path.parts)


def imported_modules(path: Path) -> set[str]:
    """Full names of all that a file imports, wherever in it, but for type checkers."""
    found = set()
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        pending += ast.iter_child_nodes(node)
    return found


def test_every_room_has_its_arrows():
    rooms = {
        path.stem for path in (ROOT / "rfkernels").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms - {"__init__"} | {"models", "benchmarks"} == set(ARROWS)


@pytest.mark.parametrize("room", ARROWS)
def test_arrows_point_one_way(room):
    files = files_of(room)
    assert files
    for path in files:
        for module in imported_modules(path):
            parts = module.split(".")
            if parts[0] == "rfkernels" and len(parts) > 1 and parts[1] not in ("__version__", room):
                assert parts[1] in ARROWS[room], f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("room", OUTSIDE)
def test_rooms_name_only_their_own_packages(room):
    for path in files_of(room):
        named = {module.split(".")[0] for module in imported_modules(path)} & KNOWN_PACKAGES
        assert named <= OUTSIDE[room], f"{path.relative_to(ROOT)} imports {sorted(named - OUTSIDE[room])}"


def test_python_started_in_a_clone_finds_the_installed_parts():
    program = (
        "import numpy, rfkernels, rfkernels.benchmarks.ops, rfkernels.models\n"
        "rfkernels.ops.letterbox(numpy.zeros((4, 4, 3), numpy.uint8), size=(8, 8))\n"
        "for module in (rfkernels, rfkernels.models, rfkernels.benchmarks): print(module.__file__)"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [str(ROOT / room / "__init__.py") for room in ("rfkernels", "models", "benchmarks")]


def test_no_two_files_of_tests_have_one_name():
    # pytest imports those that are collected together by their names alone, and collects nothing where two are equal.
    # `make test` leaves parity out, `make parity` the others.
    parity = ROOT / "tests" / "parity"
    names = [path.name for path in sorted((ROOT / "tests").rglob("test_*.py")) if parity not in path.parents]
    assert sorted({name for name in names if names.count(name) > 1}) == []
