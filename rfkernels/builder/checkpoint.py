"""A checkpoint as plain data, whatever file it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from rfkernels.errors import CheckpointError
from rfkernels.models.yolov8.network import Network

SourceFormat = Literal["pt", "safetensors", "onnx"]
OnProgress = Callable[[str, int, int], None]

LARGEST_FILE_BYTES = 4 * 1024**3
LARGEST_CLASS_COUNT = 100_000
_CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one network and what the file said about it.

    weights: float32 arrays by the keys of a state dict ("model.0.conv.weight", ...). What the file did not say is None:
    a bare state dict knows neither class names nor image size. Names of keypoints and the edges between them are the
    same for all classes, or by class id.
    """

    weights: dict[str, NDArray[np.float32]]
    network: Network
    family: str
    class_names: tuple[str, ...] | None
    image_size: tuple[int, int] | None
    keypoint_names: tuple[str, ...] | dict[int, tuple[str, ...]] | None
    skeleton: tuple[tuple[int, int], ...] | dict[int, tuple[tuple[int, int], ...]] | None
    batch_norm_epsilon: float
    source_format: SourceFormat
    source_file: str
    source_sha256: str


@dataclass(frozen=True)
class ModuleRecord:
    """A module as a file describes it; nothing of it was ever made or run.

    package and class_name are names only, attributes are what the file gives them, of any plain type, and members are
    the names of its children in order.
    """

    package: str
    class_name: str
    attributes: MutableMapping[object, object]
    members: tuple[str, ...]


@dataclass(frozen=True)
class RawCheckpoint:
    """What a reader found in a file, before anything is known about the network."""

    weights: dict[str, NDArray[np.float32]]
    task: str | None = None
    class_names: tuple[str, ...] | None = None
    image_size: tuple[int, int] | None = None
    stride: int | None = None
    keypoint_shape: tuple[int, int] | None = None
    keypoint_names: tuple[str, ...] | dict[int, tuple[str, ...]] | None = None
    skeleton: tuple[tuple[int, int], ...] | dict[int, tuple[tuple[int, int], ...]] | None = None
    batch_norm_epsilon: float | None = None
    # The modules by name, in the order of the file, where it holds a whole model: keys and shapes of weights do not
    # show what is computed with them.
    modules: Mapping[str, ModuleRecord] | None = None


def bfloat16_to_float32(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """A bfloat16 is the upper half of a float32."""
    values: NDArray[np.float32] = (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values


def normalise_keys(weights: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Give every key the form "model.<layer>. ...", whatever part of the model the state dict was taken of.

    Raises:
        CheckpointError: two keys become the same.
    """
    normalised: dict[str, NDArray[np.float32]] = {}
    for key, values in weights.items():
        name = normalised_name(key)
        if name in normalised:
            raise CheckpointError(f"{key[:80]}: two weights have this name once prefixes are removed")
        normalised[name] = values
    return normalised


def normalised_name(key: str) -> str:
    """The name of a weight or module as "model.<layer>. ...", without the names of what was wrapped around that."""
    rest = key
    while rest.startswith(("model.", "module.")):
        rest = rest.split(".", 1)[1]
    return f"model.{rest}" if rest[:1].isdigit() else key


def check_class_names(names: Iterable[object], what: str = "names") -> tuple[str, ...]:
    """Class names as a file gives them, in order: texts, or numbers that stand for themselves.

    Raises:
        CheckpointError: another type, or a text of more than 1000 characters.
    """
    checked: list[str] = []
    for name in names:
        if isinstance(name, bool) or not isinstance(name, str | int) or (isinstance(name, int) and abs(name) >= 2**63):
            raise CheckpointError(f"{what}: got a {type(name).__name__} as class {len(checked)}, expected a text")
        text = str(name)
        if len(text) > 1000 or len(checked) >= LARGEST_CLASS_COUNT:
            raise CheckpointError(f"{what}: got a name over 1000 characters or more than {LARGEST_CLASS_COUNT} names")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise CheckpointError(f"{what}: class {len(checked)} is not valid Unicode")
        checked.append(text)
    return tuple(checked)


def class_names_by_index(names: dict[object, object], what: str = "names") -> tuple[str, ...]:
    """Class names given as {index: name}, in any order; indices may be texts, as in JSON.

    Raises:
        CheckpointError: indices that are not 0 to n - 1.
    """
    by_index: dict[int, object] = {}
    for key, name in names.items():
        if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) <= 9:
            key = int(key)  # noqa: PLW2901 - a JSON object's keys are texts
        if isinstance(key, bool) or not isinstance(key, int) or key in by_index:
            raise CheckpointError(f"{what}: got an index that is no number, or twice the same; expected 0 to n - 1")
        by_index[key] = name
    if sorted(by_index) != list(range(len(by_index))):
        raise CheckpointError(f"{what}: got {len(by_index)} names whose indices are not 0 to {len(by_index) - 1}")
    return check_class_names((by_index[index] for index in range(len(by_index))), what)


def image_size_from(value: object, what: str = "imgsz") -> tuple[int, int]:
    """Image size as files give it: one side, or [height, width].

    Raises:
        CheckpointError: anything else.
    """
    sides = [value, value] if isinstance(value, int) else value
    if isinstance(sides, list | tuple) and len(sides) == 1:
        sides = [sides[0], sides[0]]
    if (
        not isinstance(sides, list | tuple)
        or len(sides) != 2
        or not all(isinstance(side, int) and not isinstance(side, bool) and 0 < side <= 65536 for side in sides)
    ):
        raise CheckpointError(f"{what}: expected one side or [height, width] in pixels")
    return sides[0], sides[1]


def open_weights(path: Path) -> BinaryIO:
    """Open a regular file of an acceptable size.

    Raises:
        CheckpointError: missing, a folder, empty, over 4 GiB, or not readable.
    """
    try:
        if not path.is_file():
            raise CheckpointError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
        size = path.stat().st_size
        if size == 0:
            raise CheckpointError(f"{path}: the file is empty")
        if size > LARGEST_FILE_BYTES:
            raise CheckpointError(f"{path}: {size} bytes, expected at most {LARGEST_FILE_BYTES}")
        return path.open("rb")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error


def sha256_of(file: BinaryIO, size: int, on_progress: OnProgress | None) -> str:
    """SHA-256 of a whole file, in hexadecimal."""
    digest = hashlib.sha256()
    file.seek(0)
    done = 0
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
        done += len(chunk)
        if on_progress is not None:
            on_progress("checksum", done, size)
    return digest.hexdigest()
