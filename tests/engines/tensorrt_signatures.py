"""The signatures of the real package, which the stand-in is held to: names, parameters and types, nothing else.

They are read from the docstrings that pybind11 writes. Where `tensorrt-rtx` is installed,

    python tests/engines/tensorrt_signatures.py

writes the file beside this one again; `tests/parity/test_tensorrt.py` compares it with what is installed.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

FILE = Path(__file__).with_suffix(".json")
CLASSES = ("ILogger", "Runtime", "ICudaEngine", "IRuntimeConfig", "IExecutionContext")
ENUMS = ("DataType", "TensorIOMode", "TensorLocation", "TensorFormat", "DynamicShapesKernelSpecializationStrategy")
_NAMESPACES = re.compile(r"tensorrt_rtx_bindings\.tensorrt_rtx\.|nvinfer1::(?:v_\d+_\d+::)?|collections\.abc\.")
_SIGNATURE = re.compile(r"^(?:\d+\. )?{name}\((?P<parameters>.*)\) -> (?P<result>.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Signature:
    """One overload: parameters without self as (name, type, has a default), and the type of the result."""

    parameters: tuple[tuple[str, str, bool], ...]
    result: str


def signatures_of(module: ModuleType) -> dict[str, object]:
    """The document that the file holds, read from an installed package."""
    enums = {name: getattr(module, name) for name in ENUMS} | {"Severity": module.ILogger.Severity}
    return {
        "package": module.__name__,
        "version": module.__version__,
        "methods": {name: _methods_of(getattr(module, name)) for name in CLASSES},
        "properties": {name: _properties_of(getattr(module, name)) for name in CLASSES},
        "enums": {name: sorted(enum.__members__) for name, enum in enums.items()},
    }


def load() -> dict[str, dict[str, dict[str, list[str]]]]:
    """The document."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def parse(text: str) -> Signature:
    """A signature as the file spells it: `(name: str, profile_index: int) -> Dims`."""
    parameters, _, result = text.rpartition(" -> ")
    found = []
    for parameter in _split(parameters[1:-1]):
        name, _, rest = parameter.partition(": ")
        kind, default, _ = rest.partition(" = ")
        found.append((name, kind, bool(default)))
    return Signature(tuple(found), result)


def _methods_of(kind: type) -> dict[str, list[str]]:
    methods = {}
    for name, member in sorted(vars(kind).items()):
        documented = (name == "__init__" or not name.startswith("_")) and not isinstance(member, property)
        if documented and (texts := _signatures_in(name, inspect.getdoc(member) or "")):
            methods[name] = texts
    return methods


def _properties_of(kind: type) -> list[str]:
    return sorted(name for name, member in vars(kind).items() if isinstance(member, property))


def _signatures_in(name: str, documentation: str) -> list[str]:
    texts = []
    for match in re.finditer(_SIGNATURE.pattern.replace("{name}", re.escape(name)), documentation, re.MULTILINE):
        parameters = _plain(match["parameters"])
        if parameters.startswith("*args"):
            continue  # the heading of overloads
        without_self = [one for one in _split(parameters) if not one.startswith("self: ")]
        texts.append(f"({', '.join(without_self)}) -> {_plain(match['result'])}")
    return texts


def _plain(text: str) -> str:
    text = _NAMESPACES.sub("", text).replace("typing.SupportsInt", "int").replace("typing_extensions.Buffer", "buffer")
    return re.sub(r"<([\w.]+): -?\d+>", r"\1", text)


def _split(parameters: str) -> list[str]:
    """At the commas that stand outside of brackets."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(parameters):
        depth += (character in "[(") - (character in "])")
        if character == "," and depth == 0:
            parts.append(parameters[start:position].strip())
            start = position + 1
    rest = parameters[start:].strip()
    return [*parts, rest] if rest else parts


def _write() -> None:
    document = signatures_of(importlib.import_module("tensorrt_rtx"))
    FILE.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{FILE.name}: {FILE.stat().st_size} bytes\n")


if __name__ == "__main__":
    _write()
