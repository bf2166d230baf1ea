"""What a model file says about itself: the one JSON document that `rfkernels build` stores in the .onnx.

Reading it needs neither onnx nor the builder: ModelProto is walked at its top level only, and everything but
`metadata_props` is stepped over, so that it takes the same time for a model of any size.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from rfkernels.errors import InvalidArgumentError, ModelFileError

METADATA_KEY = "rfkernels"
FORMAT_VERSION = 1

OutputFormat = Literal["raw_heads", "decoded"]
ResizeMode = Literal["letterbox", "letterbox_reflect_edges", "stretch", "center_crop", "shortest_side_crop"]
ColorOrder = Literal["rgb", "bgr"]
Contrast = Literal["stretching", "histogram_equalization", "adaptive_equalization"]
ConventionName = Literal["v2", "ultralytics"]

TASKS = ("object-detection", "instance-segmentation", "keypoint-detection", "classification")
OUTPUT_FORMATS = ("raw_heads", "decoded")
CONVENTIONS = ("v2", "ultralytics")
RESIZE_MODES = ("letterbox", "letterbox_reflect_edges", "stretch", "center_crop", "shortest_side_crop")
CONTRASTS = ("stretching", "histogram_equalization", "adaptive_equalization")
COLOR_ORDERS = ("rgb", "bgr")

_KEYPOINTS_TASK = "keypoint-detection"
_DECODED_TASK = "object-detection"
_CLASSIFICATION_TASK = "classification"
_LARGEST_SIDE = 16384
_LARGEST_KEYPOINT_COUNT = 1000
_LARGEST_CLASS_COUNT = 100_000
# Of float32, in which preprocessing computes: beyond the first a number is infinity, below the second 0 or not exact.
_GREATEST_NUMBER, _LEAST_NUMBER = 3.4028234663852886e38, 1.1754943508222875e-38
_LARGEST_METADATA_BYTES = 16 * 1024 * 1024
_MODEL_GRAPH, _MODEL_METADATA_PROPS = 7, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_MOST_TOP_LEVEL_FIELDS = 100_000


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes network input: static crop, grayscale, contrast, resize, normalization, in this order.

    Channel c of the input, in the order that `color_order` names, is `(pixel / divisor - mean[c]) / std[c]`;
    `pad_value` is a pixel value (0 to 255) before that (taken as 0 for "center_crop"). `static_crop` is
    (x_min, x_max, y_min, y_max) in percent of the picture.
    """

    resize_mode: ResizeMode = "letterbox"
    pad_value: int = 114
    color_order: ColorOrder = "rgb"
    divisor: float = 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    static_crop: tuple[float, float, float, float] | None = None
    grayscale: bool = False
    contrast: Contrast | None = None


