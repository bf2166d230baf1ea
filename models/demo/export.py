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
from models.demo.network import Conv, Yolov8


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


def write_weights(model: Yolov8, path: Path, *, training: str) -> None:
    """Write a trained model as float16 safetensors with its task, names and size in the metadata.

    Args:
        model: with its BatchNorms.
        path: the file to write.
        training: seed, epochs and held-out precision, for people to read.

    Raises:
        ValueError: a folded weight is not finite in float16; the message names it.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in fused(model).state_dict().items():
        half = tensor.to(torch.float16).contiguous()
        if not bool(half.isfinite().all()):
            largest = float(tensor.abs().max())
            raise ValueError(
                f"{name} is not finite in float16 (largest magnitude {largest:g}): train from another seed"
            )
        tensors[name] = half
    metadata = {
        "task": "detect",
        "names": json.dumps({str(index): name for index, name in enumerate(shapes.CLASS_NAMES)}, separators=(",", ":")),
        "imgsz": "[320, 320]",
        "stride": "32",
        "license": "Apache-2.0",
        "description": "YOLOv8n trained on shapes drawn over photos, for demonstrations and tests",
        "author": "rfkernels",
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "training": training,
    }
    save_file(tensors, path, metadata)


def read_weights(path: Path) -> Yolov8:
    """A model, in float32 and without BatchNorms, from a file of `write_weights`."""
    with safe_open(path, "pt") as file:
        names = json.loads(file.metadata()["names"])
    model = fused(Yolov8(len(names)))
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return model.eval()
