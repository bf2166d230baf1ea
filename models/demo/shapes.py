"""A labelled data set, drawn: shapes over photos, with boxes, masks and keypoints that are exact by construction.

Needs NumPy and Pillow; the photos come from the scikit-image wheel (`load_photos`), or are passed in as arrays.

    photos = load_photos("train")
    scene = draw_scene(scene_generator(seed=7, split="train", epoch=0, index=3), photos)
    scene.image                     # uint8 [320, 320, 3], RGB
    scene.instances[0].mask         # bool [320, 320], the pixels of the shape that can be seen

Coordinates are continuous: pixel (row 0, column 0) covers x 0..1 and y 0..1. Everything follows from the generator
passed in, so the same seed gives the same picture with the same versions of NumPy and Pillow.
"""

import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Split = Literal["train", "held_out"]
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Points = NDArray[np.float64]

CLASS_NAMES = ("disc", "ring", "triangle", "arrow", "star", "house")
KEYPOINT_NAMES = ("top", "left", "right", "bottom", "centre")
FLIPPED_KEYPOINTS = (0, 2, 1, 3, 4)  # where each keypoint goes when a picture is mirrored left to right
SKELETON = ((0, 1), (0, 2), (1, 3), (2, 3), (0, 4))

NOT_IN_IMAGE, OCCLUDED, VISIBLE = 0, 1, 2  # COCO's visibility flags

_SUPERSAMPLING = 4
_LEAST_VISIBLE_SHARE = 0.45  # of a shape's whole area: less would leave labels nobody could give
_LEAST_VISIBLE_PIXELS = 120
_PLACEMENT_ATTEMPTS = 12


@dataclass(frozen=True)
class Photo:
    """A picture of the scikit-image wheel and the part of it that a split may use."""

    file: str
    licence: str
    region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)  # left, top, right, bottom as shares


# Licences as stated in the docstrings of skimage.data. The retina's rim is left out: it is itself a large disc.
PHOTOS: dict[Split, tuple[Photo, ...]] = {
    "train": (
        Photo("astronaut.png", "public domain (NASA)"),
        Photo("camera.png", "CC0 (Lav Varshney)"),
        Photo("coffee.png", "CC0 (Rachel Michetti)"),
        Photo("brick.png", "CC0 (CC0Textures)"),
        Photo("gravel.png", "CC0 (CC0Textures)"),
        Photo("hubble_deep_field.jpg", "public domain (NASA)", (0.0, 0.0, 0.6, 1.0)),
        Photo("retina.jpg", "CC0 (Mikael Haggstrom)", (0.22, 0.22, 0.78, 0.78)),
    ),
    "held_out": (
        Photo("rocket.jpg", "public domain (SpaceX)"),
        Photo("chelsea.png", "CC0 (Stefan van der Walt)"),
        Photo("grass.png", "CC0 (CC0Textures)"),
        Photo("hubble_deep_field.jpg", "public domain (NASA)", (0.62, 0.0, 1.0, 1.0)),
    ),
}


@dataclass(frozen=True)
class Instance:
    """One labelled shape.

    box: x1, y1, x2, y2 in pixels, tight around `mask`.
    mask: bool [height, width], the visible pixels.
    keypoints: float32 [5, 3], x, y and COCO's visibility (0 outside of the picture, x = y = 0; 1 hidden; 2 visible).
    """

    class_id: int
    box: tuple[float, float, float, float]
    mask: Mask
    keypoints: NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """A picture, uint8 [height, width, 3] RGB, and its labels."""

    image: Pixels
    instances: list[Instance]


@dataclass(frozen=True)
class Outline:
    """A shape in its own frame: x to the right, y down, everything within -1..1; mirror-symmetric about x = 0."""

    rings: tuple[Points, ...]  # the first is filled, each further one is a hole
    keypoints: Points
    largest_rotation: float  # degrees; beyond it the keypoints would not be told apart
    aspect: tuple[float, float]  # width / height, least and largest


def scene_generator(seed: int, split: Split, epoch: int, index: int) -> np.random.Generator:
    """The generator of one picture: no two of (seed, split, epoch, index) share one."""
    return np.random.default_rng([seed, ("train", "held_out").index(split), epoch, index])


