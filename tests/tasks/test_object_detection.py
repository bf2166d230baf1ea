"""From an image to a V2 response, against the same composed of definitions in NumPy around the same engine."""

from __future__ import annotations

import base64
import io
import json
import os
import threading
import uuid
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import rfkernels
from rfkernels import schema
from rfkernels.builder import BuildOptions, build
from rfkernels.engines import OpenVINOEngine, OpenVINOOptions
from rfkernels.images import load_image
from rfkernels.model_metadata import Preprocessing
from rfkernels.reference import detection as detection_definition
from rfkernels.reference import preprocess as preprocess_definition
from rfkernels.tasks.convention import convention_named
from rfkernels.tasks.object_detection import ObjectDetectionModel


def expected_detections(model_path, image, *, convention, confidence, iou_threshold, size=(64, 96)):
    """Boxes, scores and class ids by the definitions alone."""
    engine = OpenVINOEngine(model_path, OpenVINOOptions(precision="fp32", cache_directory=False))
    rounding = "truncate" if convention == "v2" else "half_to_even"
    whole_image = preprocess_definition.Rectangle(0, 0, image.shape[1], image.shape[0])
    placement = preprocess_definition.plan_letterbox(whole_image, *size, rounding)
    with engine.session() as session:
        session.inputs["images"][0] = preprocess_definition.letterbox(
            image, size=size, pad_value=114, rounding=rounding, swap_channels=True
        )
        outputs = {name: value.copy() for name, value in session.run().items()}
    heads = [(outputs[f"box_{stride}"], outputs[f"class_{stride}"]) for stride in (8, 16, 32)]
    (found,) = detection_definition.detect_from_heads(
        heads,
        [placement],
        [image.shape[:2]],
        strides=(8, 16, 32),
        options=detection_definition.Options(
            confidence, None, iou_threshold, False, 300, None, "after_cut", convention
        ),
    )
    return found


@pytest.fixture(scope="module")
def model(small_model_path):
    return rfkernels.load(small_model_path, precision="fp32", cache_directory=False)


@pytest.fixture
def noise(rng):
    return rng.integers(0, 256, (61, 97, 3), dtype=np.uint8)


@pytest.mark.parametrize("convention", ["v2", "ultralytics"])
@pytest.mark.parametrize(("height", "width"), [(61, 97), (64, 96), (1, 1), (333, 40), (7, 400)])
def test_infer_equals_the_definitions(model, small_model_path, rng, convention, height, width):
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    response = model.infer(image, confidence=0.3, iou_threshold=0.5, convention=convention)
    found = expected_detections(small_model_path, image, convention=convention, confidence=0.3, iou_threshold=0.5)
    assert len(found.boxes) > 0
    assert [prediction.class_id for prediction in response.predictions] == found.class_ids.tolist()
    np.testing.assert_allclose([p.confidence for p in response.predictions], found.scores, rtol=0, atol=1e-6)
    boxes = np.array([[p.x, p.y, p.width, p.height] for p in response.predictions])
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
    np.testing.assert_allclose(corners, found.boxes, rtol=0, atol=1e-3)


def test_v2_boxes_are_whole_pixels_and_centres_halves(model, noise):
    response = model.infer(noise, confidence=0.3)
    assert response.predictions
    for prediction in response.predictions:
        assert prediction.width == int(prediction.width)
        assert prediction.height == int(prediction.height)
        assert prediction.x * 2 == int(prediction.x * 2)


def test_every_kind_of_source_gives_the_same_answer(model, tmp_path, noise):
    picture = Image.fromarray(np.ascontiguousarray(noise[..., ::-1]))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(buffer.getvalue())
    sources = [noise, picture, path, str(path), buffer.getvalue(), base64.b64encode(buffer.getvalue()).decode()]
    responses = model.infer(sources, confidence=0.3)
    assert isinstance(responses, list)
    answers = [[(p.x, p.y, p.confidence, p.class_id) for p in response.predictions] for response in responses]
    assert answers[0]
    assert all(answer == answers[0] for answer in answers)


def test_json_has_the_fields_of_v2_and_no_nulls(model, noise):
    response = model.infer(noise, confidence=0.3)
    document = json.loads(response.to_json())
    assert document["image"] == {"width": 97, "height": 61}
    assert uuid.UUID(document["inference_id"]).version == 4
    assert document["time"] > 0
    identifiers = [uuid.UUID(prediction["detection_id"]) for prediction in document["predictions"]]
    assert len(set(identifiers)) == len(identifiers) > 0
    assert "null" not in response.to_json()
    assert {prediction["class"] for prediction in document["predictions"]} <= {"circle", "square", "star"}


