"""Our entities against the pydantic classes of inference-core: names, defaults, JSON, and what is accepted."""

import json

import msgspec
import orjson
import pydantic
import pytest
from rfkernels.benchmarks.peers.inference_entities import requests_module, responses_module

from rfkernels import schema

their_requests, their_responses = requests_module(), responses_module()

# Fields of theirs that never go over the wire.
INTERNAL = {"stream_pipeline_context_id"}

PAIRS = [
    (schema.InferenceRequestImage, their_requests.InferenceRequestImage),
    (schema.BaseRequest, their_requests.BaseRequest),
    (schema.InferenceRequest, their_requests.InferenceRequest),
    (schema.CVInferenceRequest, their_requests.CVInferenceRequest),
    (schema.ObjectDetectionInferenceRequest, their_requests.ObjectDetectionInferenceRequest),
    (schema.InstanceSegmentationInferenceRequest, their_requests.InstanceSegmentationInferenceRequest),
    (schema.KeypointsDetectionInferenceRequest, their_requests.KeypointsDetectionInferenceRequest),
    (schema.ClassificationInferenceRequest, their_requests.ClassificationInferenceRequest),
    (schema.InferenceResponseImage, their_responses.InferenceResponseImage),
    (schema.ResolvedModel, their_responses.ResolvedModel),
    (schema.InferenceResponse, their_responses.InferenceResponse),
    (schema.CvInferenceResponse, their_responses.CvInferenceResponse),
    (schema.ObjectDetectionPrediction, their_responses.ObjectDetectionPrediction),
    (schema.ObjectDetectionInferenceResponse, their_responses.ObjectDetectionInferenceResponse),
    (schema.Point, their_responses.Point),
    (schema.MaskCoordinateMetadata, their_responses.MaskCoordinateMetadata),
    (schema.InstanceSegmentationBasePrediction, their_responses.InstanceSegmentationBasePrediction),
    (schema.InstanceSegmentationPrediction, their_responses.InstanceSegmentationPrediction),
    (schema.InstanceSegmentationRLEPrediction, their_responses.InstanceSegmentationRLEPrediction),
    (schema.InstanceSegmentationInferenceResponse, their_responses.InstanceSegmentationInferenceResponse),
    (schema.Keypoint, their_responses.Keypoint),
    (schema.KeypointsPrediction, their_responses.KeypointsPrediction),
    (schema.KeypointsDetectionInferenceResponse, their_responses.KeypointsDetectionInferenceResponse),
    (schema.ClassificationPrediction, their_responses.ClassificationPrediction),
    (schema.ClassificationInferenceResponse, their_responses.ClassificationInferenceResponse),
    (schema.MultiLabelClassificationPrediction, their_responses.MultiLabelClassificationPrediction),
    (schema.MultiLabelClassificationInferenceResponse, their_responses.MultiLabelClassificationInferenceResponse),
]
IMAGE = {"type": "base64", "value": "aGVsbG8="}


def json_names(ours, theirs):
    tag = ours.__struct_config__.tag_field
    return (
        {field.name: field.encode_name for field in msgspec.structs.fields(ours)} | ({tag: tag} if tag else {}),
        {name: field.alias or name for name, field in theirs.model_fields.items() if name not in INTERNAL},
    )


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda model: model.__name__)
def test_fields_have_the_same_names(ours, theirs):
    our_names, their_names = json_names(ours, theirs)
    assert our_names == their_names


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda model: model.__name__)
def test_fields_have_the_same_defaults(ours, theirs):
    for field in msgspec.structs.fields(ours):
        their_field = theirs.model_fields[field.name]
        if field.name == "model_id" and issubclass(ours, schema.InferenceRequest):
            # Theirs has to be given, but may be null. A loaded model has no need of it: here it may be absent.
            assert their_field.is_required()
            assert field.default is None
        elif field.name == "id":
            # Theirs is made up in the constructor, ours by a default factory.
            assert field.default_factory is not msgspec.NODEFAULT
        elif their_field.default_factory is not None:
            assert field.default_factory is not msgspec.NODEFAULT
        else:
            assert field.required == their_field.is_required()
            if not field.required:
                by_factory = field.default is msgspec.NODEFAULT
                assert (field.default_factory() if by_factory else field.default) == their_field.default


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda model: model.__name__)
def test_the_form_of_a_mask_has_the_same_name(ours, theirs):
    tag_field, tag = ours.__struct_config__.tag_field, ours.__struct_config__.tag
    assert tag == (theirs.model_fields[tag_field].default if tag_field else None)