def load_photos(split: Split) -> list[Pixels]:
    """The photos of a split, uint8 [height, width, 3] RGB each, from the installed scikit-image wheel.

    Raises:
        ModuleNotFoundError: scikit-image is not installed.
        FileNotFoundError: its wheel has no such photo.
    """
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise ModuleNotFoundError(
            "the photos ship in the scikit-image wheel, which is missing: pip install scikit-image"
        )
    folder = Path(package.origin).parent / "data"
    photos = []
    for photo in PHOTOS[split]:
        with Image.open(folder / photo.file) as picture:
            left, top, right, bottom = photo.region
            width, height = picture.size
            corners = (int(left * width), int(top * height), int(right * width), int(bottom * height))
            photos.append(np.asarray(picture.convert("RGB").crop(corners)))
    return photos


def draw_scene(
    generator: np.random.Generator,
    photos: Sequence[Pixels],
    *,
    size: tuple[int, int] = (320, 320),
    shape_count: tuple[int, int] = (1, 9),
    shape_size: tuple[float, float] = (0.09, 0.5),
    distractor_count: tuple[int, int] = (0, 4),
    degrade: bool = True,
    background: Pixels | None = None,
) -> Scene:
    """Draw one labelled picture.

    Args:
        generator: the only source of chance.
        photos: uint8 [height, width, 3] RGB each; backgrounds and textures are random crops of them.
        size: height and width in pixels.
        shape_count: least and largest number of shapes. A shape that finds no free place is left out.
        shape_size: least and largest height of a shape, as shares of the picture's shorter side.
        distractor_count: least and largest number of unlabelled bars, crosses and strokes.
        degrade: whether the picture may be blurred, noisy and compressed.
        background: uint8 [height, width, 3] RGB to draw on instead of a random crop; `size` is then taken from it.

    Raises:
        ValueError: no photos, or one that is not uint8 [height, width, 3].
    """
    if not photos:
        raise ValueError("photos is empty: pass at least one uint8 [height, width, 3] array")
    for photo in [*photos, *([] if background is None else [background])]:
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
            raise ValueError(
                f"photos and background must be uint8 [height, width, 3], got {photo.dtype} {list(photo.shape)}"
            )
    height, width = size if background is None else background.shape[:2]
    canvas = _Canvas(_photo_crop(generator, photos, height, width) if background is None else background.copy())
    labelled = int(generator.integers(shape_count[0], shape_count[1] + 1))
    distractors = int(generator.integers(distractor_count[0], distractor_count[1] + 1))
    order = np.array([True] * labelled + [False] * distractors)
    generator.shuffle(order)
    for is_labelled in order:
        for _ in range(_PLACEMENT_ATTEMPTS):
            if is_labelled:
                class_id: int | None = int(generator.integers(len(CLASS_NAMES)))
                outline = OUTLINES[CLASS_NAMES[class_id]]  # type: ignore[index]
            else:
                class_id, outline = None, _distractor(generator)
            placed = _place(generator, outline, height, width, shape_size)
            if canvas.has_room_for(placed, class_id is not None):
                canvas.paint(placed, class_id, _fill(generator, photos, canvas, placed))
                break
    image = _degrade(generator, canvas.image) if degrade else canvas.image
    return Scene(image, canvas.instances())


def _regular(count: int, radius: float = 1.0, start: float = 0.0) -> Points:
    """`count` points on a circle, clockwise on the screen from the top."""
    angles = np.radians(start) + np.arange(count) * (2 * np.pi / count)
    return np.stack([radius * np.sin(angles), -radius * np.cos(angles)], axis=1)


