"""Fuzz the image door: `python tests/fuzz/fuzz_images.py -max_total_time=60 [corpus folder]`; needs atheris.

Whatever goes in, three-channel uint8 pixels or `InputImageLoadError` come out. Starts from a whole file of every kind.
"""

import logging
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["rfkernels.images", "PIL"]):
    from rfkernels.errors import InputImageLoadError
    from rfkernels.images import ImageOptions, load_image

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

from image_files import oriented, whole_files

OPTIONS = ImageOptions(max_pixels=1_000_000, allow_file=False)


def check(source):
    try:
        image = load_image(source, options=OPTIONS)
    except InputImageLoadError as error:
        if not str(error).startswith("Could not load input image. Cause: "):
            raise AssertionError(f"a refusal without a cause: {error}") from error
        return
    if image.pixels.dtype != "uint8" or image.pixels.shape != (image.height, image.width, 3):
        raise AssertionError(f"pixels of dtype {image.pixels.dtype} and shape {image.pixels.shape}")
    if image.height * image.width > OPTIONS.max_pixels or not image.pixels.flags.c_contiguous:
        raise AssertionError(f"pixels of shape {image.pixels.shape} and strides {image.pixels.strides}")


def test_one_input(data):
    check(data)
    check(data.decode("latin-1"))
    check({"type": "base64", "value": data})


def main():
    # Pillow warns of odd metadata, and logs what it sees in a TIFF.
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        seeds = {**whole_files(), **{f"exif-{name}": oriented(name, 6) for name in ("JPEG", "PNG", "WEBP")}}
        for name, data in seeds.items():
            (Path(folder) / name).write_bytes(data)
        # The first folder is where libFuzzer keeps what it finds, the others are only read.
        atheris.Setup([*sys.argv, "-max_len=16384", "-rss_limit_mb=2048", folder], test_one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
