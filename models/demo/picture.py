"""Draw the demo picture: python -m models.demo.picture --output models/demo/shapes.jpg

Shapes over a whole photo that no training picture was cut from. Needs NumPy, Pillow and scikit-image.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from models.demo import shapes

SIZE = (960, 640)  # width, height
SEED = 106


def draw_picture(seed: int) -> shapes.Scene:
    """Draw the shapes of a seed over the launch photo, uint8 [640, 960, 3]."""
    photos = shapes.load_photos("held_out")
    launch = next(i for i, photo in enumerate(shapes.PHOTOS["held_out"]) if photo.file == "rocket.jpg")
    background = np.asarray(Image.fromarray(photos[launch]).resize(SIZE, Image.Resampling.LANCZOS))
    return shapes.draw_scene(
        np.random.default_rng(seed),
        photos,
        shape_count=(9, 9),
        shape_size=(0.16, 0.36),
        distractor_count=(2, 2),
        degrade=False,
        background=background,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("shapes.jpg"))
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    Image.fromarray(draw_picture(arguments.seed).image).save(arguments.output, quality=90, optimize=True)


if __name__ == "__main__":
    main()
