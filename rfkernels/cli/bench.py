"""`rfkernels bench`: ops against their peers, the whole pipeline, what the CUDA kernels move, and what a GPU takes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from rfkernels.cli.terminal import progress_bar
from rfkernels.errors import InvalidArgumentError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument(
        "what",
        choices=("ops", "pipeline", "kernels", "gpu"),
        help="the ops one by one, image to response, what the CUDA kernels move, or times on a GPU",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--repeats",
        type=int,
        default=200,
        help="timed calls of each (default: 200); the pipeline rounds up to blocks of 20",
    )
    parser.add_argument("--threads", type=int, default=2, help="pipeline: CPU threads of each engine (default: 2)")
    parser.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto", help="pipeline: of our engine (default: auto)"
    )
    parser.add_argument(
        "--scale", choices=("n", "s", "m", "l", "x"), default="n", help="pipeline: which YOLOv8 (default: n)"
    )
    parser.add_argument(
        "--task",
        choices=("detect", "segment", "pose"),
        help="pipeline: with masks or keypoints (default: detect)",
    )
    parser.add_argument("--imgsz", type=int, default=640, help="pipeline: side of the network's input (default: 640)")
    parser.add_argument(
        "--ptxas", type=Path, metavar="LOG", help="kernels: what nvcc said of them; adds how full they make a GPU"
    )
    parser.add_argument(
        "--device", choices=("cuda", "emulated"), help="gpu: where (default: cuda); emulated runs all and times nothing"
    )
    parser.add_argument(
        "--model", type=Path, metavar="MODEL", help="pipeline: a model of yours; no peers are timed then"
    )


def run(arguments: argparse.Namespace) -> None:
    """Time, print."""
    if arguments.repeats < 1:
        raise InvalidArgumentError(f"--repeats is {arguments.repeats}; give 1 or more")
    with progress_bar(auto_refresh=False) as bar:
        task = bar.add_task(arguments.what)

        def on_progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, refresh=True)

        report = _measure(arguments, on_progress)
    print(report)


def _measure(arguments: argparse.Namespace, on_progress: Callable[[int, int], None]) -> str:
    if arguments.ptxas is not None and arguments.what != "kernels":
        raise InvalidArgumentError(f"--ptxas is {arguments.ptxas}, which `bench kernels` alone takes; leave it out")
    if arguments.device is not None and arguments.what != "gpu":
        raise InvalidArgumentError(f"--device is {arguments.device}, which `bench gpu` alone takes; leave it out")
    if arguments.what == "ops":
        from rfkernels.benchmarks.ops import run_all

        return run_all(repeats=arguments.repeats, as_json=arguments.json, on_progress=on_progress)
    if arguments.what == "kernels":
        from rfkernels.benchmarks.kernels import run_kernels

        return run_kernels(as_json=arguments.json, ptxas_log=arguments.ptxas, on_progress=on_progress)
    if arguments.what == "gpu":
        from rfkernels.benchmarks.gpu import run_gpu

        return run_gpu(
            device_name=arguments.device or "cuda",
            repeats=arguments.repeats,
            as_json=arguments.json,
            on_progress=on_progress,
        )
    if arguments.model is not None and arguments.task is not None:
        raise InvalidArgumentError(f"--task is {arguments.task}, and --model is of one task already; give one of them")
    from rfkernels.benchmarks.pipeline import run_pipeline

    return run_pipeline(
        repeats=arguments.repeats,
        threads=arguments.threads,
        precision=arguments.precision,
        scale=arguments.scale,
        image_size=arguments.imgsz,
        task=arguments.task or "detect",
        model_path=arguments.model,
        as_json=arguments.json,
        on_progress=on_progress,
    )
