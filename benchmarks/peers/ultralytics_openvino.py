"""Peer: `YOLO(...).predict` of ultralytics with its OpenVINO backend on the CPU."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rfkernels.benchmarks.peers.weights import openvino_folder, silence_peers


def available() -> bool:
    """Whether ultralytics and what its OpenVINO backend needs are installed."""
    return all(importlib.util.find_spec(name) for name in ("torch", "ultralytics", "openvino"))


def make_runner(
    weights: Path,
    threads: int,
    *,
    task: str = "detect",
    precision: str = "default",
    confidence: float = 0.25,
    iou_threshold: float = 0.7,
    max_detections: int = 300,
) -> Callable[[np.ndarray], Any]:
    """A function from a uint8 BGR [h, w, 3] image to ultralytics' `Results`, its boxes computed, and of a segmentation
    network its outlines.

    Args:
        weights: a .pt of ultralytics or a .safetensors (`benchmarks.peers.weights`).
        threads: for OpenVINO and for torch, which does the suppression.
        task: "detect", "segment" or "pose".
        precision: "default" is what a user of ultralytics gets: bf16 where the CPU has it. "fp32" adds the one setting
            for which ultralytics has no option of its own.
    """
    silence_peers()
    import torch
    from ultralytics import YOLO

    if precision not in ("default", "fp32"):
        raise ValueError(f"precision is {precision!r}: it must be 'default' or 'fp32'")
    torch.set_num_threads(threads)
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads}
    if precision == "fp32":
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    arguments = {
        "conf": confidence,
        "iou": iou_threshold,
        "max_det": max_detections,
        "device": "cpu",
        "verbose": False,
        "save": False,
    }
    with tempfile.TemporaryDirectory(prefix="rfkernels-peer-") as folder:
        model = YOLO(openvino_folder(weights, Path(folder)), task=task, verbose=False)
        with _compiled_with(settings):  # The first picture loads the backend; the files are not needed after it.
            model.predict(np.zeros((64, 64, 3), np.uint8), **arguments)

    def run(image: np.ndarray) -> Any:
        result = model.predict(image, **arguments)[0]
        if result.masks is not None:
            _ = result.masks.xy  # computed when it is asked for
        return result

    return run


@contextmanager
def _compiled_with(settings: dict[str, Any]) -> Iterator[None]:
    """Within it every OpenVINO model is compiled with these settings added to the caller's."""
    import openvino

    original = openvino.Core.compile_model

    def compile_model(self: Any, *arguments: Any, config: dict[str, Any] | None = None, **options: Any) -> Any:
        return original(self, *arguments, config={**(config or {}), **settings}, **options)

    openvino.Core.compile_model = compile_model
    try:
        yield
    finally:
        openvino.Core.compile_model = original
