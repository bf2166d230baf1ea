"""A Python module with CUDA in it loads on a machine without a driver, runs there on the CPU, and says that there is no
GPU. With one, it opens it. `python check_cuda_module.py FOLDER`, which holds the compiled module.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

import numpy as np


def load_native(folder: Path) -> object:
    """The compiled module of a folder, in place of the one that is installed."""
    name = "rfkernels._native"
    (path,) = folder.glob("_native*.so")
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    sys.modules[name] = module
    return module


def main() -> None:
    """Load, draw a picture on the CPU, open a GPU."""
    native = load_native(Path(sys.argv[1]))
    ops = importlib.import_module("rfkernels.ops")
    errors = importlib.import_module("rfkernels.errors")
    device = importlib.import_module("rfkernels.device")
    definition = importlib.import_module("rfkernels.reference.preprocess")
    assert importlib.import_module("rfkernels.ops.preprocess")._native is native
    image = np.random.default_rng(0).integers(0, 256, (45, 67, 3), dtype=np.uint8)
    placement = ops.plan_placement(45, 67, size=(64, 64))
    drawn = ops.preprocess([image], [placement], size=(64, 64))
    assert np.array_equal(drawn, definition.preprocess([image], [placement], size=(64, 64)))
    try:
        print(device.open_device("cuda"))
    except errors.UnavailableError as error:
        if "there is no CUDA device" not in str(error):
            raise
        print(error)


main()
