"""The pydantic classes of inference-core, imported from its own files without running the rest of the server.

`import inference.core` starts a server's worth of packages (workflows, WebRTC, cloud clients). The entity files need
little of that, so the packages above them are put in place empty, with nothing but the folders they lie in.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import types
from pathlib import Path

_DISTRIBUTION = "inference-core"
_EMPTY_PACKAGES = ("inference", "inference.core", "inference.core.entities")


def available() -> bool:
    """Whether inference-core is installed."""
    try:
        importlib.metadata.distribution(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def requests_module() -> types.ModuleType:
    """`inference.core.entities.requests.inference`."""
    return _entities("inference.core.entities.requests.inference")


def responses_module() -> types.ModuleType:
    """`inference.core.entities.responses.inference`."""
    return _entities("inference.core.entities.responses.inference")


def _entities(name: str) -> types.ModuleType:
    root = Path(str(importlib.metadata.distribution(_DISTRIBUTION).locate_file("")))
    for package in (*_EMPTY_PACKAGES, name.rpartition(".")[0]):
        if package not in sys.modules:
            module = types.ModuleType(package)
            module.__path__ = [str(root.joinpath(*package.split(".")))]
            sys.modules[package] = module
    return importlib.import_module(name)
