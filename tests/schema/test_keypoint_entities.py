"""The V2 entities of keypoint detection: names, defaults and JSON as the API has them, and hostile input."""

import json

import msgspec
import pytest

from rfkernels.schema import (
    InferenceResponseImage,
    Keypoint,
    KeypointsDetectionInferenceRequest,
    KeypointsDetectionInferenceResponse,
    KeypointsPrediction,
    ObjectDetectionInferenceRequest,
    SchemaError,
)

IMAGE = {"type": "base64", "value": "aGVsbG8="}
BOX = {"x": 210.0, "y": 200.0, "width": 120.0, "height": 340.0, "confidence": 0.93, "class_name": "person"}


def response(*keypoints, **changes):
    prediction = KeypointsPrediction(**BOX, class_id=0, detection_id="d", keypoints=list(keypoints), **changes)
    return KeypointsDetectionInferenceResponse(
        image=InferenceResponseImage(width=640, height=480), predictions=[prediction]
    )


def test_the_answer_of_the_specification_byte_by_byte():
    nose = Keypoint(214.0, 70.0, 0.98, 0, "nose")
    assert nose == Keypoint(x=214.0, y=70.0, confidence=0.98, class_id=0, class_name="nose")
    assert response(nose).to_json() == (
        '{"image":{"width":640,"height":480},"predictions":[{"x":210.0,"y":200.0,"width":120.0,"height":340.0,'
        '"confidence":0.93,"class":"person","class_id":0,"detection_id":"d",'
        '"keypoints":[{"x":214.0,"y":70.0,"confidence":0.98,"class_id":0,"class":"nose"}]}]}'
    )


def test_zeros_stay_and_nulls_do_not():
    answer = response(Keypoint(0.0, 0.0, 0.0, 0, ""), tracker_id=0, class_confidence=0.0)
    (fields,) = json.loads(answer.to_json())["predictions"]
    assert fields["keypoints"] == [{"x": 0.0, "y": 0.0, "confidence": 0.0, "class_id": 0, "class": ""}]
    assert fields["tracker_id"] == 0
    assert fields["class_confidence"] == 0.0
    assert "parent_id" not in fields
    assert response().to_dict()["predictions"][0]["keypoints"] == []


def test_responses_are_read_back():
    answer = response(*(Keypoint(x / 3, -x, 1 / (x + 1), x, f"k{x}") for x in range(133)))
    read = KeypointsDetectionInferenceResponse.from_json(answer.to_json())
    assert read == answer
    assert answer.to_dict() == json.loads(answer.to_json())


@pytest.mark.parametrize(
    ("keypoints", "place"),
    [
        (None, "keypoints"),
        ({}, "keypoints"),
        ([{"x": 1.0, "y": 2.0}], "missing required field `confidence`"),
        ([{"x": 1.0, "y": 2.0, "confidence": 0.5, "class_id": 0}], "missing required field `class`"),
        ([{"x": 1.0, "y": 2.0, "confidence": 0.5, "class_id": 0.5, "class": ""}], "class_id"),
        ([{"x": None, "y": 2.0, "confidence": 0.5, "class_id": 0, "class": ""}], r"\.x"),
    ],
)
def test_wrong_keypoints_are_refused_and_the_field_is_named(keypoints, place):
    fields = response().to_dict()
    fields["predictions"][0]["keypoints"] = keypoints
    with pytest.raises(SchemaError, match=place):
        KeypointsDetectionInferenceResponse.from_json(json.dumps(fields))


def test_the_request_adds_a_threshold_to_that_of_detection():
    fields = msgspec.structs.asdict(KeypointsDetectionInferenceRequest(image=IMAGE, id="a"))
    detection = msgspec.structs.asdict(ObjectDetectionInferenceRequest(image=IMAGE, id="a"))
    assert fields == detection | {"keypoint_confidence": 0.0}


@pytest.mark.parametrize("confidence", [0.0, 0.25, "default"])
def test_requests_go_through_json(confidence):
    request = KeypointsDetectionInferenceRequest(image=IMAGE, confidence=confidence, keypoint_confidence="0.5")
    assert (request.confidence, request.keypoint_confidence) == (confidence, 0.5)
    assert KeypointsDetectionInferenceRequest.from_json(request.to_json()) == request
    assert KeypointsDetectionInferenceRequest(image=IMAGE, keypoint_confidence=None).keypoint_confidence is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confidence": "best"}, r'\.confidence: .*expected float or "default"'),
        ({"confidence": None}, r"\.confidence: "),
        ({"keypoint_confidence": "best"}, r"\.keypoint_confidence: .*expected float or null"),
        ({"keypoint_confidence": []}, r"\.keypoint_confidence: "),
    ],
)
def test_wrong_requests_are_refused_and_the_field_is_named(changes, message):
    with pytest.raises(SchemaError, match=message):
        KeypointsDetectionInferenceRequest.from_json(json.dumps({"image": IMAGE} | changes))
    with pytest.raises(SchemaError, match=message):
        KeypointsDetectionInferenceRequest(image=IMAGE, **changes)