@dataclass(frozen=True)
class Source:
    """Where the weights came from: name of the file without its folder, and its SHA-256 in hexadecimal."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Keypoints:
    """The keypoints of a model's objects.

    Attributes:
        count: that the network gives for each object.
        values: numbers of each: 3 for x, y and the logit of the confidence, 2 for x and y.
        names: for each class the names of its keypoints in order; a class may have fewer than `count`.
        skeletons: for each class the pairs of its keypoints that are joined, counted from 0.
    """

    count: int
    values: int
    names: tuple[tuple[str, ...], ...]
    skeletons: tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True)
class ModelMetadata:
    """Everything about a model file that its user needs besides the graph.

    task is V2's name of it. image_size is (height, width) in pixels. output_format "raw_heads": the outputs that
    `rfkernels.models.yolov8.graph.network_graph` describes; "decoded", for object detection alone: one output
    [batch, 4 + class count, anchors] with centre x, centre y, width, height in input pixels and scores in 0..1.
    keypoints: for keypoint detection, and for nothing else. multi_label: of a classifier, whether an image may be of
    any number of its classes.
    """

    task: str
    family: str
    scale: str | None
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    stride: int
    batch: int | Literal["dynamic"]
    output_format: OutputFormat
    source: Source
    convention: ConventionName = "v2"
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    keypoints: Keypoints | None = None
    multi_label: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The document that the file holds, as Python objects."""
        document: dict[str, Any] = {
            "format": FORMAT_VERSION,
            "task": self.task,
            "family": self.family,
            "scale": self.scale,
            "names": list(self.class_names),
            "imgsz": list(self.image_size),
            "stride": self.stride,
            "batch": self.batch,
            "output_format": self.output_format,
            "convention": self.convention,
            "preprocessing": asdict(self.preprocessing),
            "source": asdict(self.source),
        }
        if self.keypoints is not None:
            document["keypoints"] = {
                "count": self.keypoints.count,
                "values": self.keypoints.values,
                "names": [list(names) for names in self.keypoints.names],
                "skeletons": [[list(edge) for edge in edges] for edges in self.keypoints.skeletons],
            }
        if self.task == _CLASSIFICATION_TASK:
            document["multi_label"] = self.multi_label
        return document

    def to_json(self) -> str:
        """The document as it is stored: keys in a fixed order, so that equal metadata is equal text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> ModelMetadata:
        """Read and check every field.

        Raises:
            ModelFileError: naming the field, what was got and what was expected.
        """
        try:
            document = json.loads(text, object_pairs_hook=_object_without_duplicates)
        except (ValueError, RecursionError) as error:
            raise ModelFileError(f"model metadata is not valid JSON: {error}") from error
        return _metadata_from(_Fields(document, "model metadata"))


def read_model_metadata(path: str | Path) -> ModelMetadata:
    """Read the metadata of a model file that `rfkernels build` has written.

    Raises:
        ModelFileError: the file cannot be read, is not ONNX, is truncated, or carries no (or invalid) metadata.
    """
    if not isinstance(path, str | os.PathLike):
        raise InvalidArgumentError(f"path is a {type(path).__name__}; give the name of a model file")
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ModelFileError("is a directory" if path.is_dir() else "is not a regular file")
        with path.open("rb") as file:
            properties = read_onnx_properties(file, path.stat().st_size)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ModelFileError as error:
        hint = "" if Path(path).suffix.lower() == ".onnx" else "; make a model of weights with rfkernels build"
        raise ModelFileError(f"{path}: {error}{hint}") from error
    text = properties.get(METADATA_KEY)
    if text is None:
        raise ModelFileError(
            f"{path}: an ONNX file without rfkernels metadata; "
            f"convert it with `rfkernels build {path.name} -o MODEL.onnx`"
        )
    try:
        return ModelMetadata.from_json(text)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error


def read_onnx_properties(file: BinaryIO, size: int) -> dict[str, str]:
    """The metadata_props of an ONNX file, without parsing the graph.

    Args:
        file: at its start, seekable. size: of the file in bytes.
    Raises:
        ModelFileError: the bytes are no protobuf message, a length reaches past the end, a property is too large, is
            not UTF-8, or is given twice.
    """
    properties: dict[str, str] = {}
    seen_graph = False
    position = 0
    for _ in range(_MOST_TOP_LEVEL_FIELDS):
        if position == size:
            break
        number, start, position = _next_field(file, position, size)
        seen_graph |= number == _MODEL_GRAPH
        if number == _MODEL_METADATA_PROPS:
            if position - start > _LARGEST_METADATA_BYTES:
                raise ModelFileError(f"a metadata property of {position - start} bytes, over {_LARGEST_METADATA_BYTES}")
            file.seek(start)
            key, value = _string_entry(file.read(position - start))
            if key in properties:
                raise ModelFileError(f"metadata property {key[:80]!r} is given twice")
            properties[key] = value
    else:
        raise ModelFileError(f"not an ONNX file: more than {_MOST_TOP_LEVEL_FIELDS} top-level fields")
    if not seen_graph:
        raise ModelFileError("not an ONNX file: it holds no graph")
    return properties


def _next_field(file: BinaryIO, position: int, size: int) -> tuple[int, int, int]:
    """Number of the field at a position, and where its value begins and ends."""
    tag, start = _varint_of_file(file, position, size)
    number, wire_type = tag >> 3, tag & 7
    if number == 0 or wire_type not in {0, 1, 2, 5}:
        raise ModelFileError(f"not an ONNX file: what stands at byte {position} is no part of one")
    if wire_type == 0:
        _, end = _varint_of_file(file, start, size)
    elif wire_type == 2:
        length, start = _varint_of_file(file, start, size)
        end = start + length
    else:
        end = start + (8 if wire_type == 1 else 4)
    if number == _MODEL_METADATA_PROPS and wire_type != 2:
        raise ModelFileError("not an ONNX file: a metadata property that is no message")
    if end > size:
        raise ModelFileError(
            f"truncated or not an ONNX file: field {number} wants {end - start} bytes of {size - start}"
        )
    return number, start, end


def _varint_of_file(file: BinaryIO, position: int, size: int) -> tuple[int, int]:
    file.seek(position)
    value, used = _varint(file.read(min(10, size - position)), 0)
    return value, position + used


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for count, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position + count + 1
    raise ModelFileError("truncated or not an ONNX file: a number does not end")


def _string_entry(data: bytes) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto."""
    texts = {_ENTRY_KEY: "", _ENTRY_VALUE: ""}
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        if tag & 7 != 2 or tag >> 3 not in texts:
            raise ModelFileError("a metadata property is malformed")
        length, position = _varint(data, position)
        if length > len(data) - position:
            raise ModelFileError("a metadata property is truncated")
        try:
            texts[tag >> 3] = data[position : position + length].decode("utf-8")
        except UnicodeDecodeError as error:
            raise ModelFileError(f"a metadata property is not UTF-8: {error}") from error
        position += length
    return texts[_ENTRY_KEY], texts[_ENTRY_VALUE]


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key is given twice")
    return document


