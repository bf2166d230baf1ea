"""The V2 entities of instance segmentation: names, defaults and JSON as the API has them, and hostile input."""

import json

import msgspec
import numpy as np
import pytest

from rfkernels.errors import InvalidArgumentError, InvalidMaskDecodeArgumentError
from rfkernels.schema import (
    InferenceResponseImage,
    InstanceSegmentationInferenceRequest,
    InstanceSegmentationInferenceResponse,
    InstanceSegmentationPrediction,
    InstanceSegmentationRLEPrediction,
    MaskCoordinateMetadata,
    ObjectDetectionInferenceRequest,
    Point,
    SchemaError,
)

IMAGE = {"type": "base64", "value": "aGVsbG8="}
BOX = {"x": 100.0, "y": 120.0, "width": 50.0, "height": 60.0, "confidence": 0.88, "class_name": "person", "class_id": 0}
BOX_TEXT = '"x":100.0,"y":120.0,"width":50.0,"height":60.0,"confidence":0.88,"class":"person","class_id":0'


def response(*predictions, **changes):
    image = InferenceResponseImage(width=640, height=480)
    return InstanceSegmentationInferenceResponse(image=image, predictions=list(predictions), **changes)


def test_the_answer_of_the_specification_byte_by_byte():
    points = [Point(80.0, 90.0), Point(120.0, 92.0), Point(121.0, 150.0)]
    answer = response(InstanceSegmentationPrediction(**BOX, detection_id="d", points=points), time=0.02)
    assert answer.to_json() == (
        '{"time":0.02,"image":{"width":640,"height":480},"predictions":[{"mask_format":"polygon",'
        + BOX_TEXT
        + ',"detection_id":"d","points":[{"x":80.0,"y":90.0},{"x":120.0,"y":92.0},{"x":121.0,"y":150.0}]}]}'
    )


def test_a_mask_as_coco_has_it():
    rle = {"size": [480, 640], "counts": "PPYo0"}
    answer = response(InstanceSegmentationRLEPrediction(**BOX, detection_id="d", parent_id="p", rle=rle))
    assert answer.to_json() == (
        '{"image":{"width":640,"height":480},"predictions":[{"mask_format":"rle",'
        + BOX_TEXT
        + ',"detection_id":"d","parent_id":"p","rle":{"size":[480,640],"counts":"PPYo0"}}]}'
    )
    (read,) = InstanceSegmentationInferenceResponse.from_json(answer.to_json()).predictions
    assert type(read.rle) is dict
    assert read.rle == rle


def test_geometry_on_a_grid_comes_with_the_way_back():
    answer = response(
        original_image=InferenceResponseImage(width=2560, height=1920),
        mask_metadata=MaskCoordinateMetadata(width=640, height=480, scale_x=4.0, scale_y=4.0),
    )
    assert answer.to_json() == (
        '{"image":{"width":640,"height":480},"predictions":[],"original_image":{"width":2560,"height":1920},'
        '"mask_metadata":{"coordinate_system":"mask_grid","width":640,"height":480,"scale_x":4.0,"scale_y":4.0}}'
    )


def test_an_empty_mask_has_no_points_and_says_so():
    (fields,) = response(InstanceSegmentationPrediction(**BOX, points=[])).to_dict()["predictions"]
    assert fields["points"] == []
    assert fields["mask_format"] == "polygon"
    assert "class_confidence" not in fields


