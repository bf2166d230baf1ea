"""Reading .safetensors files: a length, a JSON header, raw little-endian arrays.

Source: the format's description by its authors (huggingface/safetensors), whose rules are all checked: the header's
size, no name twice, every array inside the data, none overlapping another, no byte left over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from rfkernels.builder.checkpoint import (
    OnProgress,
    RawCheckpoint,
    bfloat16_to_float32,
    check_class_names,
    class_names_by_index,
    image_size_from,
)
from rfkernels.builder.keypoints import keypoint_names_from, keypoint_shape_from, skeleton_from
from rfkernels.errors import CheckpointError

_Value = TypeVar("_Value")

_LARGEST_HEADER_BYTES = 16 * 1024 * 1024
_MOST_DIMENSIONS = 8
_FLOATING_TYPES = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}
_OTHER_ITEM_SIZES = {"I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def read_safetensors_file(file: BinaryIO, size: int, on_progress: OnProgress | None = None) -> RawCheckpoint:
    """Weights of a .safetensors file, and what its metadata says of the network.

    In the metadata, whose values are texts, names is a JSON object {index: name} or a list, imgsz a JSON list
    [height, width] or one number, stride a number, kpt_shape a JSON list [keypoints, numbers of each]; kpt_names and
    skeleton are JSON lists of names and of pairs of keypoints, or objects {class id: such a list}.

    Raises:
        CheckpointError: not such a file, or malformed; the message names the entry.
    """
    file.seek(0)
    prefix = file.read(8)
    if len(prefix) != 8:
        raise CheckpointError("not a safetensors file: shorter than 8 bytes")
    header_size = int.from_bytes(prefix, "little")
    if header_size > min(_LARGEST_HEADER_BYTES, size - 8):
        raise CheckpointError(
            f"not a safetensors file: a header of {header_size} bytes in a file of {size} "
            f"(at most {_LARGEST_HEADER_BYTES})"
        )
    try:
        text = file.read(header_size).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"safetensors header: not valid JSON: {error}") from error
    header = _json(text, "header")
    if not isinstance(header, dict):
        raise CheckpointError(f"safetensors header: got a {type(header).__name__}, expected an object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError("safetensors header: __metadata__ is no object of texts")
    data_size = size - 8 - header_size
    ranges = {name: _checked_range(name, entry, data_size) for name, entry in header.items()}
    end = 0
    for name, (begin, stop) in sorted(ranges.items(), key=lambda item: item[1]):
        if begin != end:
            kind = "overlaps the one before it" if begin < end else f"leaves {begin - end} bytes before it unused"
            raise CheckpointError(f"{name[:80]}: {kind}, expected arrays one after another")
        end = stop
    if end != data_size:
        raise CheckpointError(
            f"safetensors file: its arrays end at byte {end} of {data_size} (truncated, or bytes added)"
        )
    weights: dict[str, NDArray[np.float32]] = {}
    for done, (name, entry) in enumerate(header.items()):
        if entry["dtype"] in _FLOATING_TYPES:
            file.seek(8 + header_size + ranges[name][0])
            data = file.read(ranges[name][1] - ranges[name][0])
            weights[name] = _array(name, data, entry["dtype"], entry["shape"])
        if on_progress is not None:
            on_progress("weights", done + 1, len(header))
    return RawCheckpoint(
        weights=weights,
        task=metadata.get("task"),
        class_names=_class_names(metadata),
        image_size=_from_json(metadata, "imgsz", image_size_from),
        stride=_stride(metadata),
        keypoint_shape=_from_json(metadata, "kpt_shape", keypoint_shape_from),
        keypoint_names=_from_json(metadata, "kpt_names", keypoint_names_from),
        skeleton=_from_json(metadata, "skeleton", skeleton_from),
    )


def _json(text: str, what: str) -> Any:  # noqa: ANN401 - whatever the JSON holds; every caller checks it
    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        document = dict(pairs)
        if len(document) != len(pairs):
            raise ValueError("a name is given twice")
        for value in [*document, *document.values()]:
            if isinstance(value, str):
                value.encode()  # Half a surrogate pair, which JSON can spell, is a ValueError here.
        return document

    try:
        return json.loads(text, object_pairs_hook=without_duplicates)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"safetensors {what}: not valid JSON: {error}") from error


def _from_json(metadata: dict[str, str], name: str, read: Callable[[object, str], _Value]) -> _Value | None:
    return read(_json(metadata[name], name), name) if name in metadata else None


def _checked_range(name: str, entry: object, data_size: int) -> tuple[int, int]:
    """Begin and end of an array's bytes within the data, checked against its type and shape."""
    shown = name[:80]
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{shown}: expected dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or (dtype not in _FLOATING_TYPES and dtype not in _OTHER_ITEM_SIZES):
        known = ", ".join((*_FLOATING_TYPES, *_OTHER_ITEM_SIZES))
        raise CheckpointError(
            f"{shown}: got dtype {str(dtype)[:40] if isinstance(dtype, str) else '?'}, expected one of {known}"
        )
    if not _are_counts(shape) or len(shape) > _MOST_DIMENSIONS:
        raise CheckpointError(f"{shown}: shape is no list of at most {_MOST_DIMENSIONS} whole numbers from 0")
    if not _are_counts(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= data_size:
        raise CheckpointError(f"{shown}: data_offsets lie outside the {data_size} bytes of data")
    item_size = np.dtype(_FLOATING_TYPES[dtype]).itemsize if dtype in _FLOATING_TYPES else _OTHER_ITEM_SIZES[dtype]
    expected = math.prod(shape) * item_size
    if offsets[1] - offsets[0] != expected:
        raise CheckpointError(f"{shown}: {offsets[1] - offsets[0]} bytes, but its shape and dtype need another number")
    return offsets[0], offsets[1]


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 2**63 for item in value
    )


def _array(name: str, data: bytes, dtype: str, shape: list[int]) -> NDArray[np.float32]:
    if 0 in shape:
        raise CheckpointError(f"{name[:80]}: an array without elements")
    flat = np.frombuffer(data, _FLOATING_TYPES[dtype])
    if dtype == "BF16":
        return bfloat16_to_float32(flat).reshape(shape)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(flat, dtype=np.float32).reshape(shape)


def _class_names(metadata: dict[str, str]) -> tuple[str, ...] | None:
    if "names" not in metadata:
        return None
    names = _json(metadata["names"], "names")
    if isinstance(names, dict):
        return class_names_by_index(names)
    if not isinstance(names, list):
        raise CheckpointError(f"names: got a {type(names).__name__}, expected a JSON object or list")
    return check_class_names(names)


def _stride(metadata: dict[str, str]) -> int | None:
    if "stride" not in metadata:
        return None
    text = metadata["stride"]
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise CheckpointError(f"stride: got {text[:80]!r}, expected a whole number")
    return int(text)