def request_for(pixels, **options):
    image = schema.InferenceRequestImage(type="numpy_object", value=pixels)
    return schema.ObjectDetectionInferenceRequest(image=image, **{"confidence": 0.3, **options})


def test_request_is_answered_as_infer_answers(model, noise):
    request = request_for(noise, iou_threshold=0.5)
    from_request = model.infer_from_request(request)
    direct = model.infer(noise, confidence=0.3, iou_threshold=0.5)
    assert from_request.inference_id == request.id
    assert [(p.x, p.y, p.class_name) for p in from_request.predictions] == [
        (p.x, p.y, p.class_name) for p in direct.predictions
    ]


def test_a_list_in_gives_a_list_out_even_of_one(model, rng):
    image = schema.InferenceRequestImage(type="numpy_object", value=rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    single = model.infer_from_request(schema.ObjectDetectionInferenceRequest(image=image))
    several = model.infer_from_request(schema.ObjectDetectionInferenceRequest(image=[image]))
    assert isinstance(single, schema.ObjectDetectionInferenceResponse)
    assert isinstance(several, list)
    assert len(several) == 1
    assert model.infer([]) == []


def test_request_options(model, noise):
    def ask(**options):
        return model.infer_from_request(request_for(noise, **options)).predictions

    everything = ask()
    assert len(everything) > 1
    assert len(ask(max_detections=1)) == 1
    assert ask(max_detections=0) == []
    assert ask(confidence=1.5) == []
    assert ask(class_filter=["no such class"]) == []
    kept = everything[0].class_name
    assert {prediction.class_name for prediction in ask(class_filter=[kept])} == {kept}
    assert len(ask(class_agnostic_nms=True, iou_threshold=0.05)) < len(ask(iou_threshold=0.05))
    assert [p.x for p in ask(confidence="default")] == [p.x for p in ask(confidence=0.4)]


def test_visualization_is_a_jpeg_of_the_image(model, noise):
    request = request_for(noise, visualize_predictions=True, visualization_labels=True)
    with Image.open(io.BytesIO(model.infer_from_request(request).visualization)) as picture:
        assert picture.size == (97, 61)
        assert picture.format == "JPEG"


def test_threads_share_a_model(model, rng):
    images = [rng.integers(0, 256, (40 + 13 * index, 80, 3), dtype=np.uint8) for index in range(4)]
    expected = [[(p.x, p.confidence) for p in model.infer(image, confidence=0.3).predictions] for image in images]
    wrong = []

    def work(index):
        for _ in range(10):
            found = [(p.x, p.confidence) for p in model.infer(images[index], confidence=0.3).predictions]
            if found != expected[index]:
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": -0.1}, "confidence is -0.1"),
        ({"confidence": float("nan")}, "confidence is nan"),
        ({"iou_threshold": 1.5}, "iou_threshold is 1.5"),
        ({"max_detections": -1}, "max_detections is -1"),
        ({"class_filter": "star"}, "class_filter is the string"),
        ({"class_filter": ["unicorn"]}, "'unicorn'"),
        ({"convention": "v3"}, "convention is 'v3'"),
        ({"confidence": "best"}, "confidence is 'best'"),
        ({"iou_threshold": [0.5]}, "iou_threshold is"),
        ({"max_detections": 2.5}, "max_detections is 2.5"),
        ({"max_detections": True}, "max_detections is True"),
        ({"class_filter": [["star"]]}, "class_filter is"),
        ({"class_filter": iter(["star"])}, "class_filter is"),
        ({"class_agnostic_nms": "no"}, "class_agnostic_nms is 'no'"),
        ({"confidence": np.array([0.1, 0.2])}, "confidence is array"),
        ({"image_options": {}}, "image_options is {}"),
        ({"image_options": 5}, "image_options is 5"),
    ],
)
def test_wrong_options_are_named(model, options, message):
    with pytest.raises(rfkernels.InvalidArgumentError, match=message):
        model.infer(np.zeros((8, 8, 3), np.uint8), **options)


def test_the_defaults_of_the_conventions():
    defaults = [convention_named(name) for name in ("v2", "ultralytics")]
    assert [(c.confidence, c.iou_threshold, c.max_detections) for c in defaults] == [(0.4, 0.3, 300), (0.25, 0.7, 300)]


