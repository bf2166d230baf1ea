"""The drawn data set in memory, handed out in batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from models.demo import shapes
from models.demo.losses import Targets

HELD_OUT_SEED = 1_000_003  # the same pictures whatever seed a training used


@dataclass(frozen=True)
class Picture:
    """What a detection model learns from one scene.

    image: uint8 [size, size, 3]; boxes: float32 [objects, 4], x1 y1 x2 y2 in pixels; class_ids: int64 [objects].
    """

    image: shapes.Pixels
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]


@cache
def _photos(split: shapes.Split) -> list[shapes.Pixels]:
    return shapes.load_photos(split)


def draw_pictures(
    seed: int, split: shapes.Split, epoch: int, indices: Sequence[int], *, size: int = 320, show_progress: bool = True
) -> list[Picture]:
    """Draw the pictures of a split with these indices; the same arguments give the same pictures."""
    pictures = []
    for index in tqdm(indices, desc=f"drawing {split}", unit="picture", leave=False, disable=not show_progress):
        generator = shapes.scene_generator(seed, split, epoch, index)
        scene = shapes.draw_scene(generator, _photos(split), size=(size, size))
        boxes = np.array([instance.box for instance in scene.instances], np.float32).reshape(-1, 4)
        class_ids = np.array([instance.class_id for instance in scene.instances], np.int64)
        pictures.append(Picture(scene.image, boxes, class_ids))
    return pictures


def to_input(images: Sequence[shapes.Pixels]) -> Tensor:
    """uint8 [size, size, 3] pictures to float32 [batch, 3, size, size] in 0..1, channels last in memory."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div_(255)


def batches(pictures: Sequence[Picture], size: int, generator: np.random.Generator) -> Iterator[tuple[Tensor, Targets]]:
    """All pictures once, in random order, each mirrored by chance; the last batch holds what is left."""
    order = generator.permutation(len(pictures))
    for start in range(0, len(order), size):
        chosen = [pictures[index] for index in order[start : start + size]]
        chosen = [_mirrored(picture) if generator.random() < 0.5 else picture for picture in chosen]
        most = max(len(picture.class_ids) for picture in chosen)
        boxes, class_ids = torch.zeros(len(chosen), most, 4), torch.zeros(len(chosen), most, dtype=torch.int64)
        present = torch.zeros(len(chosen), most, dtype=torch.bool)
        for row, picture in enumerate(chosen):
            objects = len(picture.class_ids)
            boxes[row, :objects] = torch.from_numpy(picture.boxes)
            class_ids[row, :objects] = torch.from_numpy(picture.class_ids)
            present[row, :objects] = True
        yield to_input([picture.image for picture in chosen]), Targets(boxes, class_ids, present)


def _mirrored(picture: Picture) -> Picture:
    width = picture.image.shape[1]
    boxes = picture.boxes.copy()
    boxes[:, [0, 2]] = width - picture.boxes[:, [2, 0]]
    return Picture(picture.image[:, ::-1], boxes, picture.class_ids)
