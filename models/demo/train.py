"""Train the demo models: python -m models.demo.train

Draws the pictures, trains YOLOv8n on them from random weights, and writes float16 weights and their held-out precision.
One network learns all tasks asked for; each of the files holds what one task needs of it.
Needs the `train` extra. A checkpoint after every epoch allows stopping at any time; --resume goes on from it.
"""

import argparse
import copy
import json
import math
import os
import platform
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from models.demo import shapes
from models.demo.dataset import HELD_OUT_SEED, Picture, batches, draw_pictures
from models.demo.evaluate import KEYPOINT_SIGMA, mean_average_precision
from models.demo.export import read_weights, write_weights
from models.demo.losses import Losses, all_losses
from models.demo.network import Task, Yolov8

EPOCHS_PER_DRAWING = 2  # drawing is a third of an epoch's work; two looks do not learn a picture by heart
EPOCHS_PER_EVALUATION = 4
# The first epochs see smaller pictures: half of the work, and what is learnt there carries over.
IMAGE_SIZE, EARLY_IMAGE_SIZE, EARLY_SHARE = 320, 224, 0.6
HELD_OUT_IMAGES = 200
WARM_UP_STEPS = 120
LEARNING_RATE, LAST_LEARNING_RATE = 2e-3, 2e-5
WEIGHT_DECAY = 0.01
LARGEST_GRADIENT = 10.0
FILE_NAMES: dict[Task, str] = {
    "detect": "yolov8n-shapes-320.safetensors",
    "segment": "yolov8n-seg-shapes-320.safetensors",
    "pose": "yolov8n-pose-shapes-320.safetensors",
}


class Average:
    """The exponential moving average of a model's weights and BatchNorm statistics."""

    def __init__(self, model: Yolov8, decay: float = 0.998) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    def update(self, model: Yolov8) -> None:
        self.steps += 1
        decay = self.decay * (1 - math.exp(-self.steps / 300))  # the first weights are random: forget them fast
        current = model.state_dict()
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point():
                tensor.lerp_(current[name].detach(), 1 - decay)
            else:
                tensor.copy_(current[name])


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to the last rate."""
    if step < WARM_UP_STEPS:
        return LEARNING_RATE * (step + 1) / WARM_UP_STEPS
    share = (step - WARM_UP_STEPS) / max(steps - WARM_UP_STEPS, 1)
    return LAST_LEARNING_RATE + 0.5 * (LEARNING_RATE - LAST_LEARNING_RATE) * (1 + math.cos(math.pi * share))


def make_optimizer(model: Yolov8) -> torch.optim.Optimizer:
    """AdamW; biases and BatchNorm parameters are not decayed."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if parameter.ndim > 1]
    free = [parameter for parameter in trained if parameter.ndim <= 1]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": free, "weight_decay": 0.0}])


def train_epoch(
    model: DistributedDataParallel,
    average: Average,
    optimizer: torch.optim.Optimizer,
    pictures: list[Picture],
    *,
    epoch: int,
    rank: int,
    arguments: argparse.Namespace,
) -> dict[str, float]:
    """One pass of this process over its pictures; the mean of each loss."""
    model.train()
    head = model.module.head
    per_epoch = math.ceil(len(pictures) / arguments.batch)
    sums = np.zeros(len(Losses._fields))
    generator = np.random.default_rng([arguments.seed, 7, epoch, rank])
    bar = tqdm(total=per_epoch, desc=f"epoch {epoch + 1}/{arguments.epochs}", disable=rank > 0)
    for index, (images, targets) in enumerate(batches(pictures, arguments.batch, generator)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(epoch * per_epoch + index, arguments.epochs * per_epoch)
        with torch.autocast(arguments.device, torch.bfloat16, enabled=arguments.precision == "bfloat16"):
            raw = model(images)
        losses = all_losses(raw, targets, head)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward([torch.stack(losses).sum()])
        nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        if rank == 0:
            average.update(model.module)
        sums += [loss.item() for loss in losses]
        bar.set_postfix(box=f"{sums[0] / (index + 1):.2f}", cls=f"{sums[1] / (index + 1):.2f}", refresh=False)
        bar.update()
    bar.close()
    return dict(zip(Losses._fields, (sums / per_epoch).round(4).tolist(), strict=True))


def train(rank: int, arguments: argparse.Namespace, rendezvous: str) -> None:
    """Train as one of `arguments.processes` processes; the first also averages, checkpoints, evaluates and exports.

    Every process has one thread and its own share of the pictures; gradients are averaged after each step. That is
    faster than one process with as many threads, and far faster on a machine that has other work: convolution kernels
    wait for their threads in a busy loop, processes wait for each other asleep. A GPU takes one process.
    """
    torch.set_num_threads(1 if arguments.device == "cpu" else os.cpu_count() or 1)  # beside a GPU: for the evaluation
    torch.set_default_device(arguments.device)
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=arguments.processes)
    torch.manual_seed(arguments.seed)
    plain = Yolov8(len(shapes.CLASS_NAMES), tasks=arguments.tasks, keypoint_count=len(shapes.KEYPOINT_NAMES))
    plain.head.start_from_priors(image_size=IMAGE_SIZE)
    plain = plain.to(memory_format=torch.channels_last)  # several times faster than the default in bfloat16 on a CPU
    average, optimizer = Average(plain), make_optimizer(plain)
    checkpoint_path = arguments.folder / "training.checkpoint.pt"
    history: list[dict[str, Any]] = []
    if arguments.resume:
        checkpoint = torch.load(checkpoint_path, weights_only=True, map_location=arguments.device)
        plain.load_state_dict(checkpoint["model"])
        average.model.load_state_dict(checkpoint["average"])
        average.steps = checkpoint["average_steps"]
        optimizer.load_state_dict(checkpoint["optimizer"])
        history = checkpoint["history"]
    model = DistributedDataParallel(plain, broadcast_buffers=False)  # BatchNorm statistics: those of the first process

    indices = range(rank, arguments.train_images, arguments.processes)
    pictures: list[Picture] = []
    for epoch in range(len(history), arguments.epochs):
        started = time.monotonic()
        size = EARLY_IMAGE_SIZE if epoch < EARLY_SHARE * arguments.epochs else IMAGE_SIZE
        if epoch % EPOCHS_PER_DRAWING == 0 or not pictures or pictures[0].image.shape[0] != size:
            drawing = epoch // EPOCHS_PER_DRAWING
            pictures = draw_pictures(
                arguments.seed,
                "train",
                drawing,
                indices,
                size=size,
                processes=arguments.drawing_processes,
                show_progress=rank == 0,
            )
        losses = train_epoch(model, average, optimizer, pictures, epoch=epoch, rank=rank, arguments=arguments)
        row = {"epoch": epoch + 1, "image_size": size, **losses}
        if rank == 0:
            if (epoch + 1) % EPOCHS_PER_EVALUATION == 0:
                scores = evaluated(average.model, getattr(torch, arguments.precision))
                row |= {f"{kind}_map50": figures["map50"] for kind, figures in scores.items()}
            history.append(row | {"seconds": round(time.monotonic() - started, 1)})
            tqdm.write(json.dumps(history[-1]))
            state = {"model": plain.state_dict(), "average": average.model.state_dict(), "average_steps": average.steps}
            partial = checkpoint_path.with_suffix(".partial")
            torch.save({**state, "optimizer": optimizer.state_dict(), "history": history}, partial)
            partial.replace(checkpoint_path)
    if rank == 0:
        finish(average.model, history, arguments)
    distributed.destroy_process_group()