def both_requests(name, **fields):
    fields = {"id": "request", "model_id": None, "image": IMAGE, **fields}
    return (
        getattr(schema, name).from_json(json.dumps(fields)),
        getattr(their_requests, name)(**json.loads(json.dumps(fields))),
    )


ACCEPTED = [
    {},
    {"confidence": "best"},
    {"confidence": "default"},
    {"confidence": 1},
    {"confidence": "0.5"},
    {"confidence": 40.0},
    {"iou_threshold": None, "max_detections": None, "class_agnostic_nms": None},
    {"max_detections": 10.0, "max_candidates": "5"},
    {"class_filter": ["dog", "cat"]},
    {"class_filter": []},
    {"class_agnostic_nms": 1, "visualize_predictions": "true"},
    {"image": [IMAGE, {"type": "url", "value": "https://example.com/a.png"}]},
    {"image": {"type": "url"}},
    {"no_such_field": 1},
    {"source": "here", "source_info": "", "start": 1.5, "api_key": "key", "disable_model_monitoring": True},
]


OTHERS_ACCEPTED = {
    "InstanceSegmentationInferenceRequest": [
        {},
        {"confidence": "best", "mask_decode_mode": "fast", "tradeoff_factor": 1},
        {"mask_decode_mode": "no such mode", "tradeoff_factor": "7.5"},
        {"mask_decode_mode": None, "tradeoff_factor": None, "enforce_dense_masks_in_inference_models": None},
        {"response_mask_format": "rle", "allow_reduced_mask_resolution": "yes"},
    ],
    "KeypointsDetectionInferenceRequest": [
        {},
        {"confidence": "default", "keypoint_confidence": None},
        {"confidence": True, "keypoint_confidence": "0.5"},
        {"keypoint_confidence": 3, "max_detections": "7.0"},
    ],
    "ClassificationInferenceRequest": [
        {},
        {"confidence": "best", "include_anomaly_map": 1},
        {"model_type": "object-detection", "visualize_predictions": None, "visualization_stroke_width": " 3 "},
        {"model_type": 7, "max_detections": 3},
    ],
}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        *[("ObjectDetectionInferenceRequest", fields) for fields in ACCEPTED],
        *[(name, fields) for name, several in OTHERS_ACCEPTED.items() for fields in several],
    ],
    ids=str,
)
def test_the_same_requests_are_read_alike(name, fields):
    ours, theirs = both_requests(name, **fields)
    assert ours.to_dict() == theirs.model_dump(exclude_none=True)
    assert json.loads(ours.to_json()) == json.loads(theirs.model_dump_json(exclude_none=True))


REFUSED = [
    {"image": None},
    {"image": "aGVsbG8="},
    {"image": {"value": "aGVsbG8="}},
    {"image": [IMAGE, {}]},
    {"image": {"type": 3}},
    {"confidence": "high"},
    {"confidence": None},
    {"confidence": []},
    {"max_detections": 2.5},
    {"max_detections": "many"},
    {"class_filter": "dog"},
    {"class_filter": [3]},
    {"class_agnostic_nms": 2},
    {"id": 7},
]


OTHERS_REFUSED = {
    "InstanceSegmentationInferenceRequest": [
        {"mask_decode_mode": 7},
        {"tradeoff_factor": "much"},
        {"allow_reduced_mask_resolution": None},
        {"response_mask_format": "polygons"},
        {"response_mask_format": None},
        {"response_mask_format": 7},
    ],
    "KeypointsDetectionInferenceRequest": [
        {"confidence": "best"},
        {"confidence": None},
        {"keypoint_confidence": "best"},
    ],
    "ClassificationInferenceRequest": [{"include_anomaly_map": None}, {"confidence": "high"}, {"image": {}}],
}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        *[("ObjectDetectionInferenceRequest", fields) for fields in REFUSED],
        *[(name, fields) for name, several in OTHERS_REFUSED.items() for fields in several],
    ],
    ids=str,
)
def test_the_same_requests_are_refused(name, fields):
    fields = {"id": "request", "model_id": None, "image": IMAGE, **fields}
    with pytest.raises(pydantic.ValidationError):
        getattr(their_requests, name)(**fields)
    with pytest.raises(schema.SchemaError):
        getattr(schema, name).from_json(json.dumps(fields))


