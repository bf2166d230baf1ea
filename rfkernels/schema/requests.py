"""V2 requests. Names, types and defaults are those of the API; fields it does not know are ignored."""

import contextlib
import re
from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import field

from rfkernels.schema.base import SchemaError
from rfkernels.schema.identifiers import new_id

_Request = TypeVar("_Request", bound="RequestModel")

Confidence: TypeAlias = float | Literal["best", "default"]
"""A threshold from 0 to 1, or "best": per class from the model's evaluation, or "default": the model's own."""


class RequestModel(msgspec.Struct, kw_only=True):
    """Base of requests: building one checks its fields, and converts where nothing is lost ("0.4" to 0.4)."""

    def __post_init__(self) -> None:
        fields = msgspec.structs.asdict(self)
        given = {
            name: _as_v2_reads(value, kinds)
            for name, kinds in _scalar_kinds(type(self)).items()
            if (value := fields[name]) is not None
        }
        try:
            checked = msgspec.convert(fields | given, _plain_twin(type(self)), strict=False)
        except msgspec.ValidationError as error:
            raise SchemaError(_explain(type(self), str(error))) from error
        for name, value in fields.items():
            converted = getattr(checked, name)
            if converted is not value:
                setattr(self, name, converted)

    def to_dict(self) -> dict[str, Any]:
        """The request as Python objects, without the fields that are None."""
        fields: dict[str, Any] = _without_nulls(msgspec.to_builtins(self))
        return fields

    def to_json(self) -> str:
        """JSON text, without the fields that are None.

        Raises:
            SchemaError: the image is an object that has no JSON form (an array or a PIL image).
        """
        try:
            return msgspec.json.encode(self.to_dict()).decode()
        except TypeError as error:
            raise SchemaError(f"{type(self).__name__}: {error}. Send the image as base64.") from error

    @classmethod
    def from_dict(cls: type[_Request], fields: Mapping[str, Any]) -> _Request:
        """Build a request from named fields; unknown ones are ignored.

        Raises:
            SchemaError: a field is missing or of the wrong type.
        """
        known = {info.name: info for info in msgspec.structs.fields(cls)}
        for name, info in known.items():
            if info.required and name not in fields:
                raise SchemaError(f"{cls.__name__}.{name}: this field is required, and is missing.")
        return cls(**{name: value for name, value in fields.items() if name in known})

    @classmethod
    def from_json(cls: type[_Request], data: str | bytes) -> _Request:
        """Build a request from the JSON body of a V2 call; unknown fields are ignored.

        Raises:
            SchemaError: malformed JSON, or a field is missing or of the wrong type.
        """
        try:
            fields = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise SchemaError(f"{cls.__name__}: {error}") from error
        if not isinstance(fields, dict):
            raise SchemaError(f"{cls.__name__}: expected a JSON object, got {type(fields).__name__}.")
        return cls.from_dict(fields)


class InferenceRequestImage(RequestModel, kw_only=True):
    """An image and how it is given: `rfkernels.images.load_image` takes it.

    Attributes:
        type: "base64", "url", "multipart", "numpy_object", "pil" or "file", in any case.
        value: what that type asks for.
    """

    type: str
    value: Any = None


class BaseRequest(RequestModel, kw_only=True):
    """What every request carries.

    Attributes:
        id: a UUID; comes back as `inference_id`.
        api_key, usage_billable, start, source, source_info, disable_model_monitoring: accepted for compatibility.
    """

    id: str = field(default_factory=new_id)
    api_key: str | None = None
    usage_billable: bool = True
    start: float | None = None
    source: str | None = None
    source_info: str | None = None
    disable_model_monitoring: bool | None = False


class InferenceRequest(BaseRequest, kw_only=True):
    """A request to a model."""

    model_id: str | None = None
    model_type: str | None = None


class CVInferenceRequest(InferenceRequest, kw_only=True):
    """A request about one image, or a list of them; preprocessing steps of the model can be switched off."""

    image: InferenceRequestImage | list[InferenceRequestImage]
    disable_preproc_auto_orient: bool | None = False
    disable_preproc_contrast: bool | None = False
    disable_preproc_grayscale: bool | None = False
    disable_preproc_static_crop: bool | None = False


class ObjectDetectionInferenceRequest(CVInferenceRequest, kw_only=True):
    """Detect objects.

    Attributes:
        class_agnostic_nms: suppress overlapping boxes of different classes too.
        class_filter: names of the classes to answer with; None for all. Applied after `max_detections`.
        confidence: detections at or below it are dropped.
        iou_threshold: boxes that overlap a better one by more are dropped.
        max_detections: the best are kept.
        visualize_predictions, visualization_labels, visualization_stroke_width: the annotated picture in the answer.
        fix_batch_size, max_candidates, disable_active_learning, active_learning_target_dataset: accepted for
            compatibility, without effect.
    """

    class_agnostic_nms: bool | None = False
    class_filter: list[str] | None = None
    confidence: Confidence = 0.4
    fix_batch_size: bool | None = False
    iou_threshold: float | None = 0.3
    max_detections: int | None = 300
    max_candidates: int | None = 3000
    visualization_labels: bool | None = False
    visualization_stroke_width: int | None = 1
    visualize_predictions: bool | None = False
    disable_active_learning: bool | None = False
    active_learning_target_dataset: str | None = None