class _Fields:
    """A JSON object whose fields are taken one by one, each checked; what is left over at the end is an error."""

    def __init__(self, document: object, where: str) -> None:
        if not isinstance(document, dict):
            raise ModelFileError(f"{where}: got {_shown(document)}, expected an object")
        self._document = dict(document)
        self._where = where

    def fail(self, name: str, value: object, expected: str) -> ModelFileError:
        return ModelFileError(f"{self._where}: {name}: got {_shown(value)}, expected {expected}")

    def take(self, name: str) -> Any:  # noqa: ANN401 - whatever the JSON holds; every caller checks it
        if name not in self._document:
            raise ModelFileError(f"{self._where}: {name} is missing")
        return self._document.pop(name)

    def integer(self, name: str, smallest: int, largest: int) -> int:
        value = self.take(name)
        if not isinstance(value, int) or isinstance(value, bool) or not smallest <= value <= largest:
            raise self.fail(name, value, f"a whole number from {smallest} to {largest}")
        return value

    def text(self, name: str, choices: tuple[str, ...] | None = None, longest: int = 1000) -> str:
        value = self.take(name)
        if not _is_text(value, longest) or (choices is not None and value not in choices):
            expected = f"a text of at most {longest} characters" if choices is None else "one of " + ", ".join(choices)
            raise self.fail(name, value, expected)
        return str(value)

    def optional_text(self, name: str, choices: tuple[str, ...]) -> str | None:
        value = self.take(name)
        if value is not None and value not in choices:
            raise self.fail(name, value, "null or one of " + ", ".join(choices))
        return cast("str | None", value)

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        values = self.take(name)
        if not isinstance(values, list) or not 1 <= len(values) <= most:
            raise self.fail(name, values, f"a list of 1 to {most} texts")
        for value in values:
            if not _is_text(value, 1000):
                raise self.fail(name, value, "texts of at most 1000 characters")
        return tuple(values)

    def number(self, name: str) -> float:
        value = self.take(name)
        if not _is_finite_number(value) or not _LEAST_NUMBER <= abs(value) <= _GREATEST_NUMBER:
            raise self.fail(name, value, "a finite number other than 0 that float32 holds")
        return float(value)

    def three_numbers(self, name: str) -> tuple[float, float, float]:
        values = self.take(name)
        if (
            not isinstance(values, list)
            or len(values) != 3
            or not all(_is_finite_number(value) and abs(value) <= _GREATEST_NUMBER for value in values)
        ):
            raise self.fail(name, values, "a list of 3 finite numbers that float32 holds")
        return float(values[0]), float(values[1]), float(values[2])

    def flag(self, name: str) -> bool:
        value = self.take(name)
        if not isinstance(value, bool):
            raise self.fail(name, value, "true or false")
        return value

    def percentages(self, name: str) -> tuple[float, float, float, float] | None:
        values = self.take(name)
        if values is None:
            return None
        if (
            not isinstance(values, list)
            or len(values) != 4
            or not all(_is_finite_number(value) for value in values)
            or not 0 <= values[0] < values[1] <= 100
            or not 0 <= values[2] < values[3] <= 100
        ):
            raise self.fail(
                name, values, "null or [x_min, x_max, y_min, y_max] in percent, each minimum below its maximum"
            )
        return float(values[0]), float(values[1]), float(values[2]), float(values[3])

    def fields(self, name: str) -> _Fields:
        return _Fields(self.take(name), f"{self._where}: {name}")

    def finish(self) -> None:
        if self._document:
            raise ModelFileError(f"{self._where}: unknown field {next(iter(self._document))[:80]!r}")