def test_load_passes_on_what_it_is_given(small_model_path, tmp_path, noise):
    options = {"precision": "fp32", "cache_directory": tmp_path / "cache"}
    one = rfkernels.load(small_model_path, threads=1, convention="ultralytics", **options)
    assert one.convention.name == "ultralytics"
    assert one.engine.description["threads"] == "1"
    assert one.engine._network.compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert list((tmp_path / "cache").glob("*.blob"))
    two = rfkernels.load(small_model_path, threads=2, **options)
    assert two.engine._network.compiled.get_property("INFERENCE_NUM_THREADS") == 2
    assert two.convention.name == "v2"
    assert geometry([one.infer(noise)]) == geometry([two.infer(noise, convention="ultralytics")])


def test_a_model_has_the_convention_that_it_was_built_with(small_model_path, tmp_path):
    assert build_variant(small_model_path, tmp_path, convention="ultralytics").convention.name == "ultralytics"


def test_a_request_switches_steps_of_the_model_off(small_model_path, tmp_path, noise):
    steps = {"static_crop": (10.0, 90.0, 25.0, 75.0), "grayscale": True, "contrast": "histogram_equalization"}
    absent = {"static_crop": None, "grayscale": False, "contrast": None}
    model = build_variant(small_model_path, tmp_path, preprocessing=Preprocessing(**steps))
    answers = []
    for name, nothing in absent.items():
        request = request_for(noise, confidence=0.1, **{f"disable_preproc_{name}": True})
        without = build_variant(small_model_path, tmp_path, preprocessing=Preprocessing(**steps | {name: nothing}))
        answers += geometry([model.infer_from_request(request)])
        assert answers[-1:] == geometry([without.infer(noise, confidence=0.1)])
    answers += geometry([model.infer(noise, confidence=0.1)])
    assert len({str(answer) for answer in answers}) == 4  # each step makes a difference


def test_every_answer_of_a_batch_says_how_long_the_batch_took(model, noise):
    images = [schema.InferenceRequestImage(type="numpy_object", value=noise)] * 2
    for answers in (
        model.infer([noise, noise]),
        model.infer_from_request(schema.ObjectDetectionInferenceRequest(image=images)),
    ):
        assert answers[0].time == answers[1].time
        assert 0 < answers[0].time < 60


def test_any_number_of_detections_may_be_allowed(model, noise):
    assert geometry([model.infer(noise, max_detections=10**30)]) == geometry([model.infer(noise)])


def test_the_image_of_a_list_that_cannot_be_read_is_named(model, noise):
    with pytest.raises(rfkernels.InputImageLoadError, match=r"^images\[1\]: Could not load input image\."):
        model.infer([noise, b"no image", noise])
    images = [schema.InferenceRequestImage(type="base64", value=value) for value in ("AAAA", "BBBB")]
    with pytest.raises(rfkernels.InputImageLoadError, match=r"^image\[0\]: Could not load input image\."):
        model.infer_from_request(schema.ObjectDetectionInferenceRequest(image=images))


def test_a_request_of_another_type_is_named(model):
    with pytest.raises(rfkernels.InvalidArgumentError, match="request is a dict"):
        model.infer_from_request({"image": []})


def test_orientation_is_applied_where_options_and_request_both_let_it(model, noise):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "jpeg", exif=exif)
    image = {"type": "multipart", "value": buffer.getvalue()}
    for allowed, disabled in [(True, False), (True, True), (False, False), (False, True)]:
        request = schema.ObjectDetectionInferenceRequest(image=image, disable_preproc_auto_orient=disabled)
        answer = model.infer_from_request(request, image_options=rfkernels.ImageOptions(auto_orient=allowed))
        turned = allowed and not disabled
        assert (answer.image.height, answer.image.width) == (noise.shape[:2][::-1] if turned else noise.shape[:2])


def test_inputs_written_by_a_caller_do_not_spoil_later_requests(model, noise):
    expected = geometry([model.infer(noise)])
    with model.engine.session() as session:
        session.inputs["images"][...] = 1
        session.run()
    assert geometry([model.infer(noise)]) == expected


def test_load_refuses_what_it_cannot_run(small_model_path, tmp_path):
    with pytest.raises(rfkernels.InvalidArgumentError, match="path is a int"):
        rfkernels.load(5)
    with pytest.raises(rfkernels.InvalidArgumentError, match="cache_directory is True"):
        rfkernels.load(small_model_path, cache_directory=True)
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(rfkernels.ModelFileError, match="is not a regular file"):
        rfkernels.load(tmp_path / "pipe.onnx")
    with pytest.raises(rfkernels.InvalidArgumentError, match="device is 'cuda:0'"):
        rfkernels.load(small_model_path, device="cuda:0")
    with pytest.raises(rfkernels.ModelFileError, match=r"missing\.onnx"):
        rfkernels.load(tmp_path / "missing.onnx")