class InstanceSegmentationInferenceRequest(ObjectDetectionInferenceRequest, kw_only=True):
    """Detect objects and their outlines.

    Attributes:
        mask_decode_mode: "accurate", "fast" or "tradeoff": masks of the size of the image, of the network's masks, or
            between the two. Has an effect with `allow_reduced_mask_resolution` only, and is checked by the task.
        tradeoff_factor: from 0 (as "fast") to 1 (as "accurate"), for "tradeoff"; checked by the task.
        allow_reduced_mask_resolution: answer with masks, outlines and boxes on the grid that `mask_decode_mode` names,
            and with `original_image` and `mask_metadata`.
        response_mask_format: "polygon" for outlines, "rle" for masks as COCO has them.
        enforce_dense_masks_in_inference_models: accepted for compatibility, without effect.
    """

    mask_decode_mode: str | None = "accurate"
    tradeoff_factor: float | None = 0.0
    allow_reduced_mask_resolution: bool = False
    response_mask_format: Literal["polygon", "rle"] = "polygon"
    enforce_dense_masks_in_inference_models: bool | None = False


class KeypointsDetectionInferenceRequest(ObjectDetectionInferenceRequest, kw_only=True):
    """Detect objects and the keypoints of each.

    Attributes:
        confidence: detections at or below it are dropped; "best" is refused, as V2 has no such thresholds for
            keypoints.
        keypoint_confidence: keypoints below it are left out.
    """

    confidence: float | Literal["default"] = 0.4
    keypoint_confidence: float | None = 0.0


class ClassificationInferenceRequest(CVInferenceRequest, kw_only=True):
    """Say of which class, or classes, an image is.

    Attributes:
        model_type: "classification", whatever was given.
        include_anomaly_map: accepted for compatibility, without effect.
        confidence: classes below it are left out.
        visualize_predictions, visualization_stroke_width: the annotated picture in the answer.
        disable_active_learning, active_learning_target_dataset: accepted for compatibility, without effect.
    """

    include_anomaly_map: bool = False
    confidence: Confidence = 0.4
    visualization_stroke_width: int | None = 1
    visualize_predictions: bool | None = False
    disable_active_learning: bool | None = False
    active_learning_target_dataset: str | None = None

    def __post_init__(self) -> None:
        self.model_type = "classification"
        super().__post_init__()


# What V2 (pydantic) takes for a truth value, in any case.
_TRUTHS = dict.fromkeys(("1", "on", "t", "true", "y", "yes"), True) | dict.fromkeys(
    ("0", "off", "f", "false", "n", "no"), False
)
_WHOLE_NUMBER = re.compile(r"\s*([+-]?\d{1,400}(?:_\d{1,400})*)(?:\.0+)?\s*", re.ASCII)


@cache
def _scalar_kinds(model: type[RequestModel]) -> dict[str, frozenset[type]]:
    """Those of bool, int and float that each field may be."""
    kinds = {
        info.name: frozenset({bool, int, float} & {info.type, *get_args(info.type)})
        for info in msgspec.structs.fields(model)
    }
    return {name: kind for name, kind in kinds.items() if kind}


def _as_v2_reads(value: Any, kinds: frozenset[type]) -> Any:  # noqa: ANN401 - whatever a field was given
    """A value in the form that msgspec takes, where V2 takes more: "yes" for true, true for 1, " 7 " for 7."""
    if isinstance(value, str):
        return _text_as_v2_reads(value, kinds)
    if bool in kinds:
        return bool(value) if isinstance(value, float) and value in (0.0, 1.0) else value
    return int(value) if isinstance(value, bool) else value


def _text_as_v2_reads(text: str, kinds: frozenset[type]) -> str | bool | int | float:
    # A text that is no null or no number in V2 is quoted, since msgspec would read "null" and "1e3".
    if text.lower() == "null":
        return repr(text)
    if bool in kinds:
        return _TRUTHS.get(text.lower(), text)
    if float in kinds:
        with contextlib.suppress(ValueError):
            return float(text) if text.isascii() else text
        return text
    number = _WHOLE_NUMBER.fullmatch(text)
    return int(number[1]) if number else repr(text)


@cache
def _plain_twin(model: type[RequestModel]) -> type[msgspec.Struct]:
    """A struct of the same fields that only checks types: msgspec keeps what it knows of a type with struct classes,
    and works it out anew at each call for any other type.
    """
    fields = [(info.name, info.type) for info in msgspec.structs.fields(model)]
    return msgspec.defstruct(model.__name__, fields, kw_only=True)


def _explain(model: type[RequestModel], problem: str) -> str:
    """msgspec's message with the field in front and what the field takes at the end."""
    what, _, path = problem.partition(" - at `$.")
    path = path.rstrip("`")
    types = {info.name: info.type for info in msgspec.structs.fields(model)}
    expected = types.get(path)
    suffix = f"; expected {_describe(expected)}" if expected is not None else ""
    return f"{model.__name__}.{path}: {what}{suffix}."


def _describe(expected: Any) -> str:  # noqa: ANN401 - any type annotation
    origin, arguments = get_origin(expected), get_args(expected)
    if origin is Literal:
        return " or ".join(f'"{value}"' for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_describe(argument) for argument in arguments)
    if origin is list:
        return f"list of {_describe(arguments[0])}"
    return "null" if expected is type(None) else str(expected.__name__)


def _without_nulls(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