FORMS = [
    *["yes", "NO", "On", "off", "t", "F", "y", "true", " true ", "0", "1", "2", "1.0", "", " ", "none"],
    *["null", "NULL", " null "],
    *[
        "7",
        " 7 ",
        "+7",
        "-3",
        "7.0",
        "7.",
        ".5",
        "7.5",
        "1e3",
        "1_000",
        "_1",
        "00012",
        "0x10",
        "\u0663",
        "inf",
        "best",
        " best ",
    ],
    *[True, False, 0, 1, 2, -1, 10**25, 0.0, 1.0, 2.0, 7.5, 1e30, [], {}, [1]],
]


@pytest.mark.parametrize(
    "field", ["class_agnostic_nms", "max_detections", "iou_threshold", "confidence", "usage_billable"]
)
@pytest.mark.parametrize("value", FORMS, ids=repr)
def test_any_form_of_a_value_is_read_or_refused_alike(field, value):
    fields = {"id": "request", "model_id": None, "image": IMAGE, field: value}
    try:
        expected = getattr(their_requests.ObjectDetectionInferenceRequest(**fields), field)
    except pydantic.ValidationError:
        with pytest.raises(schema.SchemaError, match=rf"\.{field}: "):
            schema.ObjectDetectionInferenceRequest(**fields)
        return
    actual = getattr(schema.ObjectDetectionInferenceRequest(**fields), field)
    assert (actual, type(actual)) == (expected, type(expected))


RESPONSES = [
    {"predictions": []},
    {"inference_id": "a", "time": 0.0, "frame_id": 0},
    {"resolved_model": {"model_id": "coco/3", "backend": "onnx"}},
    {"time": 1e-7},
    {"time": 123456789012345.0},
]
PREDICTIONS = [
    {
        "x": 320.5,
        "y": 240.0,
        "width": 121.0,
        "height": 88.0,
        "confidence": 0.9123456789,
        "class": "dog",
        "class_id": 16,
    },
    {"x": 0.0, "y": -0.0, "width": 0.0, "height": 0.0, "confidence": 0.0, "class": "", "class_id": 0, "tracker_id": 0},
    {"x": 1e15, "y": 1e-9, "width": 1 / 3, "height": 2.5, "confidence": 1.0, "class": 'a"\\\u00e9\n', "class_id": -1},
    {"x": 1, "y": 2, "width": 3, "height": 4, "confidence": 1, "class": "int", "class_id": 1, "class_confidence": 0.0},
]


@pytest.mark.parametrize("fields", RESPONSES, ids=str)
def test_responses_have_the_same_json(fields):
    predictions = [{**prediction, "detection_id": f"id-{index}"} for index, prediction in enumerate(PREDICTIONS)]
    fields = {"image": {"width": 1280, "height": 720}, "predictions": predictions, **fields}
    theirs = their_responses.ObjectDetectionInferenceResponse(**fields)
    expected = orjson.dumps(theirs.model_dump(by_alias=True, exclude_none=True)).decode()
    ours = schema.ObjectDetectionInferenceResponse.from_json(orjson.dumps(fields))
    assert ours.to_json() == expected
    assert ours.to_dict() == json.loads(expected)


def test_the_visualization_has_the_same_json():
    """Theirs comes first in the object, being a field of another base class; the order of names has no meaning."""
    fields = {"image": {"width": 1, "height": 2}, "predictions": []}
    theirs = their_responses.ObjectDetectionInferenceResponse(**fields, visualization=b"\xff\xd8\xff")
    ours = schema.ObjectDetectionInferenceResponse(
        image=schema.InferenceResponseImage(width=1, height=2), predictions=[], visualization=b"\xff\xd8\xff"
    )
    assert json.loads(ours.to_json()) == json.loads(theirs.model_dump_json(by_alias=True, exclude_none=True))


