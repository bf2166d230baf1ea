"""A Python module with CUDA in it loads on a machine without a driver, runs there on the CPU, and says that there is no
GPU. With one, it opens it. `python check_cuda_module.py FOLDER`, which holds the compiled module.
"""

import importlib.util
import sys
from pathlib import Path

NAME = "rfkernels._native"

(path,) = Path(sys.argv[1]).glob("_native*.so")
specification = importlib.util.spec_from_file_location(NAME, path)
module = importlib.util.module_from_spec(specification)
specification.loader.exec_module(module)
# In place of the one that is installed.
sys.modules[NAME] = module

import numpy as np

from rfkernels import ops
from rfkernels.device import open_device
from rfkernels.errors import UnavailableError
from rfkernels.reference import preprocess as definition

assert ops.preprocess_into.__globals__["_native"] is module
image = np.random.default_rng(0).integers(0, 256, (45, 67, 3), dtype=np.uint8)
placement = ops.plan_placement(45, 67, size=(64, 64))
drawn = ops.preprocess([image], [placement], size=(64, 64))
wanted = definition.preprocess([image], [placement], size=(64, 64))
assert np.array_equal(drawn, wanted)
try:
    print(open_device("cuda"))
except UnavailableError as error:
    assert "there is no CUDA device" in str(error), error
    print(error)
