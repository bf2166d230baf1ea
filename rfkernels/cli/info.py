"""`rfkernels info`: what this machine has; what is in a model."""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path

from rfkernels.cli.terminal import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("model", metavar="MODEL", nargs="?", type=Path, help="an .onnx file made by `rfkernels build`")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> None:
    """Print the facts, one a line."""
    facts = machine_facts() if arguments.model is None else model_facts(arguments.model)
    if arguments.json:
        import json

        print(json.dumps(facts, indent=2))
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        print(f"{name:<{width}}  {printable(text)}")


def machine_facts() -> dict[str, object]:
    """Versions, the CPU, and what the native ops and the engine make of it."""
    import rfkernels
    from rfkernels import ops
    from rfkernels.engines.openvino import runtime_facts, supported_precisions

    runtime = runtime_facts()
    return {
        "rfkernels": rfkernels.__version__,
        "python": platform.python_version(),
        "cpu": runtime["cpu"],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "instruction sets": ops.supported_instruction_sets(),
        "in use": ops.active_instruction_set(),
        "openvino": runtime["openvino"],
        "precisions": list(supported_precisions()),
    }


def model_facts(path: Path) -> dict[str, object]:
    """What `rfkernels build` wrote into the file."""
    from rfkernels.model_metadata import read_model_metadata

    metadata = read_model_metadata(path)
    facts: dict[str, object] = {"file": path.name, "bytes": path.stat().st_size}
    facts.update(metadata.to_dict())
    return facts
