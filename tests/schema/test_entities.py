"""The V2 entities: names, types, defaults and JSON as the API has them."""

import json
import uuid

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfkernels import schema
from rfkernels.errors import InvalidArgumentError, RfkernelsError
from rfkernels.schema import (
    ErrorResponse,
    InferenceRequestImage,
    InferenceResponseImage,
    ObjectDetectionInferenceRequest,
    ObjectDetectionInferenceResponse,
    ObjectDetectionPrediction,
    ResolvedModel,
    SchemaError,
)

IMAGE = {"type": "base64", "value": "aGVsbG8="}

REQUEST_DEFAULTS = {
    "api_key": None,
    "usage_billable": True,
    "start": None,
    "source": None,
    "source_info": None,
    "disable_model_monitoring": False,
    "model_id": None,
    "model_type": None,
    "disable_preproc_auto_orient": False,
    "disable_preproc_contrast": False,
    "disable_preproc_grayscale": False,
    "disable_preproc_static_crop": False,
    "class_agnostic_nms": False,
    "class_filter": None,
    "confidence": 0.4,
    "fix_batch_size": False,
    "iou_threshold": 0.3,
    "max_detections": 300,
    "max_candidates": 3000,
    "visualization_labels": False,
    "visualization_stroke_width": 1,
    "visualize_predictions": False,
    "disable_active_learning": False,
    "active_learning_target_dataset": None,
}


def prediction(**changes):
    fields = {"x": 320.5, "y": 240.0, "width": 121.0, "height": 88.0, "confidence": 0.9123}
    return ObjectDetectionPrediction(**{**fields, "class_name": "dog", "class_id": 16, **changes})


def response(**changes):
    return ObjectDetectionInferenceResponse(
        **{"image": InferenceResponseImage(width=1280, height=720), "predictions": [prediction()], **changes}
    )


def test_the_answer_of_the_specification_byte_by_byte():
    answer = ObjectDetectionInferenceResponse(
        inference_id="f1c0b3f4-6a0e-4d1e-9a55-0f6b4c6a2a10",
        time=0.0123,
        resolved_model=ResolvedModel(
            model_id="coco/3", model_package_id="abc", backend="openvino", quantization="bf16"
        ),
        image=InferenceResponseImage(width=1280, height=720),
        predictions=[prediction(detection_id="0d9c3b1e-1d0b-4f52-8c0e-0c7f6f0d5f2a")],
    )
    assert answer.to_json() == (
        '{"inference_id":"f1c0b3f4-6a0e-4d1e-9a55-0f6b4c6a2a10","time":0.0123,'
        '"resolved_model":{"model_id":"coco/3","model_package_id":"abc","backend":"openvino","quantization":"bf16"},'
        '"image":{"width":1280,"height":720},'
        '"predictions":[{"x":320.5,"y":240.0,"width":121.0,"height":88.0,"confidence":0.9123,'
        '"class":"dog","class_id":16,"detection_id":"0d9c3b1e-1d0b-4f52-8c0e-0c7f6f0d5f2a"}]}'
    )


def test_nulls_are_absent_at_every_depth_and_zeros_are_not():
    answer = response(
        time=0.0,
        frame_id=0,
        inference_id="",
        resolved_model=ResolvedModel(model_id=""),
        predictions=[prediction(x=0.0, confidence=0.0, class_id=0, class_name="", tracker_id=0, class_confidence=0.0)],
    )
    fields = json.loads(answer.to_json())
    assert list(fields) == ["inference_id", "frame_id", "time", "resolved_model", "image", "predictions"]
    assert fields["resolved_model"] == {"model_id": ""}
    (only,) = fields["predictions"]
    detection_id = only.pop("detection_id")
    assert uuid.UUID(detection_id).version == 4
    assert only == {
        "x": 0.0,
        "y": 240.0,
        "width": 121.0,
        "height": 88.0,
        "confidence": 0.0,
        "class": "",
        "class_confidence": 0.0,
        "class_id": 0,
        "tracker_id": 0,
    }


def test_no_detections_are_an_empty_list():
    assert response(predictions=[]).to_json() == '{"image":{"width":1280,"height":720},"predictions":[]}'


def test_the_visualization_is_base64():
    answer = response(visualization=b"\xff\xd8\xff")
    assert answer.to_dict()["visualization"] == "/9j/"
    assert ObjectDetectionInferenceResponse.from_json(answer.to_json()).visualization == b"\xff\xd8\xff"


def test_to_dict_is_what_to_json_writes():
    answer = response(inference_id="a", time=1.0)
    assert answer.to_dict() == json.loads(answer.to_json())


def test_responses_are_read_back():
    answer = response(inference_id="a", time=0.5, resolved_model=ResolvedModel(model_id="m"))
    assert ObjectDetectionInferenceResponse.from_json(answer.to_json()) == answer
    assert ObjectDetectionInferenceResponse.from_json(answer.to_json().encode()) == answer


