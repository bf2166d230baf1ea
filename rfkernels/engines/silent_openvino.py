"""The `openvino` package, imported without its telemetry.

Left alone, importing it forks the process, reports the import to a statistics service on the network and leaves a user
id in the home folder. Where `openvino_telemetry` cannot be imported it uses a stand-in of its own that does nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import cast

_TELEMETRY = "openvino_telemetry"

_before = sys.modules.get(_TELEMETRY)
# None in this table is Python's way to say that a module cannot be imported.
sys.modules[_TELEMETRY] = cast("ModuleType", None)
try:
    import openvino
    from openvino import opset13 as opset
    from openvino.preprocess import PrePostProcessor
finally:
    # What the rest of the process does with it is not ours to decide.
    if _before is None:
        del sys.modules[_TELEMETRY]
    else:
        sys.modules[_TELEMETRY] = _before

__all__ = ["PrePostProcessor", "openvino", "opset"]
