"""From an image to its classes: against definitions in NumPy around the same engine, and on probabilities made up."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import replace

import definitions
import numpy as np
import pytest
from PIL import Image

import rfkernels
from rfkernels import schema
from rfkernels.builder import BuildOptions, build
from rfkernels.images import load_image
from rfkernels.reference import preprocess
from rfkernels.reference.bfloat16 import from_bfloat16, to_bfloat16
from rfkernels.reference.detection import sigmoid as reference_sigmoid
from rfkernels.tasks.classification import ClassificationModel, ClassificationSettings, sigmoid, softmax
from rfkernels.tasks.convention import V2

NAMES = ("circle", "square", "star")


@pytest.fixture(scope="module")
def model(small_classification_path):
    return rfkernels.load(small_classification_path, precision="fp32", cache_directory=False)


@pytest.fixture(scope="module")
def multi_label_model(small_classification_path, tmp_path_factory):
    path = tmp_path_factory.mktemp("multi-label") / "model.onnx"
    build(small_classification_path.with_suffix(".safetensors"), path, BuildOptions(multi_label=True))
    return rfkernels.load(path, precision="fp32", cache_directory=False)


@pytest.fixture
def noise(rng):
    return rng.integers(0, 256, (61, 97, 3), dtype=np.uint8)


@pytest.fixture
def image(noise):
    return load_image(noise)


def request_for(pixels, **options):
    return schema.ClassificationInferenceRequest(
        image=schema.InferenceRequestImage(type="numpy_object", value=pixels), **options
    )


def content(response):
    """All but the id and the time."""
    document = json.loads(response.to_json())
    return {name: value for name, value in document.items() if name not in ("inference_id", "time")}


def plain_softmax(logits):
    """In double: what the float32 ones are near to."""
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return powers / powers.sum()


def logits_of(path, image, side):
    """Of the square in the middle of the picture, resized."""
    whole = preprocess.Rectangle(0, 0, image.shape[1], image.shape[0])
    placement = preprocess.plan_shortest_side_crop(whole, side, side)
    resized = preprocess.preprocess(
        [image], [placement], size=(side, side), swap_channels=True, interpolation="antialiased"
    )
    return definitions.run_prepared(path, resized)["logits"][0]


@pytest.mark.parametrize(("height", "width"), [(61, 97), (64, 96), (1, 1), (333, 40), (7, 400), (200, 200)])
def test_infer_equals_the_definitions(model, small_classification_path, rng, height, width):
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    response = model.infer(image, confidence=0.0)
    expected = plain_softmax(logits_of(small_classification_path, image, 64))
    assert np.ptp(expected) > 0.01
    assert (response.image.width, response.image.height) == (width, height)
    assert [p.class_id for p in response.predictions] == np.argsort(-expected).tolist()
    assert [p.class_name for p in response.predictions] == [NAMES[p.class_id] for p in response.predictions]
    for prediction in response.predictions:
        assert abs(prediction.confidence - expected[prediction.class_id]) <= 0.5e-4 + 1e-5
        assert prediction.confidence == round(prediction.confidence, 4)
    assert (response.top, response.confidence) == (NAMES[expected.argmax()], response.predictions[0].confidence)
    assert content(response) == content(model.infer(image, confidence=0.0, convention="ultralytics"))


@pytest.mark.parametrize(("height", "width"), [(61, 97), (1, 1), (333, 40)])
def test_multi_label_equals_the_definitions(multi_label_model, small_classification_path, rng, height, width):
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    logits = logits_of(small_classification_path, image, 64)
    expected = 1 / (1 + np.exp(-logits.astype(np.float64)))
    threshold = float(np.median(expected)) - 0.01
    response = multi_label_model.infer(image, confidence=threshold)
    assert list(response.predictions) == list(NAMES)
    assert [p.class_id for p in response.predictions.values()] == [0, 1, 2]
    np.testing.assert_allclose([p.confidence for p in response.predictions.values()], expected, rtol=0, atol=1e-5)
    assert response.predicted_classes == [NAMES[i] for i in range(3) if expected[i] >= threshold]
    assert 0 < len(response.predicted_classes) < 3


@pytest.mark.parametrize("side", [32, 50, 61, 129])
def test_other_sizes_of_the_network(small_classification_path, tmp_path, noise, side):
    weights = small_classification_path.with_suffix(".safetensors")
    path = build(weights, tmp_path / "other.onnx", BuildOptions(image_size=side)).output_path
    model = rfkernels.load(path, precision="fp32", cache_directory=False)
    assert model.metadata.image_size == (side, side)
    (found,) = model.classify_images([load_image(noise)])
    np.testing.assert_allclose(found, plain_softmax(logits_of(path, noise, side)), rtol=0, atol=1e-5)


def test_the_size_of_the_weights_is_the_models(model):
    assert model.metadata.image_size == (64, 64)
    assert model.metadata.preprocessing.resize_mode == "shortest_side_crop"


# Probabilities to responses


def answer(model, image, probabilities, confidence):
    found = np.array(probabilities, np.float32)
    return model.respond(image, found, ClassificationSettings(V2, confidence))


def test_the_surest_is_first_and_equals_stay_in_the_order_of_classes(model, image):
    def order(*probabilities):
        return [p.class_id for p in answer(model, image, probabilities, 0.0).predictions]

    assert order(0.2, 0.5, 0.3) == [1, 2, 0]
    assert order(0.25, 0.5, 0.25) == [1, 0, 2]
    assert order(0.5, 0.0, 0.5) == [0, 2, 1]
    # Equal once they are rounded, which is what is answered, and what is sorted.
    assert order(0.33331, 0.33333, 0.33336) == [2, 0, 1]
    assert order(0.33331, 0.33332, 0.33333) == [0, 1, 2]


def test_a_class_of_the_threshold_itself_counts(model, image):
    def found(threshold):
        return [p.class_name for p in answer(model, image, [0.25, 0.5, 0.125], threshold).predictions]

    assert found(0.25) == ["square", "circle"]
    assert found(np.nextafter(0.25, 1)) == ["square"]
    assert found(0.0) == ["square", "circle", "star"]
    # What is compared is not yet rounded.
    assert answer(model, image, [0.3333, 0.40004, 0.2], 0.40001).confidence == 0.4
    assert answer(model, image, [0.3333, 0.39996, 0.2], 0.39999).top == ""


def test_a_request_for_more_than_certainty_finds_nothing(model, multi_label_model, noise, monkeypatch):
    certain = [np.array([0.0, 1.0, 0.0], np.float32)]
    for each in (model, multi_label_model):
        monkeypatch.setattr(each, "finish", lambda *_: certain)
        found = each.infer_from_request(request_for(noise, confidence=1.0))
        nothing = each.infer_from_request(request_for(noise, confidence=1.5))
        if each is model:
            assert (found.top, nothing.top, nothing.predictions) == ("square", "", [])
        else:
            assert (found.predicted_classes, nothing.predicted_classes) == (["square"], [])


def test_confidences_have_four_digits(model, image):
    response = answer(model, image, [0.123449, 0.87654321, 0.00003], 0.0)
    assert [p.confidence for p in response.predictions] == [0.8765, 0.1234, 0.0]
    assert response.confidence == 0.8765


def test_no_class_sure_enough_is_an_empty_answer_with_all_its_fields(model, noise):
    text = model.infer(noise, confidence=1.0).to_json()
    document = json.loads(text)
    assert set(document) == {"inference_id", "time", "image", "predictions", "top", "confidence"}
    assert (document["predictions"], document["top"], document["confidence"]) == ([], "", 0.0)


def test_multi_label_counts_the_threshold_itself_and_rounds_nothing(multi_label_model, image):
    probabilities = np.array([0.25, 0.4, 0.123456789], np.float32)
    response = answer(multi_label_model, image, probabilities, 0.4)
    # 0.4 in float32 is more than 0.4: the threshold is taken in float32 too.
    assert response.predicted_classes == ["square"]
    assert [p.confidence for p in response.predictions.values()] == probabilities.tolist()
    assert answer(multi_label_model, image, probabilities, 0.7).predicted_classes == []
    third = np.array([0.0, np.float32(0.3), 0.0], np.float32)
    assert answer(multi_label_model, image, third, 0.3).predicted_classes == ["square"]


def test_json_of_v2(model, multi_label_model, noise):
    document = json.loads(model.infer(noise, confidence=0.0).to_json())
    assert set(document) == {"inference_id", "time", "image", "predictions", "top", "confidence"}
    assert all(set(prediction) == {"class", "class_id", "confidence"} for prediction in document["predictions"])
    text = multi_label_model.infer(noise).to_json()
    document = json.loads(text)
    assert "null" not in text
    assert set(document) == {"inference_id", "time", "image", "predictions", "predicted_classes"}
    assert list(document["predictions"]) == list(NAMES)
    assert all(set(prediction) == {"confidence", "class_id"} for prediction in document["predictions"].values())


# Activations


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4, 1e38])
def test_activations_are_near_the_definitions_and_cannot_overflow(rng, scale):
    logits = (rng.uniform(-1, 1, (5, 7)) * scale).astype(np.float32)
    with np.errstate(all="raise", under="ignore"):
        actual = softmax(logits)
        alone = sigmoid(logits)
    assert actual.dtype == alone.dtype == np.float32
    np.testing.assert_allclose(actual, [plain_softmax(row) for row in logits], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(actual.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(alone, reference_sigmoid(logits), rtol=1e-5, atol=1e-7)


def test_bfloat16_logits_are_widened(model, multi_label_model, rng, image):
    logits = to_bfloat16(rng.standard_normal((2, 3)).astype(np.float32))
    settings = ClassificationSettings(V2, 0.0)
    for each in (model, multi_label_model):
        actual, expected = (
            each.finish(None, {"logits": values}, [image], [None], settings)
            for values in (logits, from_bfloat16(logits))
        )
        assert len(actual) == 1  # of a batch that was not full
        np.testing.assert_array_equal(actual, expected)


# Requests


def test_words_for_a_confidence(model, multi_label_model, noise):
    for each, number in ((model, 0.5), (multi_label_model, 0.4)):
        seen = []
        respond = each.respond

        def look(image, found, settings, seen=seen, respond=respond):
            seen.append(settings.confidence)
            return respond(image, found, settings)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(each, "respond", look)
            for confidence in ("best", "default", 0.3, "0.3", 1.5, -1.0):
                each.infer_from_request(request_for(noise, confidence=confidence))
            each.infer_from_request(request_for(noise))
            each.infer(noise)
        assert seen == [number, number, 0.3, 0.3, 1.5, 0.0, 0.4, 0.4]


def test_request_is_answered_as_infer_answers(model, multi_label_model, noise):
    for each in (model, multi_label_model):
        request = request_for(noise, confidence=0.2)
        response = each.infer_from_request(request)
        assert response.inference_id == request.id
        assert content(response) == content(each.infer(noise, confidence=0.2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 1.5}, "confidence is 1.5"),
        ({"confidence": "best"}, "confidence is 'best'"),
        ({"convention": "v3"}, "convention is 'v3'"),
        ({"image_options": {}}, "image_options is {}"),
    ],
)
def test_wrong_options_are_named(model, noise, options, message):
    with pytest.raises(rfkernels.InvalidArgumentError, match=message):
        model.infer(noise, **options)


@pytest.mark.parametrize(
    "kind",
    ["ObjectDetectionInferenceRequest", "InstanceSegmentationInferenceRequest", "KeypointsDetectionInferenceRequest"],
)
def test_a_request_of_another_task_is_named(model, noise, kind):
    image = schema.InferenceRequestImage(type="numpy_object", value=noise)
    message = f"request is a {kind}; give a schema.ClassificationInferenceRequest"
    with pytest.raises(rfkernels.InvalidArgumentError, match=message):
        model.infer_from_request(getattr(schema, kind)(image=image))


def test_visualization_is_a_jpeg_of_the_image(model, multi_label_model, noise):
    for each in (model, multi_label_model):
        response = each.infer_from_request(request_for(noise, visualize_predictions=True, confidence=0.0))
        with Image.open(io.BytesIO(response.visualization)) as picture:
            assert picture.size == (97, 61)
            assert picture.format == "JPEG"


# Batches and threads


@pytest.mark.parametrize("batch", [2, "dynamic"])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_list_in_gives_a_list_out_on_any_batch(model, small_classification_path, tmp_path, rng, batch, count):
    images = [rng.integers(0, 256, (20 + 17 * index, 90 - index, 3), dtype=np.uint8) for index in range(count)]
    weights = small_classification_path.with_suffix(".safetensors")
    path = build(weights, tmp_path / "batched.onnx", BuildOptions(batch=batch)).output_path
    batched = rfkernels.load(path, precision="fp32", cache_directory=False)
    responses = batched.infer(images, confidence=0.0)
    assert isinstance(responses, list)
    assert len(responses) == count
    for response, image in zip(responses, images, strict=True):
        expected = {p.class_id: p.confidence for p in model.infer(image, confidence=0.0).predictions}
        actual = {p.class_id: p.confidence for p in response.predictions}
        assert actual == pytest.approx(expected, abs=1.01e-4)


def test_threads_share_a_model(model, rng):
    images = [rng.integers(0, 256, (40 + 13 * index, 80, 3), dtype=np.uint8) for index in range(4)]
    expected = [content(model.infer(image, confidence=0.0)) for image in images]
    wrong = []

    def work(index):
        for _ in range(20):
            if content(model.infer(images[index], confidence=0.0)) != expected[index]:
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# The network


def test_load_makes_the_model_of_the_task(model, multi_label_model):
    assert type(model) is type(multi_label_model) is ClassificationModel
    assert (model.metadata.multi_label, multi_label_model.metadata.multi_label) == (False, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ("one", "two")}, "outputs are"),
        ({"image_size": (96, 96)}, "inputs are"),
        ({"batch": 2}, "inputs are"),
        ({"task": "object-detection"}, "outputs are"),
    ],
)
def test_metadata_that_do_not_fit_the_graph_are_refused(model, changes, message):
    with pytest.raises(rfkernels.ModelFileError, match=message):
        ClassificationModel(model.engine, replace(model.metadata, **changes))