def test_unknown_fields_of_a_response_are_ignored():
    text = '{"image":{"width":1,"height":2,"depth":3},"predictions":[],"new_field":[null]}'
    assert ObjectDetectionInferenceResponse.from_json(text).image == InferenceResponseImage(width=1, height=2)


def test_several_responses_are_an_array():
    answers = [response(inference_id="a"), response(inference_id="b", predictions=[])]
    assert json.loads(schema.to_json(answers)) == [answer.to_dict() for answer in answers]
    assert schema.to_json([]) == "[]"


def test_responses_can_be_completed_later():
    answer = response()
    answer.time = 0.25
    answer.inference_id = "late"
    assert json.loads(answer.to_json())["time"] == 0.25


def test_error_body():
    assert ErrorResponse(message="Internal error.").to_json() == '{"message":"Internal error."}'


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive_json_and_stay_floats(value):
    text = prediction(x=value).to_json()
    assert msgspec.json.decode(text)["x"] == value
    assert isinstance(json.loads(text)["x"], float)


def test_request_fields_and_defaults():
    request = ObjectDetectionInferenceRequest(image=IMAGE)
    fields = msgspec.structs.asdict(request)
    assert uuid.UUID(fields.pop("id")).version == 4
    assert fields.pop("image") == InferenceRequestImage(type="base64", value="aGVsbG8=")
    assert fields == REQUEST_DEFAULTS


def test_every_request_has_an_id_of_its_own_unless_given():
    ids = {ObjectDetectionInferenceRequest(image=IMAGE).id for _ in range(100)}
    assert len(ids) == 100
    assert ObjectDetectionInferenceRequest(image=IMAGE, id="mine").id == "mine"


@pytest.mark.parametrize("confidence", [0.0, 1.0, 0.25, 40.0, "best", "default"])
def test_confidences(confidence):
    assert ObjectDetectionInferenceRequest(image=IMAGE, confidence=confidence).confidence == confidence


def test_values_are_converted_where_nothing_is_lost():
    request = ObjectDetectionInferenceRequest(
        image=[IMAGE, InferenceRequestImage(type="url", value="https://example.com/a.png")],
        confidence=1,
        iou_threshold="0.5",
        max_detections=10.0,
        class_agnostic_nms=1,
        class_filter=("dog", "cat"),
        visualize_predictions="true",
    )
    assert type(request.confidence) is float
    assert request.iou_threshold == 0.5
    assert type(request.max_detections) is int
    assert request.class_agnostic_nms is True
    assert request.class_filter == ["dog", "cat"]
    assert request.visualize_predictions is True
    assert [type(image) for image in request.image] == [InferenceRequestImage] * 2


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("class_agnostic_nms", "Yes", True),
        ("class_agnostic_nms", "off", False),
        ("class_agnostic_nms", 1.0, True),
        ("max_detections", " 7 ", 7),
        ("max_detections", "7.00", 7),
        ("max_detections", "1_000", 1000),
        ("max_detections", True, 1),
        ("confidence", " 0.25\n", 0.25),
        ("confidence", "1e-1", 0.1),
        ("confidence", True, 1.0),
        ("iou_threshold", ".5", 0.5),
    ],
)
def test_values_are_taken_in_the_forms_that_v2_takes(field, value, expected):
    read = getattr(ObjectDetectionInferenceRequest(image=IMAGE, **{field: value}), field)
    assert (read, type(read)) == (expected, type(expected))


def test_objects_are_kept_as_image_values():
    array = np.zeros((2, 2, 3), np.uint8)
    image = InferenceRequestImage(type="numpy_object", value=array)
    request = ObjectDetectionInferenceRequest(image=image)
    assert request.image is image
    assert request.image.value is array


def test_optional_fields_may_be_null():
    nulls = {name: None for name in REQUEST_DEFAULTS if name not in ("usage_billable", "confidence")}
    request = ObjectDetectionInferenceRequest(image=IMAGE, **nulls)
    assert request.iou_threshold is None
    assert request.max_detections is None


def test_requests_go_through_json():
    request = ObjectDetectionInferenceRequest(image=IMAGE, confidence="best", class_filter=["dog"], model_id="coco/3")
    text = request.to_json()
    assert ObjectDetectionInferenceRequest.from_json(text) == request
    assert "api_key" not in json.loads(text)
    assert json.loads(text)["class_agnostic_nms"] is False


def test_unknown_fields_of_a_request_are_ignored():
    text = '{"image":{"type":"url","value":"https://example.com/a.png","more":1},"no_such_field":{"a":[1]}}'
    request = ObjectDetectionInferenceRequest.from_json(text)
    assert request.image == InferenceRequestImage(type="url", value="https://example.com/a.png")
    assert not hasattr(request, "no_such_field")


