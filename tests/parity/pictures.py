"""Real photographs at awkward sizes, all from installed packages: what the comparisons of the whole pipeline run on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import skimage
import sklearn
import ultralytics


class Picture(NamedTuple):
    name: str
    pixels: np.ndarray  # uint8 [height, width, 3], BGR


_FOLDERS = {
    "skimage": Path(skimage.__file__).parent / "data",
    "sklearn": Path(sklearn.__file__).parent / "datasets" / "images",
    "ultralytics": Path(ultralytics.__file__).parent / "assets",
}
_PHOTOGRAPHS = (
    "ultralytics/bus.jpg",
    "ultralytics/zidane.jpg",
    "sklearn/china.jpg",
    "sklearn/flower.jpg",
    "skimage/astronaut.png",
    "skimage/chelsea.png",
    "skimage/coffee.png",
    "skimage/rocket.jpg",
    "skimage/hubble_deep_field.jpg",
    "skimage/motorcycle_left.png",
)
# (height, width) of what the photographs are resized or cropped to: larger and smaller than a network's input, exactly
# it, exactly twice it, odd, one pixel more or less, far from square, and 77 wide, where 77 * (640 / 77) is a hair below
# 640 in float64.
_RESIZED = (
    (1080, 1920),
    (1280, 1280),
    (640, 640),
    (721, 1281),
    (639, 640),
    (361, 719),
    (61, 77),
    (1443, 722),
    (320, 320),
    (480, 1001),
)
_CROPPED = ((333, 251), (97, 401), (411, 13), (201, 202), (512, 300), (151, 449))
_MOSAICS = (
    (1080, 1920),
    (640, 640),
    (1281, 721),
    (600, 801),
    (333, 999),
    (960, 1280),
    (511, 640),
    (1201, 1199),
    (480, 320),
    (777, 1333),
)
_DRAWN = ((320, 320), (640, 640), (480, 641), (361, 500), (720, 1280), (299, 211), (97, 123), (1080, 810))


def photograph(name: str) -> np.ndarray:
    """uint8 BGR pixels of one of the photographs, for instance "skimage/coffee.png"."""
    package, file = name.split("/")
    pixels = cv2.imread(str(_FOLDERS[package] / file), cv2.IMREAD_COLOR)
    if pixels is None:
        raise FileNotFoundError(f"{name} is not among the files that the installed {package} brings")
    return pixels


def awkward_pictures() -> list[Picture]:
    """The photographs as they are, resized, cropped and side by side, at awkward sizes: 36 pictures."""
    originals = [Picture(name, photograph(name)) for name in _PHOTOGRAPHS]
    resized = [
        Picture(
            f"{original.name} resized {width}x{height}",
            cv2.resize(original.pixels, (width, height), interpolation=cv2.INTER_AREA),
        )
        for (height, width), original in zip(_RESIZED, originals, strict=False)
    ]
    cropped = []
    for index, ((height, width), original) in enumerate(zip(_CROPPED, originals, strict=False)):
        top, left = 7 * index, 11 * index + 3
        # Rows of a crop are not contiguous: every pitch is the caller's own.
        pixels = original.pixels[top : top + height, left : left + width]
        cropped.append(Picture(f"{original.name} cropped {width}x{height}", pixels))
    mosaics = [
        Picture(f"mosaic {width}x{height}", _mosaic(originals, index, height, width))
        for index, (height, width) in enumerate(_MOSAICS)
    ]
    return originals + resized + cropped + mosaics


def small_pictures(count: int) -> list[Picture]:
    """Of the awkward pictures those of the fewest pixels, but for those that are a few pixels wide."""
    wide_enough = [picture for picture in awkward_pictures() if min(picture.pixels.shape[:2]) >= 60]
    return sorted(wide_enough, key=lambda picture: picture.pixels.size)[:count]


def _mosaic(originals: list[Picture], first: int, height: int, width: int) -> np.ndarray:
    """Twelve photographs side by side, which have more in them to detect than one: uint8 [height, width, 3]."""
    pixels = np.empty((height, width, 3), np.uint8)
    for tile in range(12):
        row, column = divmod(tile, 4)
        top, bottom = height * row // 3, height * (row + 1) // 3
        left, right = width * column // 4, width * (column + 1) // 4
        photo = originals[(first + 3 * tile) % len(originals)].pixels
        pixels[top:bottom, left:right] = cv2.resize(photo, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    return pixels


def drawn_pictures() -> list[Picture]:
    """Shapes over photographs that the demo model was not trained on, at awkward sizes: 24 pictures."""
    from models.demo.shapes import draw_scene, load_photos, scene_generator

    photos = load_photos("held_out")
    return [
        Picture(
            f"drawn {index}, {width}x{height}",
            draw_scene(scene_generator(20260726, "held_out", 0, index), photos, size=(height, width)).image[:, :, ::-1],
        )
        for index, (height, width) in enumerate(3 * _DRAWN)
    ]