def test_both_forms_are_read_back(rng):
    outline = rng.normal(0, 1000, (400, 2))
    answer = response(
        InstanceSegmentationPrediction(**BOX, points=list(map(Point, *outline.T.tolist())), class_confidence=0.0),
        InstanceSegmentationRLEPrediction(**BOX, rle={"size": [3, 4], "counts": "05"}),
    )
    read = InstanceSegmentationInferenceResponse.from_json(answer.to_json())
    assert read == answer
    assert [type(prediction) for prediction in read.predictions] == [type(p) for p in answer.predictions]
    assert [prediction.mask_format for prediction in read.predictions] == ["polygon", "rle"]
    assert answer.to_dict() == json.loads(answer.to_json())
    np.testing.assert_array_equal([(point.x, point.y) for point in read.predictions[0].points], outline)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"mask_format": "raster"}, r"predictions\[0\]\.mask_format"),
        ({"mask_format": 7}, "mask_format"),
        ({"mask_format": "rle"}, "missing required field `rle`"),
        ({"points": None}, "points"),
        ({"points": [[1, 2]]}, "points"),
        ({"points": [{"x": 1.0}]}, "missing required field `y`"),
        ({"points": [{"x": 1.0, "y": "2"}]}, "points.*y"),
        ({"mask_format": "rle", "rle": {"size": "3"}}, "rle"),
        ({"mask_format": "rle", "rle": {"size": [3, 4.5], "counts": ""}}, "size"),
        ({"mask_format": "rle", "rle": {"size": [3, 4]}}, "counts"),
    ],
)
def test_wrong_masks_are_refused_and_the_field_is_named(changes, place):
    good = json.loads("{" + BOX_TEXT + ',"points":[],"mask_format":"polygon"}')
    text = json.dumps({"image": {"width": 1, "height": 2}, "predictions": [good | changes]})
    with pytest.raises(SchemaError, match=place):
        InstanceSegmentationInferenceResponse.from_json(text)


@pytest.mark.parametrize("changes", [{"width": 0}, {"height": -1}, {"scale_x": 0.0}, {"scale_y": "4"}])
def test_a_grid_without_a_size_is_refused(changes):
    grid = {"width": 160, "height": 107, "scale_x": 4.0, "scale_y": 4.0} | changes
    with pytest.raises(SchemaError, match=next(iter(changes))):
        MaskCoordinateMetadata.from_json(json.dumps(grid))


def test_the_request_adds_masks_to_that_of_detection():
    fields = msgspec.structs.asdict(InstanceSegmentationInferenceRequest(image=IMAGE, id="a"))
    detection = msgspec.structs.asdict(ObjectDetectionInferenceRequest(image=IMAGE, id="a"))
    assert fields == detection | {
        "mask_decode_mode": "accurate",
        "tradeoff_factor": 0.0,
        "allow_reduced_mask_resolution": False,
        "response_mask_format": "polygon",
        "enforce_dense_masks_in_inference_models": False,
    }


def test_requests_go_through_json():
    request = InstanceSegmentationInferenceRequest(
        image=IMAGE,
        confidence="best",
        mask_decode_mode="tradeoff",
        tradeoff_factor="0.25",
        allow_reduced_mask_resolution="on",
        response_mask_format="rle",
    )
    assert request.tradeoff_factor == 0.25
    assert request.allow_reduced_mask_resolution is True
    assert InstanceSegmentationInferenceRequest.from_json(request.to_json()) == request


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"response_mask_format": "polygons"}, r'\.response_mask_format: .*expected "polygon" or "rle"'),
        ({"response_mask_format": None}, r"\.response_mask_format: "),
        ({"response_mask_format": 7}, r"\.response_mask_format: "),
        ({"mask_decode_mode": 1}, r"\.mask_decode_mode: .*expected str or null"),
        ({"tradeoff_factor": "null"}, r"\.tradeoff_factor: .*expected float or null"),
        ({"allow_reduced_mask_resolution": None}, r"\.allow_reduced_mask_resolution: .*expected bool"),
    ],
)
def test_wrong_requests_are_refused_and_the_field_is_named(changes, message):
    with pytest.raises(SchemaError, match=message):
        InstanceSegmentationInferenceRequest.from_json(json.dumps({"image": IMAGE} | changes))
    with pytest.raises(SchemaError, match=message):
        InstanceSegmentationInferenceRequest(image=IMAGE, **changes)


def test_wrong_mask_arguments_are_errors_of_arguments():
    assert issubclass(InvalidMaskDecodeArgumentError, InvalidArgumentError)
    assert issubclass(InvalidMaskDecodeArgumentError, ValueError)