def _outlines() -> dict[str, Outline]:
    cross = [(0, -1), (-1, 0), (1, 0), (0, 1), (0, 0)]
    triangle = [(0, -1), (1, 1), (-1, 1)]
    star = np.empty((10, 2))
    star[0::2], star[1::2] = _regular(5), _regular(5, 0.42, 36)
    head, shaft = -0.05, 0.34  # where an arrow's head ends, and half the width of its shaft
    arrow = [(0, -1), (1, head), (shaft, head), (shaft, 1), (-shaft, 1), (-shaft, head), (-1, head)]
    house = [(0, -1), (1, -0.2), (0.8, -0.2), (0.8, 1), (-0.8, 1), (-0.8, -0.2), (-1, -0.2)]

    def outline(
        rings: Sequence[object], keypoints: Sequence[object], rotation: float, aspect: tuple[float, float]
    ) -> Outline:
        return Outline(
            tuple(np.asarray(ring, np.float64) for ring in rings), np.asarray(keypoints, np.float64), rotation, aspect
        )

    # A disc and a ring look the same whichever way they are turned, so they are not turned: "top" is the picture's top.
    return {
        "disc": outline([_regular(72)], cross, 0, (0.8, 1.25)),
        "ring": outline([_regular(72), _regular(72, 0.55)], cross, 0, (0.8, 1.25)),
        "triangle": outline([triangle], [(0, -1), (-1, 1), (1, 1), (0, 1), (0, 1 / 3)], 30, (0.75, 1.3)),
        "arrow": outline([arrow], [(0, -1), (-1, head), (1, head), (0, 1), (0, head)], 75, (0.65, 1.0)),
        "star": outline([star], [star[0], star[8], star[2], star[5], (0, 0)], 25, (0.85, 1.15)),
        "house": outline([house], [(0, -1), (-1, -0.2), (1, -0.2), (0, 1), (0, 0.2)], 30, (0.75, 1.25)),
    }


OUTLINES = _outlines()


def _distractor(generator: np.random.Generator) -> Outline:
    """A bar, a cross or a bent stroke: of no class, so that being drawn is not enough to be detected."""
    kind = generator.integers(3)
    thickness = float(generator.uniform(0.12, 0.35))
    ring: list[tuple[float, float]]
    if kind == 0:
        ring = [(-thickness, -1), (thickness, -1), (thickness, 1), (-thickness, 1)]
    elif kind == 1:
        arm = [(thickness, -1), (thickness, -thickness), (1, -thickness), (1, thickness), (thickness, thickness)]
        ring = [*arm, (thickness, 1), (-thickness, 1), (-thickness, thickness), (-1, thickness), (-1, -thickness)]
        ring += [(-thickness, -thickness), (-thickness, -1)]
    else:
        middle = float(generator.uniform(-0.3, 0.3))
        ring = [(-1, -thickness), (0, middle - thickness), (1, -thickness), (1, thickness), (0, middle + thickness)]
        ring += [(-1, thickness)]
    return Outline((np.asarray(ring, np.float64),), np.empty((0, 2)), 180, (0.7, 1.4))


@dataclass(frozen=True)
class _Placed:
    """A shape on the picture: its coverage (0..255) over a rectangle of it, and its keypoints in pixels."""

    left: int
    top: int
    coverage: Pixels  # [rows, columns]: the part of the shape's surroundings that is inside of the picture
    area: int  # pixels of the whole shape, those outside of the picture too
    keypoints: Points

    @property
    def window(self) -> tuple[slice, slice]:
        rows, columns = self.coverage.shape
        return slice(self.top, self.top + rows), slice(self.left, self.left + columns)

    @property
    def silhouette(self) -> Mask:
        inside: Mask = self.coverage >= 128
        return inside


def _place(
    generator: np.random.Generator, outline: Outline, height: int, width: int, shape_size: tuple[float, float]
) -> _Placed:
    """Give a shape a size (log-uniform), an aspect, a turn and a place."""
    shorter = min(height, width)
    half_height = 0.5 * shorter * float(np.exp(generator.uniform(*np.log(shape_size))))
    half_width = half_height * float(np.exp(generator.uniform(*np.log(outline.aspect))))
    turn = np.radians(generator.uniform(-1, 1) * outline.largest_rotation)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    scale = np.array([half_width, half_height])
    rings = [ring * scale @ rotation for ring in outline.rings]
    low, high = rings[0].min(axis=0), rings[0].max(axis=0)
    margin = -0.3 * (high - low) if generator.random() < 0.12 else np.array([1.0, 1.0])  # a few are cut by the border
    least, most = margin - low, np.array([width, height]) - margin - high
    centre = np.where(most > least, generator.uniform(least, np.maximum(most, least)), 0.5 * np.array([width, height]))
    rings = [ring + centre for ring in rings]
    origin = np.floor(low + centre).astype(int) - 1
    extent = np.ceil(high + centre).astype(int) + 1 - origin
    whole = _coverage([ring - origin for ring in rings], int(extent[0]), int(extent[1]))
    left, top = max(int(origin[0]), 0), max(int(origin[1]), 0)
    right, bottom = min(int(origin[0] + extent[0]), width), min(int(origin[1] + extent[1]), height)
    inside = whole[top - origin[1] : bottom - origin[1], left - origin[0] : right - origin[0]]
    return _Placed(left, top, inside, int((whole >= 128).sum()), outline.keypoints * scale @ rotation + centre)


