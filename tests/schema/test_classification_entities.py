"""The V2 entities of classification: names, defaults and JSON as the API has them, and hostile input."""

import json

import msgspec
import pytest

from rfkernels.schema import (
    ClassificationInferenceRequest,
    ClassificationInferenceResponse,
    ClassificationPrediction,
    CVInferenceRequest,
    InferenceResponseImage,
    MultiLabelClassificationInferenceResponse,
    MultiLabelClassificationPrediction,
    SchemaError,
)

IMAGE = {"type": "base64", "value": "aGVsbG8="}
SIZE = InferenceResponseImage(width=224, height=224)
RESPONSES = [ClassificationInferenceResponse, MultiLabelClassificationInferenceResponse]


def test_the_answer_of_the_specification_byte_by_byte():
    answer = ClassificationInferenceResponse(
        inference_id="i",
        time=0.005,
        image=SIZE,
        predictions=[
            ClassificationPrediction(class_name="cat", class_id=1, confidence=0.9731),
            ClassificationPrediction(class_name="dog", class_id=0, confidence=0.0269),
        ],
        top="cat",
        confidence=0.9731,
    )
    assert answer.to_json() == (
        '{"inference_id":"i","time":0.005,"image":{"width":224,"height":224},"predictions":['
        '{"class":"cat","class_id":1,"confidence":0.9731},{"class":"dog","class_id":0,"confidence":0.0269}],'
        '"top":"cat","confidence":0.9731}'
    )
    assert ClassificationInferenceResponse.from_json(answer.to_json()) == answer
    assert answer.to_dict() == json.loads(answer.to_json())


def test_an_answer_without_a_class_says_so():
    text = '{"image":{"width":224,"height":224},"predictions":[],"top":"","confidence":0.0}'
    answer = ClassificationInferenceResponse(image=SIZE, predictions=[])
    assert answer.to_json() == text
    assert ClassificationInferenceResponse.from_json('{"image":{"width":224,"height":224},"predictions":[]}') == answer
    assert "parent_id" in ClassificationInferenceResponse(image=SIZE, predictions=[], parent_id="").to_dict()


def test_several_labels_byte_by_byte():
    answer = MultiLabelClassificationInferenceResponse(
        image=SIZE,
        predictions={
            "cat": MultiLabelClassificationPrediction(confidence=0.91, class_id=0),
            'a "dog"': MultiLabelClassificationPrediction(confidence=0.0, class_id=1),
        },
        predicted_classes=["cat"],
    )
    assert answer.to_json() == (
        '{"image":{"width":224,"height":224},"predictions":{"cat":{"confidence":0.91,"class_id":0},'
        '"a \\"dog\\"":{"confidence":0.0,"class_id":1}},"predicted_classes":["cat"]}'
    )
    assert MultiLabelClassificationInferenceResponse.from_json(answer.to_json()) == answer
    assert answer.to_dict() == json.loads(answer.to_json())


@pytest.mark.parametrize("model", RESPONSES)
def test_visualizations_are_base64(model):
    fields = {"predicted_classes": []} if model is MultiLabelClassificationInferenceResponse else {}
    empty = {} if fields else []
    answer = model(image=SIZE, predictions=empty, visualization=b"\xff\xd8\xff", **fields)
    assert answer.to_dict()["visualization"] == "/9j/"
    assert model.from_json(answer.to_json()) == answer


@pytest.mark.parametrize(
    ("model", "fields", "place"),
    [
        (RESPONSES[0], {}, "predictions"),
        (RESPONSES[0], {"predictions": [{"class": "cat", "class_id": 1}]}, "missing required field `confidence`"),
        (RESPONSES[0], {"predictions": [], "top": None}, "top"),
        (RESPONSES[0], {"predictions": {}}, "predictions"),
        (RESPONSES[1], {"predictions": {}}, "predicted_classes"),
        (RESPONSES[1], {"predictions": [], "predicted_classes": []}, "predictions"),
        (RESPONSES[1], {"predictions": {"a": {"confidence": 1}}, "predicted_classes": []}, "class_id"),
        (RESPONSES[1], {"predictions": {}, "predicted_classes": [1]}, "predicted_classes"),
    ],
)
def test_wrong_responses_are_refused_and_the_field_is_named(model, fields, place):
    with pytest.raises(SchemaError, match=place):
        model.from_json(json.dumps({"image": {"width": 1, "height": 2}} | fields))


def test_the_request_adds_to_that_about_an_image():
    fields = msgspec.structs.asdict(ClassificationInferenceRequest(image=IMAGE, id="a"))
    assert fields == msgspec.structs.asdict(CVInferenceRequest(image=IMAGE, id="a")) | {
        "model_type": "classification",
        "include_anomaly_map": False,
        "confidence": 0.4,
        "visualization_stroke_width": 1,
        "visualize_predictions": False,
        "disable_active_learning": False,
        "active_learning_target_dataset": None,
    }


@pytest.mark.parametrize("model_type", [None, "object-detection", 7])
def test_the_type_of_the_model_is_classification_whatever_was_given(model_type):
    given = {"image": IMAGE, "model_type": model_type}
    assert ClassificationInferenceRequest(**given).model_type == "classification"
    assert ClassificationInferenceRequest.from_json(json.dumps(given)).model_type == "classification"


def test_requests_go_through_json():
    request = ClassificationInferenceRequest(
        image=[IMAGE], confidence="best", include_anomaly_map="y", visualization_stroke_width=3.0
    )
    assert request.include_anomaly_map is True
    assert ClassificationInferenceRequest.from_json(request.to_json()) == request


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"include_anomaly_map": None}, r"\.include_anomaly_map: .*expected bool"),
        ({"include_anomaly_map": "null"}, r"\.include_anomaly_map: "),
        ({"confidence": "worst"}, r'\.confidence: .*float or "best" or "default"'),
        ({"visualization_stroke_width": 1.5}, r"\.visualization_stroke_width: "),
        ({"image": [None]}, r"\.image\[0\]: "),
    ],
)
def test_wrong_requests_are_refused_and_the_field_is_named(changes, message):
    text = json.dumps({"image": IMAGE} | changes)
    with pytest.raises(SchemaError, match=message):
        ClassificationInferenceRequest.from_json(text)


@pytest.mark.parametrize("text", ["", "[]", "null", b"\xff\xfe", "[" * 100_000])
@pytest.mark.parametrize("model", [ClassificationInferenceRequest, *RESPONSES])
def test_malformed_json_is_refused(model, text):
    with pytest.raises(SchemaError, match=f"^{model.__name__}"):
        model.from_json(text)
