"""The supervision package and the font of its labels, imported only when a picture is drawn."""

from __future__ import annotations

import functools
import importlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from rfkernels.errors import RfkernelsError

if TYPE_CHECKING:
    from types import ModuleType


@functools.cache
def require_supervision() -> ModuleType:
    """Import `supervision`, which takes a second or two the first time.

    Raises:
        RfkernelsError: it is not installed; the message says how to install it.
    """
    return _imported("supervision")


def label_font() -> str:
    """The path of DejaVu Sans, which comes with matplotlib and so with supervision.

    It has Latin, Greek, Cyrillic, Arabic, Hebrew and more letters, where Pillow's own font has ASCII. Chinese, Japanese
    and Korean are in neither: boxes stand in their place.
    """
    return str(Path(_imported("matplotlib").get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


def _imported(name: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            # Without OpenCV it draws with Pillow and NumPy, which is meant to be so, and warns of it when imported.
            warnings.filterwarnings("ignore", message="OpenCV", category=UserWarning)
            return importlib.import_module(name)
    except ImportError as error:
        raise RfkernelsError(
            f"drawing a picture needs the {name} package, which could not be imported ({error}): "
            'run pip install "rfkernels[pictures]"'
        ) from error