def _metadata_from(fields: _Fields) -> ModelMetadata:
    version = fields.integer("format", 0, 2**31)
    if version != FORMAT_VERSION:
        raise ModelFileError(
            f"model metadata has format {version}, this version of rfkernels reads {FORMAT_VERSION}: "
            "build the model again, or use the version it was built with"
        )
    task = fields.text("task", TASKS)
    family = fields.text("family")
    scale = fields.take("scale")
    if scale is not None and not _is_text(scale, 10):
        raise fields.fail("scale", scale, "a short text or null")
    class_names = fields.texts("names", _LARGEST_CLASS_COUNT)
    stride = fields.integer("stride", 1, 1024)
    size = fields.take("imgsz")
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(isinstance(side, int) and not isinstance(side, bool) for side in size)
        or not all(stride <= side <= _LARGEST_SIDE and side % stride == 0 for side in size)
    ):
        raise fields.fail("imgsz", size, f"[height, width], multiples of the stride ({stride}) up to {_LARGEST_SIDE}")
    batch = fields.take("batch")
    if batch != "dynamic" and (not isinstance(batch, int) or isinstance(batch, bool) or not 1 <= batch <= 65536):
        raise fields.fail("batch", batch, 'a whole number from 1, or "dynamic"')
    output_format: OutputFormat = (
        "decoded" if fields.text("output_format", OUTPUT_FORMATS) == "decoded" else "raw_heads"
    )
    convention = cast("ConventionName", fields.text("convention", CONVENTIONS))
    nested = fields.fields("preprocessing")
    preprocessing = Preprocessing(
        resize_mode=cast("ResizeMode", nested.text("resize_mode", RESIZE_MODES)),
        pad_value=nested.integer("pad_value", 0, 255),
        color_order=cast("ColorOrder", nested.text("color_order", COLOR_ORDERS)),
        divisor=nested.number("divisor"),
        mean=nested.three_numbers("mean"),
        std=nested.three_numbers("std"),
        static_crop=nested.percentages("static_crop"),
        grayscale=nested.flag("grayscale"),
        contrast=cast("Contrast | None", nested.optional_text("contrast", CONTRASTS)),
    )
    if any(abs(number) < _LEAST_NUMBER for number in preprocessing.std):
        raise nested.fail("std", list(preprocessing.std), "numbers other than 0 that float32 holds")
    nested.finish()
    nested = fields.fields("source")
    source = Source(file=nested.text("file"), sha256=nested.text("sha256", longest=64))
    if len(source.sha256) != 64 or not set(source.sha256) <= set("0123456789abcdef"):
        raise nested.fail("sha256", source.sha256, "64 hexadecimal digits")
    nested.finish()
    keypoints = _keypoints_from(fields.fields("keypoints"), len(class_names)) if task == _KEYPOINTS_TASK else None
    multi_label = fields.flag("multi_label") if task == _CLASSIFICATION_TASK else False
    fields.finish()
    if output_format == "decoded" and task != _DECODED_TASK:
        raise fields.fail("output_format", output_format, f"raw_heads for {task}")
    return ModelMetadata(
        task=task,
        family=family,
        scale=scale,
        class_names=class_names,
        image_size=(size[0], size[1]),
        stride=stride,
        batch=batch,
        output_format=output_format,
        source=source,
        convention=convention,
        preprocessing=preprocessing,
        keypoints=keypoints,
        multi_label=multi_label,
    )


def _keypoints_from(fields: _Fields, class_count: int) -> Keypoints:
    count = fields.integer("count", 1, _LARGEST_KEYPOINT_COUNT)
    values = fields.integer("values", 2, 3)
    names = fields.take("names")
    if not _is_list_of_lists(names, class_count) or not all(
        1 <= len(of_class) <= count and all(_is_text(name, 1000) for name in of_class) for of_class in names
    ):
        raise fields.fail("names", names, f"for each of {class_count} classes a list of 1 to {count} texts")
    skeletons = fields.take("skeletons")
    if not _is_list_of_lists(skeletons, class_count) or not all(
        _is_edge(edge, len(of_class)) for of_class, edges in zip(names, skeletons, strict=True) for edge in edges
    ):
        raise fields.fail("skeletons", skeletons, "for each class a list of pairs of its keypoints, counted from 0")
    fields.finish()
    return Keypoints(
        count,
        values,
        tuple(tuple(of_class) for of_class in names),
        tuple(tuple((edge[0], edge[1]) for edge in edges) for edges in skeletons),
    )


def _is_list_of_lists(value: object, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(isinstance(item, list) for item in value)


def _is_edge(value: object, keypoint_count: int) -> bool:
    """Whether a value is a pair of two different keypoints of so many."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(end, int) and not isinstance(end, bool) and 0 <= end < keypoint_count for end in value)
        and value[0] != value[1]
    )


def _is_text(value: object, longest: int) -> bool:
    """Whether a value is a text that can be printed anywhere: JSON can also spell half a surrogate pair."""
    return isinstance(value, str) and len(value) <= longest and not any("\ud800" <= one <= "\udfff" for one in value)


def _is_finite_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _shown(value: object) -> str:
    """A value for an error message: short whatever it is."""
    if value is None or isinstance(value, bool | float):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if abs(value) < 10**20 else "a huge number"
    if isinstance(value, str):
        return repr(value[:80])
    if isinstance(value, list) and len(value) <= 4:
        return "[" + ", ".join("a list" if isinstance(item, list) else _shown(item) for item in value) + "]"
    return (
        f"a {type(value).__name__} of {len(value)} entries" if isinstance(value, list | dict) else type(value).__name__
    )
