"""The drawn data set in memory, handed out in batches on torch's default device."""

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from models.demo import shapes
from models.demo.losses import Targets
from models.demo.network import PROTOTYPE_STRIDE

HELD_OUT_SEED = 1_000_003  # the same pictures whatever seed a training used


@dataclass(frozen=True)
class Picture:
    """What a model learns from one scene.

    image: uint8 [size, size, 3]; boxes: float32 [objects, 4], x1 y1 x2 y2 in pixels; class_ids: int64 [objects];
    masks: bool [objects, size, size], the visible pixels; keypoints: float32 [objects, points, 3], as in `Instance`.
    """

    image: shapes.Pixels
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    masks: NDArray[np.bool_]
    keypoints: NDArray[np.float32]


@cache
def _photos(split: shapes.Split) -> list[shapes.Pixels]:
    return shapes.load_photos(split)


def draw_pictures(
    seed: int,
    split: shapes.Split,
    epoch: int,
    indices: Sequence[int],
    *,
    size: int = 320,
    processes: int = 1,
    show_progress: bool = True,
) -> list[Picture]:
    """Draw the pictures of a split with these indices; the same arguments give the same pictures."""
    draw = partial(draw_picture, seed, split, epoch, size=size)
    bar = partial(tqdm, total=len(indices), desc=f"drawing {split}", unit="picture", leave=False)
    if processes == 1:
        return list(bar(map(draw, indices), disable=not show_progress))
    # Spawned, as this process may already use a GPU, which no fork survives.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return list(bar(pool.imap(draw, indices, chunksize=8), disable=not show_progress))


def draw_picture(seed: int, split: shapes.Split, epoch: int, index: int, *, size: int) -> Picture:
    """Draw one picture of a split."""
    generator = shapes.scene_generator(seed, split, epoch, index)
    scene = shapes.draw_scene(generator, _photos(split), size=(size, size))
    boxes = np.array([instance.box for instance in scene.instances], np.float32).reshape(-1, 4)
    class_ids = np.array([instance.class_id for instance in scene.instances], np.int64)
    masks = np.array([instance.mask for instance in scene.instances], np.bool_).reshape(-1, size, size)
    keypoints = np.array([instance.keypoints for instance in scene.instances], np.float32)
    keypoints = keypoints.reshape(-1, len(shapes.KEYPOINT_NAMES), 3)
    return Picture(scene.image, boxes, class_ids, masks, keypoints)


def to_input(images: Sequence[shapes.Pixels]) -> Tensor:
    """uint8 [size, size, 3] pictures to float32 [batch, 3, size, size] in 0..1, channels last in memory."""
    pixels = torch.from_numpy(np.stack(images)).to(torch.get_default_device())
    return pixels.permute(0, 3, 1, 2).float().div_(255)


def batches(pictures: Sequence[Picture], size: int, generator: np.random.Generator) -> Iterator[tuple[Tensor, Targets]]:
    """All pictures once, in random order, each mirrored by chance; the last batch holds what is left."""
    order = generator.permutation(len(pictures))
    for start in range(0, len(order), size):
        chosen = [pictures[index] for index in order[start : start + size]]
        chosen = [_mirrored(picture) if generator.random() < 0.5 else picture for picture in chosen]
        yield to_input([picture.image for picture in chosen]), _targets(chosen)


def _targets(pictures: Sequence[Picture]) -> Targets:
    """The labels of a batch, padded to the picture with the most objects."""
    most = max(len(picture.class_ids) for picture in pictures)
    side = pictures[0].image.shape[0] // PROTOTYPE_STRIDE
    boxes = torch.zeros(len(pictures), most, 4)
    class_ids = torch.zeros(len(pictures), most, dtype=torch.int64)
    present = torch.zeros(len(pictures), most, dtype=torch.bool)
    masks = torch.zeros(len(pictures), most, side, side)
    keypoints = torch.zeros(len(pictures), most, len(shapes.KEYPOINT_NAMES), 3)
    for row, picture in enumerate(pictures):
        objects = len(picture.class_ids)
        boxes[row, :objects] = torch.from_numpy(picture.boxes)
        class_ids[row, :objects] = torch.from_numpy(picture.class_ids)
        present[row, :objects] = True
        cells = picture.masks.reshape(objects, side, PROTOTYPE_STRIDE, side, PROTOTYPE_STRIDE)
        masks[row, :objects] = torch.from_numpy(cells.mean(axis=(2, 4), dtype=np.float32))
        keypoints[row, :objects] = torch.from_numpy(picture.keypoints)
    return Targets(boxes, class_ids, present, masks, keypoints)


def _mirrored(picture: Picture) -> Picture:
    width = picture.image.shape[1]
    boxes = picture.boxes.copy()
    boxes[:, [0, 2]] = width - picture.boxes[:, [2, 0]]
    keypoints = picture.keypoints[:, list(shapes.FLIPPED_KEYPOINTS)]
    in_picture = keypoints[..., 2] > shapes.NOT_IN_IMAGE
    keypoints[..., 0] = np.where(in_picture, width - keypoints[..., 0], 0)
    return Picture(picture.image[:, ::-1], boxes, picture.class_ids, picture.masks[:, :, ::-1], keypoints)