BOX = {**PREDICTIONS[0], "detection_id": "id"}
POLYGON = {"points": [{"x": 80.0, "y": -0.5}, {"x": 1e15, "y": 1 / 3}], "mask_format": "polygon"}
GRID = {"coordinate_system": "mask_grid", "width": 160, "height": 107, "scale_x": 4.0, "scale_y": 1 / 3}
OTHER_RESPONSES = {
    "InstanceSegmentationInferenceResponse": [
        {"predictions": []},
        {"predictions": [BOX | POLYGON, BOX | POLYGON | {"points": [], "class_confidence": 0.0, "parent_id": "p"}]},
        {"predictions": [BOX | {"rle": {"size": [3, 4], "counts": "05"}, "mask_format": "rle"}, BOX | POLYGON]},
        {"predictions": [], "original_image": {"width": 640, "height": 36}, "mask_metadata": GRID},
    ],
    "KeypointsDetectionInferenceResponse": [
        {"predictions": [BOX | {"keypoints": []}]},
        {
            "predictions": [
                BOX
                | {
                    "keypoints": [{"x": 0.0, "y": -7.0, "confidence": 0.5, "class_id": 3, "class": "left ear"}] * 2,
                    "tracker_id": 0,
                    "class_confidence": 1.0,
                }
            ]
        },
    ],
    "ClassificationInferenceResponse": [
        {"predictions": []},
        {
            "predictions": [{"class": "cat", "class_id": 0, "confidence": 0.0}],
            "top": "cat",
            "confidence": 0.97,
            "parent_id": "",
        },
    ],
    "MultiLabelClassificationInferenceResponse": [
        {"predictions": {}, "predicted_classes": []},
        {
            "predictions": {"b\u00e9": {"confidence": 0.0, "class_id": 0}},
            "predicted_classes": ["b\u00e9"],
            "parent_id": "p",
        },
    ],
}


def ordered_by_us(value):
    """What tells masks of two forms apart comes first in ours and last in theirs; the order has no meaning."""
    if isinstance(value, list):
        return [ordered_by_us(item) for item in value]
    if isinstance(value, dict):
        first = {"mask_format": value["mask_format"]} if "mask_format" in value else {}
        return first | {name: ordered_by_us(item) for name, item in value.items()}
    return value


@pytest.mark.parametrize(
    ("name", "fields"), [(name, fields) for name, several in OTHER_RESPONSES.items() for fields in several], ids=str
)
def test_responses_of_other_tasks_have_the_same_json(name, fields):
    fields = {"image": {"width": 640, "height": 480}, "time": 0.02, "inference_id": "a", **fields}
    theirs = getattr(their_responses, name)(**fields)
    written = theirs.model_dump(by_alias=True, exclude_none=True)
    ours = getattr(schema, name).from_json(orjson.dumps(written))
    assert ours.to_json() == orjson.dumps(ordered_by_us(written)).decode()
    assert ours.to_dict() == json.loads(orjson.dumps(written))
    assert getattr(their_responses, name)(**json.loads(ours.to_json())) == theirs


WRONG_RESPONSES = [
    ("InstanceSegmentationInferenceResponse", {"predictions": [BOX | POLYGON | {"mask_format": "raster"}]}),
    ("InstanceSegmentationInferenceResponse", {"predictions": [BOX | {"mask_format": "rle"}]}),
    ("InstanceSegmentationInferenceResponse", {"predictions": [BOX | POLYGON | {"points": [{"x": 1}]}]}),
    ("InstanceSegmentationInferenceResponse", {"predictions": [], "mask_metadata": GRID | {"width": 0}}),
    ("InstanceSegmentationInferenceResponse", {"predictions": [], "mask_metadata": GRID | {"scale_y": -1.0}}),
    ("KeypointsDetectionInferenceResponse", {"predictions": [BOX]}),
    ("ClassificationInferenceResponse", {"predictions": {}}),
    ("MultiLabelClassificationInferenceResponse", {"predictions": [], "predicted_classes": []}),
    ("MultiLabelClassificationInferenceResponse", {"predictions": {}}),
]


@pytest.mark.parametrize(("name", "fields"), WRONG_RESPONSES, ids=str)
def test_the_same_responses_are_refused(name, fields):
    fields = {"image": {"width": 640, "height": 480}, **fields}
    with pytest.raises(pydantic.ValidationError):
        getattr(their_responses, name)(**fields)
    with pytest.raises(schema.SchemaError):
        getattr(schema, name).from_json(json.dumps(fields))
