"""What masks of a large image take of memory: a dense mask is 12 MB there, and 300 of them are more than most have."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MEGABYTE = 1e6
LIMIT = 200 * MEGABYTE
# Beside the answer, which is there twice for a moment where its memory grows.
WORKING_MEMORY = 30 * MEGABYTE
# In a process of its own, whose peak nothing else has set.
PROGRAM = """
import json, pathlib, sys
import numpy as np
from rfkernels import ops

def memory(name):
    text = pathlib.Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith(name + ":")).split()[1]) * 1024

form, convention, side = sys.argv[1:]
rng = np.random.default_rng(20240607)
image_size, network_size, count = (3000, 4000), (640, 640), 300
# Squares of one value: large, or each prototype pixel for itself, which gives the most points and runs.
coarse = rng.standard_normal((32, 160 // int(side), 160 // int(side))).astype(np.float32)
prototypes = coarse.repeat(int(side), axis=1).repeat(int(side), axis=2)[None]
coefficients = (rng.standard_normal((count, 32)) / 32**0.5).astype(np.float32)
corners = rng.uniform(0, 120, (count, 2)), rng.uniform(520, 640, (count, 2))
boxes = np.concatenate(corners, axis=1).astype(np.float32)
placement = ops.plan_placement(*image_size, size=network_size)
grid = ops.plan_mask_grid(
    placement, image_size=image_size, network_size=network_size, prototype_size=(160, 160), convention=convention
)
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = memory("VmRSS")
compute = {"polygon": ops.masks_to_polygons, "rle": ops.masks_to_rle}[form]
found = compute(prototypes, coefficients, boxes, grid)
taken = memory("VmHWM") - before
size = found.points.nbytes if form == "polygon" else sum(map(len, found.counts))
print(json.dumps({"taken": taken, "size": size, "areas": int(found.areas.min()), "grid": [grid.height, grid.width]}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("convention", ["v2", "ultralytics_native"])
@pytest.mark.parametrize("form", ["polygon", "rle"])
@pytest.mark.parametrize("side", [8, 1])
def test_300_masks_of_12_megapixels(form, convention, side, tmp_path):
    command = [sys.executable, "-c", PROGRAM, form, convention, str(side)]
    # Elsewhere than in the repository, whose own rfkernels folder has no native module.
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    figures = json.loads(ran.stdout)
    assert figures["grid"] == [3000, 4000]
    assert figures["areas"] > 1_000_000
    taken, size = figures["taken"], figures["size"]
    print(f"{form}, {convention}, squares of {side}: {taken / MEGABYTE:.1f} MB, answer {size / MEGABYTE:.1f} MB")
    assert size < taken < 2 * size + WORKING_MEMORY
    # Also masks of noise, which have hundreds of times the points of any object.
    assert taken < LIMIT
