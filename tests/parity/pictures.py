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
# (height, width) of what the photographs are resized or cropped to: larger and smaller than a network's input, exactly it, exactly twice
# it, odd, one pixel more or less, far from square, and 77 wide, where 77 * (640 / 77) is a hair below 640 in float64.
_RESIZED = ((1080, 1920), (1280, 1280), (640, 640), (721, 1281), (639, 640), (361, 719), (61, 77), (1443, 722))
_CROPPED = ((333, 251), (97, 401), (511, 13), (201, 202))


def photograph(name: str) -> np.ndarray:
    """uint8 BGR pixels of one of the photographs, for instance "skimage/coffee.png"."""
    package, file = name.split("/")
    pixels = cv2.imread(str(_FOLDERS[package] / file), cv2.IMREAD_COLOR)
    if pixels is None:
        raise FileNotFoundError(f"{name} is not among the files that the installed {package} brings")
    return pixels


def awkward_pictures() -> list[Picture]:
    """The photographs as they are, then resized and cropped to awkward sizes: 22 pictures, always the same."""
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
    return originals + resized + cropped
