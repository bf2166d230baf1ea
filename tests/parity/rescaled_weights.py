"""Ultralytics YOLOv8 models whose random weights carry a signal, for comparisons with peers.

A freshly initialised YOLOv8 gives constant outputs: the signal has a standard deviation of 2e-7 half way down, so a
comparison on it proves nothing. Here every BatchNorm gets random statistics, and every convolution is rescaled, in the
order in which the network runs, so that each of its channels is as strong as its BatchNorm expects on a real
photograph. The class biases are then shifted until a stated number of detections passes the threshold.

All numbers are rounded to float16 at the end, so that the half precision .pt, the state dict, the .safetensors and the
ONNX export of one model hold the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torchvision.ops import batched_nms
from ultralytics import YOLO
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.tasks import ClassificationModel, DetectionModel, PoseModel, SegmentationModel
from ultralytics.utils import ASSETS

DETECTIONS_WANTED = (20, 300)
CONFIDENCE_THRESHOLD = 0.25
# The overlap limits of the two conventions: fewer boxes survive 0.3 than 0.7, and both counts must be in range.
IOU_THRESHOLDS = (0.3, 0.7)
PICTURES_FOR_VARIANCE = 4
FILTERS_TRIED_PER_CLASS = 32
TASKS = {
    "detect": ("", DetectionModel),
    "segment": ("-seg", SegmentationModel),
    "pose": ("-pose", PoseModel),
    "classify": ("-cls", ClassificationModel),
}
FOURTH_BRANCHES = {"Segment": "coefficients", "Pose": "keypoints"}
# Outputs of a head that belong to no level, and the modules that give them.
LAST_MODULES = (("prototypes", "proto"), ("logits", "linear"))


def photographs() -> list[np.ndarray]:
    """The real photographs that come with ultralytics: uint8 [height, width, 3], BGR."""
    paths = sorted(Path(ASSETS).glob("*.jpg"))
    if not paths:
        raise FileNotFoundError(f"no photograph in {ASSETS}: the installed ultralytics has lost its assets")
    return [cv2.imread(str(path), cv2.IMREAD_COLOR) for path in paths]


def network_input(picture: np.ndarray, image_size: int | tuple[int, int]) -> np.ndarray:
    """Letterbox a uint8 BGR picture [h, w, 3] with grey 114 to float32 RGB [1, 3, height, width] in 0..1."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    ratio = min(height / picture.shape[0], width / picture.shape[1])
    resized = cv2.resize(picture, (max(int(picture.shape[1] * ratio), 1), max(int(picture.shape[0] * ratio), 1)))
    canvas = np.full((height, width, 3), 114, np.uint8)
    top, left = (height - resized.shape[0]) // 2, (width - resized.shape[1]) // 2
    canvas[top : top + resized.shape[0], left : left + resized.shape[1]] = resized
    return np.ascontiguousarray(canvas[:, :, ::-1].transpose(2, 0, 1)[None]).astype(np.float32) / 255


