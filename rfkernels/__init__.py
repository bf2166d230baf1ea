"""Vision inference kernels and engines with the requests and responses of Roboflow's V2 API.

`rfkernels.load` gives a model that answers; `rfkernels.ops` holds the kernels on their own; `rfkernels.schema` the wire
types; `rfkernels.builder` makes model files and is not needed to run them.
"""

from __future__ import annotations

import importlib
from importlib.metadata import distribution, version
from pathlib import Path
from typing import TYPE_CHECKING

from rfkernels.errors import (
    CheckpointError,
    DeviceError,
    EngineError,
    InputImageLoadError,
    InvalidArgumentError,
    InvalidMaskDecodeArgumentError,
    ModelFileError,
    RfkernelsError,
    UnavailableError,
)

if TYPE_CHECKING:
    from rfkernels import builder, ops, schema
    from rfkernels.images import ImageOptions
    from rfkernels.tasks.loading import load

# Python started in a clone finds the source folder before the installed package, but not what installing adds to it.
# `models` and `benchmarks` then come from the clone too, and the compiled module from where it is installed.
if not (Path(__file__).parent / "models").is_dir():
    __path__ += [str(Path(__file__).parents[1]), str(distribution("rfkernels").locate_file("rfkernels"))]

__version__ = version("rfkernels")

__all__ = [
    "CheckpointError",
    "DeviceError",
    "EngineError",
    "ImageOptions",
    "InputImageLoadError",
    "InvalidArgumentError",
    "InvalidMaskDecodeArgumentError",
    "ModelFileError",
    "RfkernelsError",
    "UnavailableError",
    "__version__",
    "builder",
    "load",
    "ops",
    "schema",
]

# Imported when first used: someone who wants one kernel does not wait for an inference runtime to start.
_LAZY = {"load": "rfkernels.tasks.loading", "ImageOptions": "rfkernels.images"}
_LAZY_MODULES = ("builder", "ops", "schema")


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> object:
    if name in _LAZY_MODULES:
        return importlib.import_module(f"rfkernels.{name}")
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'rfkernels' has no attribute {name!r}")
