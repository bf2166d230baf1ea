"""Writing and reading the shipped weights: BatchNorm folded into the convolutions, float16, safetensors."""

import copy
import datetime
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.demo import shapes
from models.demo.network import HEAD_INDEX, KEYPOINT_VALUES, Conv, Task, Yolov8

_NAME_IN_CHECKPOINTS = {"coefficients": "cv4", "keypoints": "cv4"}
_BRANCHES_OF_TASKS = ("coefficients", "proto", "keypoints")


def fused(model: Yolov8) -> Yolov8:
    """A copy of a model with every BatchNorm folded into its convolution (`<p>.conv.weight`, `<p>.conv.bias`)."""
    result = copy.deepcopy(model).eval()
    for module in result.modules():
        if isinstance(module, Conv):
            convolution, norm = module.conv, module.bn
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
            weight = convolution.weight.double() * scale[:, None, None, None]
            bias = norm.bias.double() - norm.running_mean.double() * scale
            convolution.weight = nn.Parameter(weight.float(), requires_grad=False)
            convolution.bias = nn.Parameter(bias.float(), requires_grad=False)
            module.bn = nn.Identity()
    return result


def tensors_of(model: Yolov8, task: Task) -> dict[str, Tensor]:
    """The weights of one task, BatchNorm folded, by the names of YOLOv8 checkpoints.

    Raises:
        ValueError: the model has not learnt the task.
    """
    branches = {"detect": (), "segment": ("coefficients", "proto"), "pose": ("keypoints",)}[task]
    state = fused(model).state_dict()
    head = f"model.{HEAD_INDEX}."
    for branch in branches:
        if not any(name.startswith(f"{head}{branch}.") for name in state):
            raise ValueError(f"task is {task!r}, but the model has no branch {branch!r}: train it with this task")
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        branch = name.removeprefix(head).split(".")[0] if name.startswith(head) else ""
        if branch in _BRANCHES_OF_TASKS and branch not in branches:
            continue
        tensors[name.replace(f"{head}{branch}.", f"{head}{_NAME_IN_CHECKPOINTS.get(branch, branch)}.")] = tensor
    return tensors


def write_weights(model: Yolov8, task: Task, path: Path, *, training: str) -> None:
    """Write one task of a trained model as float16 safetensors with its task, names and size in the metadata.

    Args:
        model: with its BatchNorms.
        task: one of those that it has learnt.
        path: the file to write.
        training: seed, epochs and held-out precision, for people to read.

    Raises:
        ValueError: a folded weight is not finite in float16; the message names it.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in tensors_of(model, task).items():
        half = tensor.to(torch.float16).contiguous()
        if not bool(half.isfinite().all()):
            largest = float(tensor.abs().max())
            raise ValueError(
                f"{name} is not finite in float16 (largest magnitude {largest:g}): train from another seed"
            )
        tensors[name] = half
    metadata = {
        "task": task,
        "names": json.dumps({str(index): name for index, name in enumerate(shapes.CLASS_NAMES)}, separators=(",", ":")),
        "imgsz": "[320, 320]",
        "stride": "32",
        "license": "Apache-2.0",
        "description": "YOLOv8n trained on shapes drawn over photos, for demonstrations and tests",
        "author": "rfkernels",
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "training": training,
    }
    if task == "pose":
        metadata["kpt_shape"] = json.dumps([len(shapes.KEYPOINT_NAMES), KEYPOINT_VALUES])
        metadata["kpt_names"] = json.dumps(shapes.KEYPOINT_NAMES)
        metadata["skeleton"] = json.dumps(shapes.SKELETON)
    save_file(tensors, path, metadata)


def read_weights(path: Path) -> Yolov8:
    """A model, in float32 and without BatchNorms, from a file of `write_weights`."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    task: Task = metadata["task"]
    classes = len(json.loads(metadata["names"]))
    model = fused(Yolov8(classes, tasks=(task,), keypoint_count=len(shapes.KEYPOINT_NAMES)))
    own_names = {name: own for own, name in _NAME_IN_CHECKPOINTS.items() if (own == "keypoints") == (task == "pose")}
    head = f"model.{HEAD_INDEX}."
    state: dict[str, Tensor] = {}
    for name, tensor in load_file(path).items():
        branch = name.removeprefix(head).split(".")[0]
        state[name.replace(f"{head}{branch}.", f"{head}{own_names.get(branch, branch)}.")] = tensor.float()
    model.load_state_dict(state)
    return model.eval()