@cache
def held_out_pictures() -> list[Picture]:
    """The pictures that every figure of precision is measured on."""
    return draw_pictures(HELD_OUT_SEED, "held_out", 0, range(HELD_OUT_IMAGES))


def evaluated(model: Yolov8, precision: torch.dtype = torch.float32) -> dict[str, dict[str, Any]]:
    """The held-out precision of a model, computed on the CPU wherever the model is."""
    with torch.device("cpu"):
        return mean_average_precision(copy.deepcopy(model).to("cpu"), held_out_pictures(), precision)


def finish(model: Yolov8, history: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Write the weights of every task, evaluate the files that were written, and write the figures beside them."""
    held_out = held_out_pictures()
    model = copy.deepcopy(model).to("cpu")
    trained = evaluated(model)
    shipped: dict[str, Any] = {}
    for task in arguments.tasks:
        kinds = ["bbox", *{"segment": ["segm"], "pose": ["keypoints"]}.get(task, [])]
        figures = ", ".join(f"{kind} AP50 {trained[kind]['map50']:.3f}" for kind in kinds)
        training = (
            f"seed {arguments.seed}, {len(history)} epochs of {arguments.train_images} drawn pictures, "
            f"tasks {'+'.join(arguments.tasks)}, held out: {figures} on {len(held_out)} pictures"
        )
        path = arguments.folder / FILE_NAMES[task]
        write_weights(model, task, path, training=training)
        with torch.device("cpu"):
            shipped[task] = evaluated(read_weights(path))
    report = {
        "held_out_pictures": len(held_out),
        "held_out_instances": sum(len(picture.class_ids) for picture in held_out),
        "shipped_float16": shipped,
        "trained_float32": trained,
        "keypoint_sigma": KEYPOINT_SIGMA,
        "tasks": arguments.tasks,
        "seed": arguments.seed,
        "epochs": len(history),
        "train_pictures_per_epoch": arguments.train_images,
        "seconds": round(sum(row["seconds"] for row in history)),
        "processes": arguments.processes,
        "precision": arguments.precision,
        "torch": torch.__version__,
        "processor": processor_name(arguments.device),
        "history": history,
    }
    (arguments.folder / "held_out_map.json").write_text(json.dumps(report, indent=2) + "\n")
    tqdm.write(json.dumps(report["shipped_float16"]))


def processor_name(device: str) -> str:
    """What the network was trained on, for the record."""
    return torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tasks", choices=tuple(FILE_NAMES), nargs="+", default=list(FILE_NAMES), help="what is learnt"
    )
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="where the files go")
    parser.add_argument("--evaluate", type=Path, metavar="WEIGHTS", help="only print these weights' held-out precision")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--train-images", type=int, default=1250, help="pictures in an epoch")
    parser.add_argument("--batch", type=int, default=8, help="pictures a step and process")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2, help="one thread each; part of what the result depends on")
    parser.add_argument("--drawing-processes", type=int, default=1, help="that draw pictures for each of the processes")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --folder")
    arguments = parser.parse_args()
    if arguments.train_images % arguments.processes:
        parser.error(f"--train-images {arguments.train_images} must be a multiple of --processes {arguments.processes}")
    if arguments.device == "cuda" and arguments.processes != 1:
        parser.error(f"--processes {arguments.processes} is for CPUs: give --processes 1 with --device cuda")
    if arguments.evaluate:
        scores = mean_average_precision(read_weights(arguments.evaluate), held_out_pictures())
        tqdm.write(json.dumps(scores, indent=2))
        return
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = (Path(folder) / "rendezvous").as_uri()
        multiprocessing.spawn(train, args=(arguments, rendezvous), nprocs=arguments.processes)


if __name__ == "__main__":
    main()
