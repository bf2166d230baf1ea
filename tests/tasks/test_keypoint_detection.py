"""From an image to keypoints, against the same composed of definitions in NumPy."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import replace

import definitions
import numpy as np
import pytest
from PIL import Image
from small_networks import write_small_network

import rfkernels
from rfkernels import ops, schema
from rfkernels.builder import BuildOptions, build
from rfkernels.images import load_image
from rfkernels.model_metadata import Keypoints
from rfkernels.reference.bfloat16 import from_bfloat16, to_bfloat16
from rfkernels.tasks.keypoint_detection import KeypointDetectionModel

THRESHOLDS = {"confidence": 0.62, "iou_threshold": 0.4}
# Of the three classes, as the fixture names them; the network has 5 points for each.
POINT_NAMES = (tuple("abcde"), tuple("fgh"), tuple("ijklm"))


@pytest.fixture(scope="module")
def model(small_keypoint_path):
    return rfkernels.load(small_keypoint_path, precision="fp32", cache_directory=False)


@pytest.fixture
def noise(rng):
    return rng.integers(0, 256, (61, 97, 3), dtype=np.uint8)


def request_for(pixels, **options):
    image = schema.InferenceRequestImage(type="numpy_object", value=pixels)
    return schema.KeypointsDetectionInferenceRequest(image=image, **THRESHOLDS | options)


def content(response):
    """All but the ids and the time."""
    document = json.loads(response.to_json())
    for prediction in document["predictions"]:
        del prediction["detection_id"]
    return document["image"], document["predictions"]


def points_of(prediction):
    return [(p.x, p.y, p.confidence, p.class_id, p.class_name) for p in prediction.keypoints]


def assert_keypoints_are(response, found, expected, names):
    """Those of the definition, float32 [n, keypoints, 3], that are there and have a name."""
    assert [prediction.class_id for prediction in response.predictions] == found.class_ids.tolist()
    for prediction, points in zip(response.predictions, expected, strict=True):
        own = names[prediction.class_id]
        there = [index for index in range(len(own)) if points[index, 2] > 0]
        assert [point.class_id for point in prediction.keypoints] == there
        assert [point.class_name for point in prediction.keypoints] == [own[index] for index in there]
        actual = np.reshape([(p.x, p.y, p.confidence) for p in prediction.keypoints], (-1, 3))
        np.testing.assert_allclose(actual, points[there], rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("convention", ["v2", "ultralytics"])
@pytest.mark.parametrize("keypoint_confidence", [0.0, 0.4])
@pytest.mark.parametrize(("height", "width"), [(61, 97), (64, 96), (1, 1), (333, 40), (7, 400)])
def test_infer_equals_the_definitions(model, small_keypoint_path, rng, convention, keypoint_confidence, height, width):
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    response = model.infer(image, convention=convention, keypoint_confidence=keypoint_confidence, **THRESHOLDS)
    ran = definitions.run(small_keypoint_path, image, convention)
    found = definitions.detections(ran, **THRESHOLDS)
    expected = definitions.keypoints_of(ran, found, dimensions=3, keypoint_confidence=keypoint_confidence)
    assert len(expected) > 0
    assert_keypoints_are(response, found, expected, POINT_NAMES)
    boxes = np.array([[p.x, p.y, p.width, p.height] for p in response.predictions])
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
    np.testing.assert_allclose(corners, found.boxes, rtol=0, atol=1e-3)


def test_conventions_round_and_clamp_as_theirs_do(model, noise):
    v2, ultralytics = (
        np.concatenate([np.reshape([(p.x, p.y) for p in q.keypoints], (-1, 2)) for q in response.predictions])
        for response in (model.infer(noise, convention=name, **THRESHOLDS) for name in ("v2", "ultralytics"))
    )
    assert (v2 == np.rint(v2)).all()
    assert (v2 < 0).any()
    assert (v2 > noise.shape[1::-1]).any()
    assert (ultralytics != np.rint(ultralytics)).any()
    assert (ultralytics >= 0).all()
    assert (ultralytics <= noise.shape[1::-1]).all()


def test_a_class_with_fewer_names_has_fewer_points(model, noise):
    predictions = model.infer(noise, **THRESHOLDS).predictions
    assert {prediction.class_id for prediction in predictions} == {0, 1, 2}
    for prediction in predictions:
        names = POINT_NAMES[prediction.class_id]
        # A sigmoid is never 0 here, so every named point is there.
        assert [point[3:] for point in points_of(prediction)] == list(enumerate(names))
    assert model.skeletons == {0: ((0, 1), (1, 4)), 1: ((2, 0),), 2: ()}


def test_unsure_points_are_left_out_and_the_rest_keep_their_numbers(model, noise):
    every = model.infer(noise, **THRESHOLDS).predictions
    threshold = float(np.median([point[2] for prediction in every for point in points_of(prediction)]))
    wanted = [[point for point in points_of(prediction) if point[2] >= threshold] for prediction in every]
    assert any([point[3] for point in points] != list(range(len(points))) for points in wanted)
    assert any(len(points) == 0 for points in wanted) or any(len(points) < 3 for points in wanted)
    for response in (
        model.infer(noise, keypoint_confidence=threshold, **THRESHOLDS),
        model.infer_from_request(request_for(noise, keypoint_confidence=threshold)),
    ):
        assert [points_of(prediction) for prediction in response.predictions] == wanted


def test_keypoint_thresholds_of_requests(model, noise):
    def ask(**options):
        return content(model.infer_from_request(request_for(noise, **options)))

    everything = content(model.infer(noise, **THRESHOLDS))
    for value in (None, 0.0, -3.0):
        assert ask(keypoint_confidence=value) == everything
    # Above 1 is no error, as in V2, and lets nothing pass; the boxes stay.
    _, predictions = ask(keypoint_confidence=7.0)
    assert [prediction["keypoints"] for prediction in predictions] == [[]] * len(everything[1])


def test_points_without_confidence_are_sure(tmp_path, noise):
    weights = write_small_network(tmp_path / "two.safetensors", "keypoint-detection", keypoint_shape=(4, 2), seed=1)
    path = build(weights, tmp_path / "two.onnx").output_path
    model = rfkernels.load(path, precision="fp32", cache_directory=False)
    assert model.metadata.keypoints == Keypoints(4, 2, (tuple("0123"),) * 3, ((),) * 3)
    for convention in ("v2", "ultralytics"):
        response = model.infer(noise, convention=convention, keypoint_confidence=1.0, **THRESHOLDS)
        ran = definitions.run(path, noise, convention)
        found = definitions.detections(ran, **THRESHOLDS)
        assert_keypoints_are(response, found, definitions.keypoints_of(ran, found, dimensions=2), [tuple("0123")] * 3)
        points = [point for prediction in response.predictions for point in points_of(prediction)]
        assert len(points) == 4 * len(response.predictions) > 0
        assert {point[2] for point in points} == {1.0}


def test_a_point_of_confidence_0_is_left_out(small_keypoint_path, noise):
    """Also where nothing asks for surer ones: V2 has no such points."""
    model = rfkernels.load(small_keypoint_path, precision="fp32", cache_directory=False)
    extend = model.extend

    def doubtful(outputs, *arguments):
        changed = dict(outputs)
        for stride in definitions.STRIDES:
            changed[f"keypoints_{stride}"] = outputs[f"keypoints_{stride}"].copy()
            changed[f"keypoints_{stride}"][:, 2] = -np.inf  # the logit of the first point
        return extend(changed, *arguments)

    model.extend = doubtful
    predictions = model.infer(noise, **THRESHOLDS).predictions
    assert len(predictions) > 0
    for prediction in predictions:
        count = len(POINT_NAMES[prediction.class_id])
        assert [point.class_id for point in prediction.keypoints] == list(range(1, count))


def test_json_has_the_fields_of_v2_and_no_nulls(model, noise):
    text = model.infer_from_request(request_for(noise)).to_json()
    document = json.loads(text)
    assert "null" not in text
    assert set(document) == {"inference_id", "time", "image", "predictions"}
    box = {"x", "y", "width", "height", "confidence", "class", "class_id", "detection_id"}
    for prediction in document["predictions"]:
        assert set(prediction) == box | {"keypoints"}
        for point in prediction["keypoints"]:
            assert list(point) == ["x", "y", "confidence", "class_id", "class"]
            assert isinstance(point["x"], float)
            assert isinstance(point["class_id"], int)


def test_bfloat16_outputs_give_what_they_give_widened(model, small_keypoint_path, noise):
    ran = definitions.run(small_keypoint_path, noise, "v2")
    narrow = {name: to_bfloat16(values) for name, values in ran.outputs.items()}
    placement = ops.plan_placement(*noise.shape[:2], size=definitions.SIZE)
    settings = replace(model.default_settings(), keypoint_confidence=0.3)
    answers = []
    for outputs in (narrow, {name: from_bfloat16(values) for name, values in narrow.items()}):
        heads = [(outputs[f"box_{stride}"], outputs[f"class_{stride}"]) for stride in definitions.STRIDES]
        detections = ops.detect_from_heads(heads, [placement], [noise.shape[:2]], confidence=0.62)
        (found,) = model.extend(outputs, [load_image(noise)], [placement], detections, settings)
        answers.append(found.keypoints)
    np.testing.assert_array_equal(*answers)
    assert len(answers[0]) > 5


# Options


def test_request_options(model, noise):
    def ask(**options):
        return content(model.infer_from_request(request_for(noise, **options)))[1]

    everything = ask()
    assert ask(max_detections=2) == everything[:2]
    assert ask(max_detections=0) == ask(confidence=1.5) == ask(class_filter=["no such class"]) == []
    kept = everything[0]["class"]
    wanted = [prediction for prediction in everything if prediction["class"] == kept]
    assert 0 < len(wanted) < len(everything)
    assert ask(class_filter=[kept]) == content(model.infer(noise, class_filter=[kept], **THRESHOLDS))[1] == wanted
    assert len(ask(class_agnostic_nms=True)) < len(everything)
    assert ask(confidence="default") == ask(confidence=0.4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keypoint_confidence": 1.5}, "keypoint_confidence is 1.5"),
        ({"keypoint_confidence": float("nan")}, "keypoint_confidence is nan"),
        ({"keypoint_confidence": None}, "keypoint_confidence is None"),
        ({"confidence": "best"}, "confidence is 'best'"),
        ({"class_filter": ["unicorn"]}, "'unicorn'"),
    ],
)
def test_wrong_options_are_named(model, noise, options, message):
    with pytest.raises(rfkernels.InvalidArgumentError, match=message):
        model.infer(noise, **options)


@pytest.mark.parametrize(
    "kind",
    ["ObjectDetectionInferenceRequest", "InstanceSegmentationInferenceRequest", "ClassificationInferenceRequest"],
)
def test_a_request_of_another_task_is_named(model, noise, kind):
    image = schema.InferenceRequestImage(type="numpy_object", value=noise)
    message = f"request is a {kind}; give a schema.KeypointsDetectionInferenceRequest"
    with pytest.raises(rfkernels.InvalidArgumentError, match=message):
        model.infer_from_request(getattr(schema, kind)(image=image))


# Batches, threads, pictures


@pytest.mark.parametrize("batch", [2, "dynamic"])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_list_in_gives_a_list_out_on_any_batch(model, small_keypoint_path, tmp_path, rng, batch, count):
    images = [rng.integers(0, 256, (20 + 17 * index, 90 - index, 3), dtype=np.uint8) for index in range(count)]
    build(small_keypoint_path.with_suffix(".safetensors"), tmp_path / "batched.onnx", BuildOptions(batch=batch))
    batched = rfkernels.load(tmp_path / "batched.onnx", precision="fp32", cache_directory=False)
    responses = batched.infer(images, **THRESHOLDS)
    assert isinstance(responses, list)
    assert len(responses) == count
    for response, image in zip(responses, images, strict=True):
        (_, actual), (_, expected) = content(response), content(model.infer(image, **THRESHOLDS))
        assert len(actual) == len(expected) > 0
        for one, other in zip(actual, expected, strict=True):
            assert [p["class"] for p in one["keypoints"]] == [p["class"] for p in other["keypoints"]]
            assert [(p["x"], p["y"]) for p in one["keypoints"]] == [(p["x"], p["y"]) for p in other["keypoints"]]


def test_threads_share_a_model(model, rng):
    images = [rng.integers(0, 256, (40 + 13 * index, 80, 3), dtype=np.uint8) for index in range(4)]
    expected = [content(model.infer(image, **THRESHOLDS)) for image in images]
    wrong = []

    def work(index):
        for _ in range(10):
            if content(model.infer(images[index], **THRESHOLDS)) != expected[index]:
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_visualization_is_a_jpeg_of_the_image(model, noise):
    request = request_for(noise, visualize_predictions=True, visualization_labels=True)
    with Image.open(io.BytesIO(model.infer_from_request(request).visualization)) as picture:
        assert picture.size == (97, 61)
        assert picture.format == "JPEG"


# The network


def test_load_makes_the_model_of_the_task(model):
    assert type(model) is KeypointDetectionModel
    assert model.has_sparse_boxes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ("one", "two")}, "outputs are"),
        ({"image_size": (96, 64)}, "inputs are"),
        ({"batch": 2}, "inputs are"),
        ({"keypoints": Keypoints(4, 3, POINT_NAMES, ((),) * 3)}, "outputs are"),
        ({"keypoints": Keypoints(5, 2, POINT_NAMES, ((),) * 3)}, "outputs are"),
        ({"task": "instance-segmentation", "keypoints": None}, "outputs are"),
        ({"task": "object-detection", "keypoints": None}, "outputs are"),
    ],
)
def test_metadata_that_do_not_fit_the_graph_are_refused(model, changes, message):
    with pytest.raises(rfkernels.ModelFileError, match=message):
        KeypointDetectionModel(model.engine, replace(model.metadata, **changes))
