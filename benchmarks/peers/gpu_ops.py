"""What people call for the same ops on a GPU today: torch with torchvision, and CV-CUDA. Where they are not installed
there are no peers.

On a machine without a GPU torch's run on the CPU, to show that they work; CV-CUDA does not import there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

_STRIDES = (8, 16, 32)
_CLASSES = 80
_BINS = 16
_PICTURE = (1080, 1920)
_DETECTIONS = 100


@dataclass(frozen=True)
class Peer:
    """One way to do what a case does.

    Attributes:
        name: what is called.
        calls: the same call with other inputs each.
        wait: until all calls are done.
    """

    name: str
    calls: Sequence[Callable[[], object]]
    wait: Callable[[], object]


def peers_of(case: str, device: str, seeds: Sequence[int]) -> list[Peer]:
    """Those that are installed.

    Args:
        case: the name of a `kernel_cases.KernelCase`.
        device: "cuda", or "cpu" where there is no GPU.
        seeds: of the inputs, one for each that is to rotate.
    """
    makers: dict[str, list[Callable[[str, int], Callable[[], object]]]] = {
        "letterbox 1080p -> 640 float16": [partial(_torch_letterbox, dtype="float16"), _cvcuda_letterbox],
        "letterbox 1080p -> 640 float32": [partial(_torch_letterbox, dtype="float32")],
        "detection 80 x 8400 float32": [partial(_torch_detection, side=640)],
        "detection 80 x 33600 float32": [partial(_torch_detection, side=1280)],
        f"masks, {_DETECTIONS} at 1080p, bits": [_torch_masks],
        f"keypoints, {_DETECTIONS} of 17, float16": [_torch_keypoints],
    }
    peers = []
    for maker in makers.get(case, []):
        name = "CV-CUDA" if maker is _cvcuda_letterbox else "torch"
        try:
            calls = [maker(device, seed) for seed in seeds]
        except ImportError:  # not installed, or no driver for it
            continue
        torch = importlib.import_module("torch")
        peers.append(Peer(name, calls, torch.cuda.synchronize if device == "cuda" else lambda: None))
    return peers


def _torch_letterbox(device: str, seed: int, *, dtype: str) -> Callable[[], object]:
    torch = importlib.import_module("torch")
    functional = importlib.import_module("torchvision.transforms.v2.functional")
    image = _on(device, _picture(seed))

    def letterbox() -> object:
        resized = functional.resize(image.permute(2, 0, 1).flip(0), [360, 640], antialias=False)
        padded = functional.pad(resized, [0, 140, 0, 140], fill=114)
        return padded.to(getattr(torch, dtype)).div_(255)[None].contiguous()

    return letterbox


def _cvcuda_letterbox(device: str, seed: int) -> Callable[[], object]:
    if device != "cuda":
        raise ImportError("CV-CUDA runs on GPUs alone")
    cvcuda = importlib.import_module("cvcuda")
    image = cvcuda.as_tensor(_on(device, _picture(seed)[None]), "NHWC")
    stream = cvcuda.Stream.default

    def letterbox() -> object:
        resized = cvcuda.resize(image, (1, 360, 640, 3), cvcuda.Interp.LINEAR, stream=stream)
        padded = cvcuda.copymakeborder(
            resized, cvcuda.Border.CONSTANT, [114.0] * 3, top=140, bottom=140, left=0, right=0, stream=stream
        )
        converted = cvcuda.convertto(padded, cvcuda.Type.F32, 1 / 255, 0, stream=stream)
        return cvcuda.reformat(converted, "NCHW", stream=stream)

    return letterbox


def _torch_detection(device: str, seed: int, *, side: int) -> Callable[[], object]:
    torch = importlib.import_module("torch")
    torchvision = importlib.import_module("torchvision")
    random = np.random.default_rng(seed)
    boxes, logits, anchors, strides = [], [], [], []
    for stride in _STRIDES:
        cells = side // stride
        count = cells * cells
        values = random.normal(-7.0, 1.0, (_CLASSES, count)).astype(np.float32)
        chosen = random.choice(count, max(1, count * 150 // (side * side // 48)), replace=False)
        values[random.integers(0, _CLASSES, len(chosen)), chosen] = 2.0
        logits.append(values)
        boxes.append(random.normal(0.0, 2.0, (4 * _BINS, count)).astype(np.float32))
        y, x = np.divmod(np.arange(count), cells)
        anchors.append(np.stack([x + 0.5, y + 0.5], axis=1).astype(np.float32))
        strides.append(np.full(count, stride, np.float32))
    box_values, class_values = _on(device, np.concatenate(boxes, axis=1)), _on(device, np.concatenate(logits, axis=1))
    centres, steps = _on(device, np.concatenate(anchors)), _on(device, np.concatenate(strides))
    bins = torch.arange(_BINS, dtype=torch.float32, device=device)

    def detect() -> object:
        scores, classes = class_values.sigmoid().max(dim=0)
        kept = (scores > 0.4).nonzero().squeeze(1)
        sides = box_values[:, kept].reshape(4, _BINS, -1).softmax(dim=1).mul(bins[None, :, None]).sum(dim=1).T
        corners = torch.cat([centres[kept] - sides[:, :2], centres[kept] + sides[:, 2:]], dim=1) * steps[kept, None]
        best = torchvision.ops.batched_nms(corners, scores[kept], classes[kept], 0.3)[:300]
        return corners[best], scores[kept][best], classes[kept][best]

    return detect


def _torch_masks(device: str, seed: int) -> Callable[[], object]:
    torch = importlib.import_module("torch")
    random = np.random.default_rng(seed)
    prototypes = _on(device, random.normal(size=(32, 160, 160)).astype(np.float32))
    coefficients = _on(device, random.normal(size=(_DETECTIONS, 32)).astype(np.float32))
    sides = 0.22 * np.array(_PICTURE[::-1]) * random.uniform(0.5, 1.5, (_DETECTIONS, 2))
    begins = random.uniform(0.0, 1.0, (_DETECTIONS, 2)) * (np.array(_PICTURE[::-1]) - sides)
    boxes = _on(device, np.concatenate([begins, begins + sides], axis=1).astype(np.float32))
    columns = torch.arange(_PICTURE[1], device=device)[None, None, :]
    rows = torch.arange(_PICTURE[0], device=device)[None, :, None]

    def masks() -> object:
        # The picture lies in rows 35 to 125 of the prototypes.
        logits = torch.einsum("nc,chw->nhw", coefficients, prototypes)[:, 35:125]
        large = torch.nn.functional.interpolate(logits[None], size=_PICTURE, mode="bilinear", align_corners=False)[0]
        x1, y1, x2, y2 = boxes.T[:, :, None, None]
        return (large > 0) & (columns >= x1) & (columns < x2) & (rows >= y1) & (rows < y2)

    return masks


def _torch_keypoints(device: str, seed: int) -> Callable[[], object]:
    torch = importlib.import_module("torch")
    random = np.random.default_rng(seed)
    values = _on(device, random.normal(size=(51, 8400)).astype(np.float16))
    chosen = _on(device, np.sort(random.choice(8400, _DETECTIONS, replace=False)))
    places = _on(device, random.uniform(0, 80, (8400, 2)).astype(np.float32))
    steps = _on(device, random.choice(_STRIDES, 8400).astype(np.float32))

    def keypoints() -> object:
        points = values[:, chosen].float().reshape(17, 3, -1).permute(2, 0, 1)
        where = (points[..., :2] * 2 + places[chosen][:, None]) * steps[chosen][:, None, None]
        where = (where - torch.tensor([0.0, 140.0], device=device)) * 3
        return torch.cat([where, points[..., 2:].sigmoid()], dim=2)

    return keypoints


def _picture(seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (*_PICTURE, 3), dtype=np.uint8)


def _on(device: str, array: Any) -> Any:
    return importlib.import_module("torch").from_numpy(array).to(device)
