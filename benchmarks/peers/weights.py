"""The same weights for a peer: an ultralytics model, or an ONNX file that decodes its own boxes, from a checkpoint that
rfkernels reads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ultralytics import YOLO

# By the names that ultralytics has for the tasks: what its network descriptions end in, and its classes.
_NETWORKS = {
    "detect": ("", "DetectionModel"),
    "segment": ("-seg", "SegmentationModel"),
    "pose": ("-pose", "PoseModel"),
    "classify": ("-cls", "ClassificationModel"),
}


def silence_peers() -> None:
    """Tell the peers, before they are imported, to fetch nothing, to send nothing and to print nothing."""
    for name, value in {
        "YOLO_OFFLINE": "1",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "false",
        "OFFLINE_MODE": "True",
        "METRICS_ENABLED": "False",
    }.items():
        os.environ.setdefault(name, value)


def peer_checkpoint(weights: Path, folder: Path) -> Path:
    """A .pt that ultralytics loads, with the weights of a YOLOv8 network of any of the four tasks in float32.

    Args:
        weights: a .pt of ultralytics, which is given back as it is, or .safetensors with the names of a YOLOv8 state
            dict, folded (`model.0.conv.bias`) or not (`model.0.bn.weight`), and with `names` and `imgsz` as JSON in its
            metadata, and `task` where it is no detector, and `kpt_shape` where it is a pose network.
        folder: where to write.
    Raises:
        ValueError: another kind of file.
    """
    if weights.suffix == ".pt":
        return weights
    if weights.suffix != ".safetensors":
        raise ValueError(f"weights is {weights.name}: the peers take a .pt or a .safetensors")
    import torch
    from safetensors import safe_open
    from ultralytics.nn import tasks

    with safe_open(weights, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    names = {int(index): name for index, name in json.loads(metadata["names"]).items()}
    image_size = json.loads(metadata["imgsz"])
    scale = {16: "n", 32: "s", 48: "m", 64: "l", 80: "x"}[tensors["model.0.conv.weight"].shape[0]]
    task = metadata.get("task", "detect").replace("object-detection", "detect")
    if task not in _NETWORKS:
        raise ValueError(f"{weights.name} has the task {task!r}: it must be one of {', '.join(_NETWORKS)}")
    suffix, model_class = _NETWORKS[task]
    shape = {"data_kpt_shape": tuple(json.loads(metadata["kpt_shape"]))} if task == "pose" else {}
    model = getattr(tasks, model_class)(f"yolov8{scale}{suffix}.yaml", nc=len(names), verbose=False, **shape).eval()
    if "model.0.conv.bias" in tensors:
        model.fuse(verbose=False)
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(
            f"{weights.name} is not a YOLOv8{scale}{suffix}: missing {missing[:3]}, unexpected {unexpected[:3]}"
        )
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.names = names
    model.args = {"task": task, "imgsz": image_size, "model": weights.name}
    model.task = task
    path = folder / f"{weights.stem}.pt"
    torch.save({"model": model, "train_args": {"task": task, "imgsz": image_size}}, path)
    return path


def load_peer(checkpoint: Path) -> YOLO:
    """The ultralytics model of a checkpoint."""
    from ultralytics import YOLO

    return YOLO(checkpoint, verbose=False)


def decoded_onnx(weights: Path, folder: Path) -> Path:
    """The ONNX file ultralytics exports from these weights, fp32: input `images`, output `output0`.

    Of a detector that is [1, 4 + class count, anchors]; of a segmentation network 32 coefficients follow the classes,
    and `output1` are the prototypes; of a pose network the keypoints' numbers follow them; of a classifier it is
    [1, class count], probabilities. An .onnx is given back as it is.
    """
    if weights.suffix == ".onnx":
        return weights
    return _export(weights, folder, "onnx", opset=17, simplify=False)


def logits_onnx(probabilities: Path, path: Path) -> Path:
    """A classifier's ONNX file without the softmax that `decoded_onnx` gave it: logits [1, class count] as `output0`.

    Args:
        probabilities: the file that ultralytics exports.
        path: where to write.
    """
    import onnx

    model = onnx.load(probabilities)
    last = model.graph.node[-1]
    if last.op_type != "Softmax" or list(last.output) != [model.graph.output[0].name]:
        raise ValueError(f"{probabilities.name} ends in {last.op_type}, a softmax was expected")
    last.CopyFrom(onnx.helper.make_node("Identity", list(last.input), list(last.output)))
    onnx.save(model, path)
    return path


def openvino_folder(weights: Path, folder: Path) -> Path:
    """The OpenVINO model ultralytics exports from these weights: a folder with an .xml, a .bin and metadata.yaml."""
    return _export(weights, folder, "openvino")


def _export(weights: Path, folder: Path, kind: str, **arguments: object) -> Path:
    import shutil
    import warnings

    checkpoint = peer_checkpoint(weights, folder)
    if checkpoint.parent != folder:  # ultralytics writes beside the checkpoint.
        checkpoint = Path(shutil.copy(checkpoint, folder))
    model = load_peer(checkpoint)
    image_size = model.model.args["imgsz"]
    with warnings.catch_warnings():  # Of torch, about the exporter that ultralytics chooses.
        warnings.simplefilter("ignore")
        return Path(model.export(format=kind, imgsz=image_size, verbose=False, device="cpu", **arguments))