def _coverage(rings: Sequence[Points], width: int, height: int) -> Pixels:
    """How much of each pixel lies inside of the first ring and outside of the others, 0..255, uint8 [height, width]."""
    large = Image.new("L", (width * _SUPERSAMPLING, height * _SUPERSAMPLING))
    draw = ImageDraw.Draw(large)
    for index, ring in enumerate(rings):
        draw.polygon([tuple(point) for point in ring * _SUPERSAMPLING - 0.5], fill=0 if index else 255)
    return np.asarray(large.reduce(_SUPERSAMPLING))


class _Canvas:
    """The picture being drawn, and which shape is on top at each pixel."""

    def __init__(self, background: Pixels) -> None:
        self.image = background
        self.top = np.zeros(background.shape[:2], np.uint8)  # 0 is the background, then shapes as painted
        self.visible: list[int] = [0]
        self.areas: list[int] = [0]
        self.labels: list[int | None] = [None]
        self.keypoints: list[Points] = [np.empty((0, 2))]

    def has_room_for(self, placed: _Placed, labelled: bool) -> bool:
        """Whether the new shape and every labelled one below would still be seen well enough to be labelled."""
        silhouette = placed.silhouette
        own = int(silhouette.sum())
        if labelled and (own < _LEAST_VISIBLE_PIXELS or own < _LEAST_VISIBLE_SHARE * placed.area):
            return False
        covered = np.bincount(self.top[placed.window][silhouette], minlength=len(self.labels))
        return all(
            label is None or (left >= _LEAST_VISIBLE_PIXELS and left >= _LEAST_VISIBLE_SHARE * area)
            for label, left, area in zip(self.labels, np.array(self.visible) - covered, self.areas, strict=True)
        )

    def paint(self, placed: _Placed, class_id: int | None, fill: Pixels) -> None:
        silhouette = placed.silhouette
        below = self.image[placed.window].astype(np.int32)
        alpha = placed.coverage[..., None].astype(np.int32)
        self.image[placed.window] = (below + (alpha * (fill.astype(np.int32) - below) + 127) // 255).astype(np.uint8)
        covered = np.bincount(self.top[placed.window][silhouette], minlength=len(self.labels))
        self.visible = [count - int(lost) for count, lost in zip(self.visible, covered, strict=True)]
        self.top[placed.window][silhouette] = len(self.labels)
        self.visible.append(int(silhouette.sum()))
        self.areas.append(placed.area)
        self.labels.append(class_id)
        self.keypoints.append(placed.keypoints)

    def instances(self) -> list[Instance]:
        found = []
        for order, class_id in enumerate(self.labels):
            if class_id is not None:
                mask = self.top == order
                rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
                box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
                found.append(Instance(class_id, box, mask, self._seen_keypoints(order)))
        return found

    def _seen_keypoints(self, order: int) -> NDArray[np.float32]:
        height, width = self.top.shape
        result = np.zeros((len(KEYPOINT_NAMES), 3), np.float32)
        for row, (x, y) in zip(result, self.keypoints[order].tolist(), strict=True):
            if 0 <= x < width and 0 <= y < height:
                # Hidden means painted over later: a tip's own pixel or a ring's hole need not belong to the mask.
                row[:] = x, y, VISIBLE if self.top[int(y), int(x)] <= order else OCCLUDED
        return result


def _photo_crop(generator: np.random.Generator, photos: Sequence[Pixels], height: int, width: int) -> Pixels:
    """A random crop of a random photo, mirrored and recoloured by chance, scaled to uint8 [height, width, 3]."""
    photo = photos[int(generator.integers(len(photos)))]
    scale = min(photo.shape[0] / height, photo.shape[1] / width) * generator.uniform(0.3, 1.0)
    crop_height, crop_width = max(int(height * scale), 1), max(int(width * scale), 1)
    top = int(generator.integers(photo.shape[0] - crop_height + 1))
    left = int(generator.integers(photo.shape[1] - crop_width + 1))
    crop = Image.fromarray(photo[top : top + crop_height, left : left + crop_width])
    pixels = np.asarray(crop.resize((width, height), Image.Resampling.BILINEAR))
    if generator.random() < 0.5:
        pixels = pixels[:, ::-1]
    if generator.random() < 0.25:
        pixels = pixels[::-1]
    gain = generator.uniform(0.6, 1.3) * generator.uniform(0.8, 1.2, 3)
    table = np.clip(np.arange(256)[:, None] * gain + generator.uniform(-25, 25), 0, 255).astype(np.uint8)
    return np.stack([table[pixels[..., channel], channel] for channel in range(3)], axis=-1)


def _colour_apart(generator: np.random.Generator, from_colour: Points, least_distance: float = 90) -> Points:
    """A random colour that is told apart from another one."""
    while True:
        colour = generator.uniform(0, 255, 3)
        if np.linalg.norm(colour - from_colour) >= least_distance:
            return colour


def _fill(generator: np.random.Generator, photos: Sequence[Pixels], canvas: _Canvas, placed: _Placed) -> Pixels:
    """What a shape is filled with, uint8 [rows, columns, 3]: a colour, a gradient, stripes or a photo, and a rim."""
    rows, columns = placed.coverage.shape
    around = canvas.image[placed.window].reshape(-1, 3).mean(axis=0)
    colour = _colour_apart(generator, around)
    painter = (_flat, _gradient, _stripes, _texture)[int(generator.choice(4, p=(0.4, 0.25, 0.1, 0.25)))]
    fill = painter(generator, photos, colour, (rows, columns))
    rim_width = int(generator.integers(1, max(2, min(rows, columns) // 24 + 2)))
    if generator.random() < 0.35:
        rim = _colour_apart(generator, around)
        # Inside is where a box of the rim's width is full. Beyond the rectangle there is no shape: pad first.
        padded = Image.fromarray(np.pad(placed.coverage, rim_width)).filter(ImageFilter.BoxBlur(rim_width))
        share = np.asarray(padded)[rim_width:-rim_width, rim_width:-rim_width, None] / 255.0
        inner = np.clip((share - 0.9) / 0.1, 0, 1)
        fill = fill * inner + rim * (1 - inner)
    return np.clip(fill, 0, 255).astype(np.uint8)


def _flat(generator: np.random.Generator, photos: Sequence[Pixels], colour: Points, size: tuple[int, int]) -> Points:
    return np.broadcast_to(colour, (*size, 3))


def _gradient(
    generator: np.random.Generator, photos: Sequence[Pixels], colour: Points, size: tuple[int, int]
) -> Points:
    end = np.clip(colour + generator.uniform(-70, 70, 3), 0, 255)
    angle = generator.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-0.5 : 0.5 : size[0] * 1j, -0.5 : 0.5 : size[1] * 1j]
    share = np.clip(x * np.cos(angle) + y * np.sin(angle) + 0.5, 0, 1)[..., None]
    blended: Points = colour * (1 - share) + end * share
    return blended


def _stripes(generator: np.random.Generator, photos: Sequence[Pixels], colour: Points, size: tuple[int, int]) -> Points:
    other = np.clip(colour + generator.choice([-1, 1]) * generator.uniform(30, 80), 0, 255)
    angle, period = generator.uniform(0, np.pi), generator.uniform(5, 16)
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    odd = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period))[..., None] > 0
    return np.where(odd, colour, other)


def _texture(generator: np.random.Generator, photos: Sequence[Pixels], colour: Points, size: tuple[int, int]) -> Points:
    """A photo pulled towards the colour, so that the shape stands out from a background of the same photo."""
    crop = _photo_crop(generator, photos, *size).astype(np.float64)
    pulled: Points = colour + (crop - crop.mean(axis=(0, 1))) * generator.uniform(0.5, 1.0)
    return pulled


def _degrade(generator: np.random.Generator, image: Pixels) -> Pixels:
    """Blur, noise and JPEG compression, each by chance."""
    if generator.random() < 0.2:
        blur = ImageFilter.GaussianBlur(generator.uniform(0.3, 1.3))
        image = np.asarray(Image.fromarray(image).filter(blur))
    if generator.random() < 0.3:
        noise = generator.standard_normal(image.shape, dtype=np.float32) * np.float32(generator.uniform(2, 10))
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if generator.random() < 0.25:
        encoded = io.BytesIO()
        Image.fromarray(image).save(encoded, "JPEG", quality=int(generator.integers(45, 96)))
        image = np.asarray(Image.open(encoded))
    return image