def raw_head_outputs(model: DetectionModel, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The raw tensors of a model's head, by the names and in the order that the graphs of rfkernels give them.

    Args:
        images: float32 [n, 3, height, width].
    Returns:
        box_8, box_16, box_32 [n, 64, h/s, w/s] and class_8, class_16, class_32 [n, class count, h/s, w/s], before any
        activation; of a segmentation model coefficients_8 to _32 and prototypes too, of a pose model keypoints_8 to
        _32; of a classifier logits [n, class count] alone.
    """
    head = model.model[-1]
    captured: dict[str, torch.Tensor] = {}

    def keep(name: str):
        def hook(_module: torch.nn.Module, _inputs: tuple, output: torch.Tensor) -> None:
            captured[name] = output.detach()

        return hook

    sources = {
        f"{name}_{stride}": getattr(head, branch)[level]
        for branch, name in (("cv2", "box"), ("cv3", "class"), ("cv4", FOURTH_BRANCHES.get(type(head).__name__)))
        if name is not None and hasattr(head, branch)
        for level, stride in enumerate((8, 16, 32))
    }
    sources |= {name: getattr(head, module) for name, module in LAST_MODULES if hasattr(head, module)}
    handles = [module.register_forward_hook(keep(name)) for name, module in sources.items()]
    try:
        with torch.no_grad():
            model.eval()(images)
    finally:
        for handle in handles:
            handle.remove()
    return {name: captured[name] for name in sources}


def rescaled_network(
    task: str, scale: str, class_count: int, seed: int, image_size: int, keypoint_shape: tuple[int, int] = (17, 3)
) -> YOLO:
    """A YOLOv8 of any task with random weights whose raw outputs vary; nothing is asked of its detections.

    Args:
        task: "detect", "segment", "pose" or "classify".
        image_size: side in pixels of the square at which variances are measured, on a photograph.
        keypoint_shape: of a pose model.
    Returns:
        An ultralytics YOLO object, in eval mode, not fused.
    """
    suffix, model_class = TASKS[task]
    yolo = YOLO(f"yolov8{scale}{suffix}.yaml", task=task, verbose=False)
    more = {"data_kpt_shape": keypoint_shape} if task == "pose" else {}
    yolo.model = model_class(f"yolov8{scale}{suffix}.yaml", nc=class_count, verbose=False, **more)
    yolo.model.names = {index: f"class {index}" for index in range(class_count)}
    yolo.model.args = {**yolo.overrides, "imgsz": image_size}
    yolo.model.task = task
    model = yolo.model.float().eval()
    generator = torch.Generator().manual_seed(seed)
    _randomise(model, generator)
    _rescale_layer_by_layer(model, torch.from_numpy(network_input(photographs()[0], image_size)), generator)
    _round_to_half(model)
    return yolo


def rescaled_yolov8(
    scale: str,
    class_count: int,
    seed: int,
    image_size: int = 640,
    pictures: Sequence[np.ndarray] | None = None,
) -> YOLO:
    """A YOLOv8 detector with random weights whose outputs vary and whose detections pass the threshold.

    Args:
        scale: n, s, m, l or x.
        class_count: number of classes; names are "class 0", "class 1", ...
        seed: of all random numbers.
        image_size: side in pixels of the square at which variances and detections are measured.
        pictures: uint8 BGR pictures on each of which between 20 and 300 detections must pass confidence 0.25 after NMS,
            at IoU thresholds 0.3 and 0.7; the first four also set the variances. Default: the photographs of
            ultralytics. One picture always succeeds; many that differ in contrast may need another seed.
    Returns:
        An ultralytics YOLO object, in eval mode, not fused.
    Raises:
        RuntimeError: no shift of the class biases gives a wanted number of detections on all pictures.
    """
    pictures = photographs() if pictures is None else list(pictures)
    yolo = YOLO(f"yolov8{scale}.yaml", task="detect", verbose=False)
    yolo.model = DetectionModel(f"yolov8{scale}.yaml", nc=class_count, verbose=False)
    yolo.model.names = {index: f"class {index}" for index in range(class_count)}
    yolo.model.args = {**yolo.overrides, "imgsz": image_size}
    yolo.model.task = "detect"
    model = yolo.model.float().eval()
    inputs = [torch.from_numpy(network_input(picture, image_size)) for picture in pictures]

    generator = torch.Generator().manual_seed(seed)
    _randomise(model, generator)
    _rescale_layer_by_layer(model, torch.cat(inputs[:PICTURES_FOR_VARIANCE]), generator)
    nearest: list[tuple[float, list[int]]] = []
    for quantile in (0.997, 1.0, 0.99, 0.999):
        _choose_even_class_filters(model, inputs, quantile, generator)
        _round_to_half(model)
        shift, counts = _best_class_bias_shift(model, inputs)
        if all(DETECTIONS_WANTED[0] <= count <= DETECTIONS_WANTED[1] for count in counts):
            with torch.no_grad():
                for branch in model.model[-1].cv3:
                    branch[-1].bias.add_(shift)
            _round_to_half(model)
            return yolo
        nearest.append((shift, counts))
    raise RuntimeError(
        f"no shift of the class biases gives {DETECTIONS_WANTED} detections on every picture, nearest were "
        f"(shift, counts) {nearest}: use another seed, or pictures that are more alike"
    )


def save_checkpoint(yolo: YOLO, path: Path) -> Path:
    """The whole model as ultralytics saves it: a .pt with a pickled module in float16."""
    yolo.save(path)
    return path


def save_state_dict(yolo: YOLO, path: Path) -> Path:
    """Only the weights, as torch.save writes an OrderedDict of tensors, float32."""
    torch.save(yolo.model.state_dict(), path)
    return path


def save_safetensors(yolo: YOLO, path: Path) -> Path:
    """Only the weights as float32 .safetensors, with task, names, imgsz and stride in its metadata."""
    import json

    from safetensors.torch import save_file

    image_size = yolo.model.args["imgsz"]
    state = yolo.model.state_dict()
    weights = {key: tensor.contiguous() for key, tensor in state.items() if tensor.is_floating_point()}
    metadata = {
        "task": "object-detection" if yolo.task == "detect" else yolo.task,
        "names": json.dumps({str(index): name for index, name in yolo.model.names.items()}),
        "imgsz": json.dumps([image_size, image_size]),
        "stride": str(int(yolo.model.stride.max())),
    }
    if yolo.task == "pose":
        metadata["kpt_shape"] = json.dumps(list(yolo.model.model[-1].kpt_shape))
    save_file(weights, str(path), metadata=metadata)
    return path


def export_decoded_onnx(
    yolo: YOLO, folder: Path, name: str = "decoded", opset: int = 17, simplify: bool = False, **arguments
) -> Path:
    """The ONNX file ultralytics exports: input `images`, decoded output `output0`, of a detector
    [1, 4 + class count, anchors].

    Further arguments go to `YOLO.export` (dynamic, imgsz, ...).
    """
    checkpoint = save_checkpoint(yolo, folder / f"{name}.pt")
    arguments.setdefault("imgsz", yolo.model.args["imgsz"])
    arguments |= {"format": "onnx", "opset": opset, "simplify": simplify, "verbose": False}
    return Path(YOLO(checkpoint, task=yolo.task).export(**arguments))


def _uniform(shape: torch.Size, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _randomise(model: DetectionModel, generator: torch.Generator) -> None:
    """Every convolution normal, every BatchNorm with random scale, shift and statistics; the DFL stays as it is."""
    head = model.model[-1]
    dfl = head.dfl.conv if hasattr(head, "dfl") else None
    with torch.no_grad():
        for module in model.modules():
            is_convolution = isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d | torch.nn.Linear)
            if is_convolution and module is not dfl:
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator))
                if module.bias is not None:
                    module.bias.copy_(torch.randn(module.bias.shape, generator=generator) * 0.3)
            elif isinstance(module, torch.nn.BatchNorm2d):
                shape = module.weight.shape
                module.weight.copy_(_uniform(shape, 0.7, 1.3, generator))
                module.bias.copy_(torch.randn(shape, generator=generator) * 0.3)
                module.running_mean.copy_(torch.randn(shape, generator=generator) * 0.3)
                module.running_var.copy_(_uniform(shape, 0.3, 3.0, generator))


def _rescale_layer_by_layer(model: DetectionModel, images: torch.Tensor, generator: torch.Generator) -> None:
    """One forward pass; each convolution is rescaled, just before it runs, to the strength its BatchNorm expects."""

    def channel_spread(output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values = output.transpose(0, 1).flatten(1)
        return values.mean(1), values.std(1, unbiased=False).clamp_min(1e-12)

    def before_block(block: Conv, inputs: tuple[torch.Tensor]) -> None:
        expected = block.bn.running_var.sqrt()
        strength = block.conv(inputs[0]).square().mean((0, 2, 3)).sqrt().clamp_min(1e-12)
        block.conv.weight.mul_((expected / strength).view(-1, 1, 1, 1))
        # Means stay in the signal: were they taken away, rounding errors would grow from layer to layer.
        block.bn.running_mean.copy_(torch.randn(expected.shape, generator=generator) * 0.3 * expected)

    def before_head_convolution(convolution: torch.nn.Conv2d, inputs: tuple[torch.Tensor]) -> None:
        mean, spread = channel_spread(torch.nn.functional.conv2d(inputs[0], convolution.weight))
        # 1.5: the softmax of the 16 bins of a side has a clear winner, and class scores reach from 0.02 to 0.98.
        factor = 1.5 / spread
        convolution.weight.mul_(factor.view(-1, 1, 1, 1))
        convolution.bias.sub_(mean * factor)  # Only the random bias is left as the mean of a channel.

    def before_transposed_convolution(convolution: torch.nn.ConvTranspose2d, inputs: tuple[torch.Tensor]) -> None:
        enlarged = torch.nn.functional.conv_transpose2d(inputs[0], convolution.weight, stride=2)
        convolution.weight.mul_((1 / channel_spread(enlarged)[1]).view(1, -1, 1, 1))

    def before_matrix(matrix: torch.nn.Linear, inputs: tuple[torch.Tensor]) -> None:
        # One number for each class: there is no spread to be had of it but that over the classes.
        matrix.weight.mul_(1.5 / torch.nn.functional.linear(inputs[0], matrix.weight).std())

    def before_box_convolution(convolution: torch.nn.Conv2d, inputs: tuple[torch.Tensor]) -> None:
        before_head_convolution(convolution, inputs)
        # Short sides are likelier, so that boxes are objects of a few cells and do not all overlap each other.
        convolution.bias.sub_(torch.arange(16.0).repeat(4) * 0.3)

    head = model.model[-1]
    handles = [module.register_forward_pre_hook(before_block) for module in model.modules() if isinstance(module, Conv)]
    handles += [branch[-1].register_forward_pre_hook(before_box_convolution) for branch in getattr(head, "cv2", ())]
    for branches in ("cv3", "cv4"):
        for branch in getattr(head, branches, ()):
            handles.append(branch[-1].register_forward_pre_hook(before_head_convolution))
    if hasattr(head, "proto"):
        handles.append(head.proto.upsample.register_forward_pre_hook(before_transposed_convolution))
    if hasattr(head, "linear"):
        handles.append(head.linear.register_forward_pre_hook(before_matrix))
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()


def _choose_even_class_filters(
    model: DetectionModel, inputs: list[torch.Tensor], quantile: float, generator: torch.Generator
) -> None:
    """Replace the last class convolutions by those random filters that fire about equally on every picture.

    Pictures differ in contrast, so one shift of the biases gives a rich picture hundreds of detections and a plain one
    none. Of many random filters, those are kept whose responses at a high quantile lie closest together over the
    pictures.
    """
    features: dict[int, list[torch.Tensor]] = {0: [], 1: [], 2: []}

    def keep(level: int):
        return lambda _module, given: features[level].append(given[0][0].flatten(1))

    handles = [branch[-1].register_forward_pre_hook(keep(level)) for level, branch in enumerate(model.model[-1].cv3)]
    with torch.no_grad():
        for images in inputs:
            model(images)
        for handle in handles:
            handle.remove()
        for level, branch in enumerate(model.model[-1].cv3):
            class_count, channels = branch[-1].weight.shape[:2]
            filters = torch.randn((FILTERS_TRIED_PER_CLASS * class_count, channels), generator=generator)
            filters /= (filters @ torch.cat(features[level], 1)).std(1, keepdim=True) / 1.5
            highest = torch.stack([(filters @ picture).quantile(quantile, dim=1) for picture in features[level]])
            chosen = (highest.amax(0) - highest.amin(0)).argsort()[:class_count]
            branch[-1].weight.copy_(filters[chosen][:, :, None, None])
            branch[-1].bias.copy_(torch.randn(class_count, generator=generator) * 0.3 - highest[:, chosen].mean(0))


def _decode(heads: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes [anchors, 4] as corners in input pixels, and class logits [anchors, class count], of the first picture."""
    boxes, logits = [], []
    for stride in (8, 16, 32):
        box, scores = heads[f"box_{stride}"][0], heads[f"class_{stride}"][0]
        height, width = box.shape[1:]
        sides = (box.view(4, 16, height, width).softmax(1) * torch.arange(16.0).view(1, 16, 1, 1)).sum(1)
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        corners = torch.stack([x - sides[0], y - sides[1], x + sides[2], y + sides[3]]) * stride
        boxes.append(corners.flatten(1).T)
        logits.append(scores.flatten(1).T)
    return torch.cat(boxes), torch.cat(logits)


def count_detections(boxes: torch.Tensor, logits: torch.Tensor, iou_threshold: float) -> int:
    """Detections above confidence 0.25 after class-aware NMS, best class of each anchor only."""
    scores, classes = logits.sigmoid().max(1)
    kept = scores > CONFIDENCE_THRESHOLD
    return len(batched_nms(boxes[kept], scores[kept], classes[kept], iou_threshold))


def _round_to_half(model: DetectionModel) -> None:
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())


def _best_class_bias_shift(model: DetectionModel, inputs: list[torch.Tensor]) -> tuple[float, list[int]]:
    """The shift of all class biases that brings the counts of all pictures nearest to the middle of the range."""
    decoded = [_decode(raw_head_outputs(model, images)) for images in inputs]
    fewest, most = DETECTIONS_WANTED
    middle = (fewest * most) ** 0.5
    best: tuple[float, float, list[int]] | None = None
    for step in range(-120, 41):
        shift = step / 10
        counts = [count_detections(boxes, logits + shift, iou) for boxes, logits in decoded for iou in IOU_THRESHOLDS]
        distance = max(abs(float(np.log(max(count, 0.5) / middle))) for count in counts)
        if best is None or distance < best[0]:
            best = (distance, shift, counts)
        if min(counts) > 4 * most:  # Only more detections from here on.
            break
    assert best is not None
    return best[1], best[2]
