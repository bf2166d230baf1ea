"""Placements by chance, for tests of `preprocess` against its definition."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from rfkernels import ops
from rfkernels.reference import preprocess as definition


def draw_placement(data: Any, height: int, width: int) -> tuple[ops.Placement, definition.Placement]:
    """Some crop of an image, resized to some size and put somewhere, outside the canvas too: for op and definition."""
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    crop = {
        "x": x,
        "y": y,
        "width": data.draw(st.integers(1, width - x)),
        "height": data.draw(st.integers(1, height - y)),
    }
    rest = {
        "resized_width": data.draw(st.integers(1, 90)),
        "resized_height": data.draw(st.integers(1, 90)),
        "left": data.draw(st.integers(-100, 100)),
        "top": data.draw(st.integers(-100, 100)),
        "scale_x": 1.0,
        "scale_y": 1.0,
    }
    native = ops.Placement(crop=ops.Rectangle(**crop), **rest)
    return native, definition.Placement(crop=definition.Rectangle(**crop), **rest)