def build_variant(small_model_path, folder, **options):
    """The small model built anew with other options, loaded."""
    (weights,) = small_model_path.parent.glob("*.safetensors")
    path = folder / "variant.onnx"
    build(weights, path, BuildOptions(image_size=(64, 96), **options))
    return rfkernels.load(path, precision="fp32", cache_directory=False)


def geometry(responses):
    return [[(p.x, p.y, p.width, p.height, p.class_id) for p in response.predictions] for response in responses]


@pytest.mark.parametrize("batch", [4, "dynamic"])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 19])
def test_any_number_of_images_on_any_batch(model, small_model_path, tmp_path, rng, batch, count):
    images = [rng.integers(0, 256, (20 + 7 * index, 90 - index, 3), dtype=np.uint8) for index in range(count)]
    batched = build_variant(small_model_path, tmp_path, batch=batch)
    expected = [model.infer(image, confidence=0.3) for image in images]
    assert geometry(batched.infer(images, confidence=0.3)) == geometry(expected)


@pytest.mark.parametrize("confidence", [0.0, 0.3, 1.0])
def test_boxes_for_candidates_only_are_those_of_every_anchor(model, small_model_path, noise, confidence):
    engine = OpenVINOEngine(small_model_path, OpenVINOOptions(precision="fp32", cache_directory=False))
    dense = ObjectDetectionModel(engine, model.metadata)
    assert model.has_sparse_boxes
    assert not dense.has_sparse_boxes
    settings = replace(model.default_settings(), confidence=confidence, max_detections=1000)
    settings = replace(settings, convention=convention_named("ultralytics"))
    (actual,) = model.detect_images([load_image(noise)], settings)
    (expected,) = dense.detect_images([load_image(noise)], settings)
    assert len(expected) >= {0.0: 10, 0.3: 3, 1.0: 0}[confidence]
    np.testing.assert_array_equal(actual.anchor_indices, expected.anchor_indices)
    np.testing.assert_array_equal(actual.scores, expected.scores)
    np.testing.assert_allclose(actual.boxes, expected.boxes, rtol=0, atol=1e-3)


def test_a_name_that_two_classes_share_filters_both(small_model_path, tmp_path, noise):
    model = build_variant(small_model_path, tmp_path, class_names=["round", "square", "round"])
    everything = model.infer(noise, confidence=0.2)
    wanted = [row for row in geometry([everything])[0] if row[-1] != 1]
    assert {row[-1] for row in wanted} == {0, 2}
    assert geometry([model.infer(noise, confidence=0.2, class_filter=["round"])]) == [wanted]


def test_an_empty_class_filter_of_a_request_filters_nothing(model, noise):
    # As the V2 server's `kwargs.get("class_filter") and ...`.
    answers = [model.infer_from_request(request_for(noise, class_filter=names)) for names in (None, [])]
    assert geometry(answers[:1]) == geometry(answers[1:])
    assert answers[0].predictions


@pytest.mark.parametrize("width", [-5, 0, 2**40])
def test_any_stroke_width_is_drawn_at_once(model, rng, width):
    pixels = rng.integers(0, 256, (61, 97, 3), dtype=np.uint8)
    request = request_for(pixels, visualize_predictions=True, visualization_stroke_width=width)
    assert model.infer_from_request(request).visualization.startswith(b"\xff\xd8")


def test_an_image_too_long_for_a_jpeg_is_a_clear_error(model):
    request = request_for(np.zeros((1, 65501, 3), np.uint8), visualize_predictions=True)
    with pytest.raises(rfkernels.InvalidArgumentError, match="65501 x 1 pixels"):
        model.infer_from_request(request)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ("one", "two")}, "outputs are"),
        ({"image_size": (96, 64)}, "inputs are"),
        ({"batch": 2}, "inputs are"),
        ({"output_format": "decoded"}, "outputs are"),
    ],
)
def test_metadata_that_do_not_fit_the_graph_are_refused(model, changes, message):
    with pytest.raises(rfkernels.ModelFileError, match=message):
        ObjectDetectionModel(model.engine, replace(model.metadata, **changes))


def test_sparse_boxes_in_another_order_are_refused(model, small_model_path):
    # Candidates are numbered from the level of stride 8 on, and so are the pixels of an engine's first sparse output.
    options = OpenVINOOptions(precision="fp32", cache_directory=False, sparse_outputs=("box_32", "box_8", "box_16"))
    with pytest.raises(rfkernels.InvalidArgumentError, match="in this order"):
        ObjectDetectionModel(OpenVINOEngine(small_model_path, options), model.metadata)