WRONG = {
    "no image": ({}, r"ObjectDetectionInferenceRequest\.image: this field is required"),
    "null image": ({"image": None}, r"\.image: .*expected InferenceRequestImage or list of InferenceRequestImage"),
    "text image": ({"image": "aGVsbG8="}, r"\.image: "),
    "image without a type": ({"image": {"value": ""}}, r"\.image: .*missing required field `type`"),
    "second image without a type": ({"image": [IMAGE, {}]}, r"\.image\[1\]: .*missing required field `type`"),
    "image of a type that is a number": ({"image": {"type": 3}}, r"\.image\.type: Expected `str`, got `int`"),
    "confidence in words": ({"image": IMAGE, "confidence": "high"}, r'\.confidence: .*float or "best" or "default"'),
    "null confidence": ({"image": IMAGE, "confidence": None}, r"\.confidence: "),
    "confidence list": ({"image": IMAGE, "confidence": [0.4]}, r"\.confidence: "),
    "fractional count": ({"image": IMAGE, "max_detections": 2.5}, r"\.max_detections: .*expected int or null"),
    "filter of one name": ({"image": IMAGE, "class_filter": "dog"}, r"\.class_filter: .*list of str or null"),
    "filter of numbers": ({"image": IMAGE, "class_filter": ["dog", 3]}, r"\.class_filter\[1\]: Expected `str`"),
    "flag in words": ({"image": IMAGE, "class_agnostic_nms": "perhaps"}, r"\.class_agnostic_nms: "),
    "flag of a number": ({"image": IMAGE, "class_agnostic_nms": 2.0}, r"\.class_agnostic_nms: "),
    "count with an exponent": ({"image": IMAGE, "max_detections": "1e3"}, r"\.max_detections: Expected `int"),
    "count in other digits": ({"image": IMAGE, "max_detections": "\u0663"}, r"\.max_detections: "),
    "threshold in other digits": ({"image": IMAGE, "iou_threshold": "\u0663"}, r"\.iou_threshold: "),
    "empty threshold": ({"image": IMAGE, "iou_threshold": ""}, r"\.iou_threshold: "),
    "threshold of a null in words": ({"image": IMAGE, "iou_threshold": "null"}, r"\.iou_threshold: "),
    "flag of a null in words": ({"image": IMAGE, "class_agnostic_nms": "Null"}, r"\.class_agnostic_nms: "),
    "id of a number": ({"image": IMAGE, "id": 7}, r"\.id: Expected `str`, got `int`"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_requests_are_refused_and_the_field_is_named(name):
    fields, message = WRONG[name]
    with pytest.raises(SchemaError, match=message):
        ObjectDetectionInferenceRequest.from_dict(fields)
    with pytest.raises(SchemaError, match=message):
        ObjectDetectionInferenceRequest.from_json(json.dumps(fields))
    if "image" in fields:
        with pytest.raises(SchemaError, match=message):
            ObjectDetectionInferenceRequest(**fields)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", '"text"', b"\xff\xfe", "[" * 100_000, '{"image":' * 50_000]
)
@pytest.mark.parametrize("model", [ObjectDetectionInferenceRequest, ObjectDetectionInferenceResponse])
def test_malformed_json_is_refused(model, text):
    with pytest.raises(SchemaError, match=f"^{model.__name__}"):
        model.from_json(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"predictions":[]}', "image"),
        ('{"image":{"width":1,"height":"2"},"predictions":[]}', "image.height"),
        ('{"image":{"width":1,"height":2},"predictions":[{"x":1}]}', "predictions"),
    ],
)
def test_wrong_responses_are_refused_and_the_field_is_named(text, place):
    with pytest.raises(SchemaError, match=place):
        ObjectDetectionInferenceResponse.from_json(text)


def test_images_without_a_json_form_are_refused():
    request = ObjectDetectionInferenceRequest(image=InferenceRequestImage(type="numpy_object", value=np.zeros(3)))
    with pytest.raises(SchemaError, match=r"ndarray.*Send the image as base64"):
        request.to_json()


def test_the_error_is_an_argument_error_of_the_library():
    assert issubclass(SchemaError, InvalidArgumentError)
    assert issubclass(SchemaError, RfkernelsError)
    assert issubclass(SchemaError, ValueError)


@pytest.mark.parametrize("count", [0, 1, 2, 100, 1001])
def test_ids_are_random_uuids(count):
    ids = schema.new_ids(count)
    assert len(ids) == len(set(ids)) == count
    for text in ids:
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert parsed.version == 4
        assert parsed.variant == uuid.RFC_4122


def test_every_other_bit_of_the_ids_is_random():
    values = [uuid.UUID(text).int for text in [*schema.new_ids(400), *(schema.new_id() for _ in range(400))]]
    fixed = {*range(76, 80), 62, 63}
    ones = {bit for bit in range(128) if any(value >> bit & 1 for value in values)}
    zeros = {bit for bit in range(128) if not all(value >> bit & 1 for value in values)}
    assert ones & zeros == set(range(128)) - fixed
