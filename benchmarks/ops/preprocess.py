"""`preprocess` on one thread: letterbox to 640 x 640 network input, of packed pixels and of NV12, next to OpenCV and
NumPy doing the same, and the middle of an image to 224 x 224, antialiased, next to Pillow and NumPy.

python -m rfkernels.benchmarks.ops.preprocess [--json]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from rfkernels.benchmarks.harness import Row, measure, measure_in_turns, memcpy_gigabytes_per_second, print_rows

from rfkernels import ops

SIZE = 640
#: Name and shape of the image, and the dtype of the output. 1080p is resized by 3 exactly, 720p by 2, 900p by 2.5.
CASES = [
    ("1080p", (1080, 1920), "float32"),
    ("1080p", (1080, 1920), "float16"),
    ("1080p", (1080, 1920), "bfloat16"),
    ("720p", (720, 1280), "float32"),
    ("900p", (900, 1600), "float32"),
    ("4K", (2160, 3840), "float32"),
    ("VGA", (480, 640), "float32"),
]
#: The same of a video decoder's planes; the peer converts them first.
NV12_CASES = [
    ("1080p", (1080, 1920), "float32"),
    ("1080p", (1080, 1920), "float16"),
    ("720p", (720, 1280), "float32"),
    ("4K", (2160, 3840), "float32"),
]
CLASSIFICATION_SIZE = 224
#: The same for classification: resized by 4.8, by 13.4, by 2.1; the last one is made larger.
CLASSIFICATION_CASES = [
    ("1080p", (1080, 1920), "float32"),
    ("1080p", (1080, 1920), "float16"),
    ("12 MP", (3000, 4000), "float32"),
    ("VGA", (480, 640), "float32"),
    ("thumbnail", (120, 160), "float32"),
]
#: Of images to rotate: more than a core's own cache, so that none is read from there; about what the shared one holds,
#: where an image lies that has just been decoded.
_IMAGE_BYTES = 24 << 20
_PEER = "cv2+numpy"
_CLASSIFICATION_PEER = "Pillow+numpy"


def rows(*, repeats: int = 40) -> list[Row]:
    """Measures each case, and its peer: OpenCV only where it is installed."""
    # As in any process that has run for a while: the allocator keeps NumPy's temporaries instead of mapping new pages
    # for every call, which would make the peer several times as slow.
    np.zeros(31 << 20, dtype=np.uint8)
    limit = memcpy_gigabytes_per_second()
    peer = _opencv_chain()
    letterboxes = [_row(name, shape, dtype, limit=limit, peer=peer, repeats=repeats) for name, shape, dtype in CASES]
    letterboxes += [
        _nv12_row(name, shape, dtype, limit=limit, peer=peer, repeats=repeats) for name, shape, dtype in NV12_CASES
    ]
    return letterboxes + [_classification_row(*case, limit=limit, repeats=repeats) for case in CLASSIFICATION_CASES]


def _images(shape: tuple[int, int]) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(1)
    count = max(4, _IMAGE_BYTES // (shape[0] * shape[1] * 3))
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for _ in range(count)]


def _row(
    name: str,
    shape: tuple[int, int],
    dtype: str,
    *,
    limit: float,
    peer: Callable[[NDArray[np.uint8], str], object] | None,
    repeats: int,
) -> Row:
    images = _images(shape)
    out = np.empty((1, 3, SIZE, SIZE), dtype=np.uint16 if dtype == "bfloat16" else dtype)

    def ours(image: NDArray[np.uint8]) -> None:
        placement = ops.plan_placement(image.shape[0], image.shape[1], size=(SIZE, SIZE))
        ops.preprocess_into(out, [image], [placement], swap_channels=True)

    result: dict[str, Any] = {
        "name": "preprocess",
        "case": f"{name}->{SIZE} {dtype}",
        "bytes_moved": _bytes_moved(shape, out.nbytes),
        "memcpy_gigabytes_per_second": limit,
    }
    if dtype == "bfloat16":  # which NumPy lacks: no peer to this chain
        return Row(median_ms=measure(ours, images, repeats=repeats).median_ms, **result)
    if peer is None:
        return Row(median_ms=measure(ours, images, repeats=repeats).median_ms, peer_name=_PEER, **result)
    timing, peer_timing = measure_in_turns([ours, lambda image: peer(image, dtype)], images, repeats=repeats)
    return Row(median_ms=timing.median_ms, peer_name=_PEER, peer_ms=peer_timing.median_ms, **result)


def _nv12_row(
    name: str,
    shape: tuple[int, int],
    dtype: str,
    *,
    limit: float,
    peer: Callable[[NDArray[np.uint8], str], object] | None,
    repeats: int,
) -> Row:
    height, width = shape
    rng = np.random.default_rng(1)
    count = max(4, _IMAGE_BYTES // (height * width * 3 // 2))
    buffers = [rng.integers(0, 256, (height * 3 // 2, width), dtype=np.uint8) for _ in range(count)]
    out = np.empty((1, 3, SIZE, SIZE), dtype=dtype)

    def ours(buffer: NDArray[np.uint8]) -> None:
        placement = ops.plan_placement(height, width, size=(SIZE, SIZE))
        ops.preprocess_into(out, [ops.NV12.from_buffer(buffer)], [placement], swap_channels=True)

    rows_read = _rows_read(shape)
    result: dict[str, Any] = {
        "name": "preprocess",
        "case": f"{name} NV12->{SIZE} {dtype}",
        "bytes_moved": (len(rows_read) + len({row // 2 for row in rows_read})) * width + out.nbytes,
        "memcpy_gigabytes_per_second": limit,
        "peer_name": _PEER,
    }
    if peer is None:
        return Row(median_ms=measure(ours, buffers, repeats=repeats).median_ms, **result)
    import cv2

    def theirs(buffer: NDArray[np.uint8]) -> object:
        return peer(cv2.cvtColor(buffer, cv2.COLOR_YUV2BGR_NV12), dtype)

    timing, peer_timing = measure_in_turns([ours, theirs], buffers, repeats=repeats)
    return Row(median_ms=timing.median_ms, peer_ms=peer_timing.median_ms, **result)


def _classification_row(name: str, shape: tuple[int, int], dtype: str, *, limit: float, repeats: int) -> Row:
    size = (CLASSIFICATION_SIZE, CLASSIFICATION_SIZE)
    images = _images(shape)
    out = np.empty((1, 3, *size), dtype=dtype)

    def ours(image: NDArray[np.uint8]) -> None:
        placement = ops.plan_placement(image.shape[0], image.shape[1], size=size, mode="shortest_side_crop")
        ops.preprocess_into(out, [image], [placement], interpolation="antialiased")

    timing, peer_timing = measure_in_turns([ours, lambda image: _pillow_chain(image, dtype)], images, repeats=repeats)
    # The source pixels that the middle is made of, and the output, once each.
    side = min(shape)
    return Row(
        name="preprocess",
        case=f"{name}->{CLASSIFICATION_SIZE} antialiased {dtype}",
        median_ms=timing.median_ms,
        bytes_moved=side * side * 3 + out.nbytes,
        memcpy_gigabytes_per_second=limit,
        peer_name=_CLASSIFICATION_PEER,
        peer_ms=peer_timing.median_ms,
    )


def _pillow_chain(image: NDArray[np.uint8], dtype: str) -> NDArray[Any]:
    """Resize and crop as torchvision has Pillow do them, and NumPy for the rest."""
    height, width = image.shape[:2]
    side = CLASSIFICATION_SIZE
    short = min(height, width)
    resized_width, resized_height = side * width // short, side * height // short
    left, top = round((resized_width - side) / 2), round((resized_height - side) / 2)
    resized = PillowImage.fromarray(image).resize((resized_width, resized_height), PillowImage.Resampling.BILINEAR)
    pixels = np.asarray(resized.crop((left, top, left + side, top + side)))
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
    return (planes.astype(np.float32) / 255).astype(dtype, copy=False)


def _bytes_moved(shape: tuple[int, int], output_bytes: int) -> int:
    """The source rows that have a weight, and the output, once each."""
    return len(_rows_read(shape)) * shape[1] * 3 + output_bytes


def _rows_read(shape: tuple[int, int]) -> range:
    """As many source rows as have a weight, and, where each resized row is one of them, just these."""
    height, width = shape
    placement = ops.plan_placement(height, width, size=(SIZE, SIZE))
    step, rest = divmod(height, placement.resized_height)
    if rest == 0 and step % 2 == 1:
        return range(step // 2, height, step)
    return range(min(2 * placement.resized_height, height))


def _opencv_chain() -> Callable[[NDArray[np.uint8], str], object] | None:
    try:
        import cv2
    except ImportError:
        return None
    cv2.setNumThreads(1)

    def chain(image: NDArray[np.uint8], dtype: str) -> object:
        height, width = image.shape[:2]
        scale = min(SIZE / width, SIZE / height)
        resized_width, resized_height = int(width * scale), int(height * scale)
        left, top = (SIZE - resized_width) // 2, (SIZE - resized_height) // 2
        right, bottom = SIZE - resized_width - left, SIZE - resized_height - top
        resized = cv2.resize(image, (resized_width, resized_height), interpolation=cv2.INTER_LINEAR)
        padded = cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
        rgb = cv2.cvtColor(padded, cv2.COLOR_BGR2RGB)
        planes = np.ascontiguousarray(rgb.transpose(2, 0, 1)[None])
        return (planes.astype(np.float32) / 255).astype(dtype, copy=False)

    return chain


if __name__ == "__main__":
    print_rows(rows(), as_json="--json" in sys.argv[1:])
