"""The onnx package, imported only when a graph is read or written: serving a model does not need it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from rfkernels.errors import RfkernelsError

if TYPE_CHECKING:
    from types import ModuleType


def require_onnx(submodule: str | None = None) -> ModuleType:
    """Import `onnx` or one of its submodules.

    Raises:
        RfkernelsError: onnx is not installed; the message says how to install it.
    """
    name = "onnx" if submodule is None else f"onnx.{submodule}"
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RfkernelsError(
            f"building a model needs the onnx package, which could not be imported ({error}): "
            'run pip install "onnx>=1.17", or install rfkernels with its extra "build"'
        ) from error
