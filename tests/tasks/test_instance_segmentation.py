"""From an image to outlines and run lengths, against the same composed of definitions in NumPy."""

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
from rfkernels import ops, schema
from rfkernels.builder import BuildOptions, build
from rfkernels.errors import InvalidMaskDecodeArgumentError
from rfkernels.images import load_image
from rfkernels.model_metadata import Preprocessing
from rfkernels.reference import masks as mask_definition
from rfkernels.reference import preprocess as preprocess_definition
from rfkernels.reference.bfloat16 import from_bfloat16, to_bfloat16
from rfkernels.tasks.instance_segmentation import InstanceSegmentationModel, resolution_factor, rows_at

THRESHOLDS = {"confidence": 0.62, "iou_threshold": 0.4}
# V2's words, as inference 1.8 has them.
WRONG_MODES = [
    ({"mask_decode_mode": "quick"}, "Invalid mask_decode_mode: quick. Must be one of ['accurate', 'fast', 'tradeoff']"),
    ({"mask_decode_mode": "tradeoff", "tradeoff_factor": 1.5}, "Invalid tradeoff_factor: 1.5. Must be in [0.0, 1.0]"),
    ({"mask_decode_mode": "tradeoff", "tradeoff_factor": -0.1}, "Invalid tradeoff_factor: -0.1. Must be in [0.0, 1.0]"),
    (
        {"mask_decode_mode": "tradeoff", "tradeoff_factor": float("nan")},
        "Invalid tradeoff_factor: nan. Must be in [0.0, 1.0]",
    ),
]


@pytest.fixture(scope="module")
def model(small_segmentation_path):
    return rfkernels.load(small_segmentation_path, precision="fp32", cache_directory=False)


@pytest.fixture
def noise(rng):
    return rng.integers(0, 256, (61, 97, 3), dtype=np.uint8)


def request_for(pixels, **options):
    image = schema.InferenceRequestImage(type="numpy_object", value=pixels)
    return schema.InstanceSegmentationInferenceRequest(image=image, **THRESHOLDS | options)


def build_variant(path, folder, **options):
    """The small model built anew with other options, loaded."""
    build(path.with_suffix(".safetensors"), folder / "variant.onnx", BuildOptions(**options))
    return rfkernels.load(folder / "variant.onnx", precision="fp32", cache_directory=False)


def outlines(response):
    return [[(point.x, point.y) for point in prediction.points] for prediction in response.predictions]


def corners(response):
    """float64 [n, 4] of the boxes."""
    boxes = np.array([[p.x, p.y, p.width, p.height] for p in response.predictions])
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)


def content(response):
    """All but the ids and the time."""
    document = json.loads(response.to_json())
    for prediction in document["predictions"]:
        del prediction["detection_id"]
    return document["image"], document["predictions"]


@pytest.mark.parametrize("convention", ["v2", "ultralytics"])
@pytest.mark.parametrize(("height", "width"), [(61, 97), (64, 96), (1, 1), (333, 40), (7, 400)])
def test_polygons_equal_the_definitions(model, small_segmentation_path, rng, convention, height, width):
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    response = model.infer(image, convention=convention, **THRESHOLDS)
    ran = definitions.run(small_segmentation_path, image, convention)
    found = definitions.detections(ran, **THRESHOLDS)
    masks = definitions.masks_of(ran, found, native=False)
    assert len(masks) > 0
    kept = np.arange(len(masks)) if convention == "v2" else np.flatnonzero(masks.any(axis=(1, 2)))
    assert [prediction.class_id for prediction in response.predictions] == found.class_ids[kept].tolist()
    np.testing.assert_allclose([p.confidence for p in response.predictions], found.scores[kept], rtol=0, atol=1e-6)
    if len(kept) > 0:
        np.testing.assert_allclose(corners(response), found.boxes[kept], rtol=0, atol=1e-3)
    for actual, index in zip(outlines(response), kept, strict=True):
        expected = definitions.outline(ran, masks[index])
        np.testing.assert_allclose(np.reshape(actual, (-1, 2)), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("convention", ["v2", "ultralytics"])
@pytest.mark.parametrize(("height", "width"), [(61, 97), (64, 96), (1, 1), (333, 40), (7, 400)])
def test_run_lengths_equal_the_definitions(model, small_segmentation_path, rng, convention, height, width):
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    response = model.infer(image, convention=convention, response_mask_format="rle", **THRESHOLDS)
    ran = definitions.run(small_segmentation_path, image, convention)
    found = definitions.detections(ran, **THRESHOLDS)
    masks = definitions.masks_of(ran, found, native=True)
    kept = np.arange(len(masks)) if convention == "v2" else np.flatnonzero(masks.any(axis=(1, 2)))
    assert [prediction.class_id for prediction in response.predictions] == found.class_ids[kept].tolist()
    for prediction, index in zip(response.predictions, kept, strict=True):
        assert prediction.rle == {"size": [height, width], "counts": mask_definition.rle(masks[index])}


def test_the_networks_of_these_tests_have_what_they_are_for(model, small_segmentation_path, noise):
    """Empty masks, masks of several parts, and overlapping boxes: tests of them would prove nothing without."""
    for convention in ("v2", "ultralytics"):
        ran = definitions.run(small_segmentation_path, noise, convention)
        found = definitions.detections(ran, **THRESHOLDS)
        masks = definitions.masks_of(ran, found, native=False)
        parts = [len(mask_definition.contours(mask)) for mask in masks]
        assert 5 < len(parts) < 300
        assert min(parts) == 0
        assert max(parts) >= 4


def test_an_empty_mask_has_no_points_in_v2_and_is_left_out_in_ultralytics(model, small_segmentation_path, noise):
    counts = {}
    for convention in ("v2", "ultralytics"):
        found = definitions.detections(definitions.run(small_segmentation_path, noise, convention), **THRESHOLDS)
        response = model.infer(noise, convention=convention, **THRESHOLDS)
        empty = [prediction for prediction in response.predictions if prediction.points == []]
        counts[convention] = (len(found.boxes) - len(response.predictions), len(empty))
        if convention == "v2":
            assert '"points":[]' in response.to_json()
    assert counts["v2"][0] == counts["ultralytics"][1] == 0
    assert counts["v2"][1] > 0
    assert counts["ultralytics"][0] > 0
    empty = mask_definition.rle(np.zeros(noise.shape[:2], bool))
    answers = model.infer(noise, response_mask_format="rle", **THRESHOLDS).predictions
    assert sum(prediction.rle["counts"] == empty for prediction in answers) == counts["v2"][1]


@pytest.mark.parametrize("response_mask_format", ["polygon", "rle"])
def test_json_has_the_fields_of_v2_and_no_nulls(model, noise, response_mask_format):
    response = model.infer_from_request(request_for(noise, response_mask_format=response_mask_format))
    text = response.to_json()
    document = json.loads(text)
    assert "null" not in text
    assert set(document) == {"inference_id", "time", "image", "predictions"}
    assert document["image"] == {"width": 97, "height": 61}
    geometry = {"polygon": "points", "rle": "rle"}[response_mask_format]
    box = {"x", "y", "width", "height", "confidence", "class", "class_id", "detection_id", "mask_format"}
    assert all(set(prediction) == box | {geometry} for prediction in document["predictions"])
    assert {prediction["mask_format"] for prediction in document["predictions"]} == {response_mask_format}
    assert len({prediction["detection_id"] for prediction in document["predictions"]}) == len(document["predictions"])
    if response_mask_format == "polygon":
        points = [point for prediction in document["predictions"] for point in prediction["points"]]
        assert all(set(point) == {"x", "y"} for point in points)
        assert all(isinstance(value, float) for point in points for value in point.values())
    else:
        assert all(set(prediction["rle"]) == {"size", "counts"} for prediction in document["predictions"])


# Reduced resolution


@pytest.mark.parametrize("allow_reduced_mask_resolution", [False, True])
@pytest.mark.parametrize(("options", "message"), WRONG_MODES)
def test_wrong_modes_are_refused_in_the_words_of_v2(model, noise, options, message, allow_reduced_mask_resolution):
    options = options | {"allow_reduced_mask_resolution": allow_reduced_mask_resolution}
    with pytest.raises(InvalidMaskDecodeArgumentError) as caught:
        model.infer(noise, **options)
    assert str(caught.value) == message
    with pytest.raises(InvalidMaskDecodeArgumentError) as caught:
        model.infer_from_request(request_for(noise, **options))
    assert str(caught.value) == message


def test_factors_of_modes():
    assert resolution_factor("accurate", 7.0) == 1.0  # not looked at
    assert resolution_factor(None, None) == 1.0
    assert resolution_factor("fast", -3.0) == 0.0
    assert resolution_factor("tradeoff", None) == 0.0
    assert [resolution_factor("tradeoff", factor) for factor in (0, 0.25, np.float32(0.5), 1)] == [0, 0.25, 0.5, 1]


@pytest.mark.parametrize(
    ("mode", "factor", "height", "width"),
    [
        ("fast", 1.0, 61, 97),
        ("tradeoff", None, 61, 97),
        ("tradeoff", 0.3, 333, 40),
        ("tradeoff", 0.5, 64, 96),
        ("fast", 0.0, 9, 13),  # the network's masks are larger than the image
        ("fast", 0.0, 1, 200),
        ("tradeoff", 1.0, 61, 97),  # the image itself
        ("accurate", 0.2, 61, 97),
        ("fast", 0.0, 16, 24),  # of the size of the image by chance
    ],
)
@pytest.mark.parametrize("response_mask_format", ["polygon", "rle"])
def test_the_reduced_grid(model, small_segmentation_path, rng, mode, factor, height, width, response_mask_format):
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    options = {"mask_decode_mode": mode, "tradeoff_factor": factor, "response_mask_format": response_mask_format}
    response = model.infer_from_request(request_for(image, allow_reduced_mask_resolution=True, **options))
    share = {"accurate": 1.0, "fast": 0.0, "tradeoff": factor or 0.0}[mode]
    ran = definitions.run(small_segmentation_path, image, "v2")
    found = definitions.detections(ran, **THRESHOLDS)
    masks = definitions.masks_of(ran, found, native=True, factor=share)
    grid_height, grid_width = masks.shape[1:]
    assert (response.original_image.width, response.original_image.height) == (width, height)
    assert (response.image.width, response.image.height) == (grid_width, grid_height)
    assert json.loads(response.mask_metadata.to_json()) == {
        "coordinate_system": "mask_grid",
        "width": grid_width,
        "height": grid_height,
        "scale_x": width / grid_width,
        "scale_y": height / grid_height,
    }
    is_whole = (grid_height, grid_width) == (height, width)
    assert is_whole == (share == 1.0 or (height, width) == (16, 24))
    # Where the image lies in the network's input, to the grid.
    pads = np.array([ran.placement.left, ran.placement.top] * 2)
    drawn = np.array([width * ran.placement.scale_x, height * ran.placement.scale_y] * 2)
    expected = (found.network_boxes - pads) / drawn * ([grid_width, grid_height] * 2)
    expected = np.clip(expected, 0, [grid_width, grid_height] * 2)
    np.testing.assert_allclose(
        corners(response), np.rint(expected) if is_whole else expected, rtol=0, atol=0 if is_whole else 1e-3
    )
    assert is_whole or (corners(response) != np.rint(corners(response))).any()
    if response_mask_format == "rle":
        for prediction, mask in zip(response.predictions, masks, strict=True):
            assert prediction.rle == {"size": [grid_height, grid_width], "counts": mask_definition.rle(mask)}
    else:
        for points, mask in zip(outlines(response), masks, strict=True):
            np.testing.assert_array_equal(np.reshape(points, (-1, 2)), definitions.outline(ran, mask))


def test_without_the_permission_modes_have_no_effect(model, noise):
    expected = content(model.infer(noise, **THRESHOLDS))
    for options in ({"mask_decode_mode": "fast"}, {"mask_decode_mode": "tradeoff", "tradeoff_factor": 0.3}):
        for response in (
            model.infer(noise, **THRESHOLDS | options),
            model.infer_from_request(request_for(noise, **options)),
        ):
            assert content(response) == expected
            assert response.original_image is None
            assert response.mask_metadata is None


@pytest.mark.parametrize("convention", ["v2", "ultralytics"])
def test_a_static_crop_moves_masks_and_boxes(small_segmentation_path, tmp_path, noise, convention):
    crop = (10.0, 90.0, 25.0, 75.0)
    cropped = build_variant(small_segmentation_path, tmp_path, preprocessing=Preprocessing(static_crop=crop))
    x_min, x_max, y_min, y_max = crop
    rectangle = preprocess_definition.plan_static_crop(61, 97, x_min=x_min, x_max=x_max, y_min=y_min, y_max=y_max)
    rounding = "truncate" if convention == "v2" else "half_to_even"
    placement = preprocess_definition.plan_letterbox(rectangle, *definitions.SIZE, rounding)
    ran = definitions.run(small_segmentation_path, noise, convention, placement=placement)
    found = definitions.detections(ran, **THRESHOLDS)
    masks = definitions.masks_of(ran, found, native=False)
    kept = np.arange(len(masks)) if convention == "v2" else np.flatnonzero(masks.any(axis=(1, 2)))
    response = cropped.infer(noise, convention=convention, **THRESHOLDS)
    np.testing.assert_allclose(corners(response), found.boxes[kept], rtol=0, atol=1e-3)
    assert len(kept) > 5
    for points, index in zip(outlines(response), kept, strict=True):
        expected = definitions.outline(ran, masks[index])
        np.testing.assert_allclose(np.reshape(points, (-1, 2)), expected, rtol=0, atol=1e-4)
    if convention == "v2":
        response = cropped.infer(noise, response_mask_format="rle", **THRESHOLDS)
        assert [p.rle["counts"] for p in response.predictions] == list(map(mask_definition.rle, masks))


def test_a_static_crop_on_the_reduced_grid(small_segmentation_path, tmp_path, noise):
    crop = (10.0, 90.0, 25.0, 75.0)
    cropped = build_variant(small_segmentation_path, tmp_path, preprocessing=Preprocessing(static_crop=crop))
    rectangle = preprocess_definition.plan_static_crop(61, 97, x_min=10, x_max=90, y_min=25, y_max=75)
    placement = preprocess_definition.plan_letterbox(rectangle, *definitions.SIZE, "truncate")
    ran = definitions.run(small_segmentation_path, noise, "v2", placement=placement)
    found = definitions.detections(ran, **THRESHOLDS)
    sizes = {"image_size": (61, 97), "network_size": definitions.SIZE, "prototype_size": (16, 24)}
    grid = mask_definition.v2_grid(placement, **sizes, resolution_factor=0.0)
    response = cropped.infer(noise, mask_decode_mode="fast", allow_reduced_mask_resolution=True, **THRESHOLDS)
    assert (response.image.height, response.image.width) == grid.size
    assert min(grid.offset) > 0
    # From where the crop lies in the network's input to where it lies on the grid.
    pads = np.array([placement.left, placement.top] * 2)
    drawn = placement.scale_x * np.array([rectangle.width, rectangle.height] * 2)
    expected = (found.network_boxes - pads) / drawn * ([*grid.resized[::-1]] * 2) + [*grid.offset[::-1]] * 2
    np.testing.assert_allclose(corners(response), np.clip(expected, 0, [*grid.size[::-1]] * 2), rtol=0, atol=1e-3)
    masks = definitions.masks_of(ran, found, native=True, factor=0.0)
    for points, mask in zip(outlines(response), masks, strict=True):
        np.testing.assert_array_equal(np.reshape(points, (-1, 2)), definitions.outline(ran, mask))


def test_what_ultralytics_cannot_do_is_refused(model, noise):
    with pytest.raises(InvalidMaskDecodeArgumentError, match="ultralytics"):
        model.infer(noise, allow_reduced_mask_resolution=True, convention="ultralytics")


# Options


def test_request_options(model, noise):
    def ask(**options):
        return model.infer_from_request(request_for(noise, **options)).predictions

    everything = ask()
    assert len(everything) > 1
    first = ask(max_detections=1)
    assert [(p.x, p.y, p.points) for p in first] == [(p.x, p.y, p.points) for p in everything[:1]]
    assert ask(max_detections=0) == []
    assert ask(confidence=1.5) == []
    assert ask(class_filter=["no such class"]) == []
    kept = everything[0].class_name
    wanted = [(p.x, p.y, p.points) for p in everything if p.class_name == kept]
    assert 0 < len(wanted) < len(everything)
    assert [(p.x, p.y, p.points) for p in ask(class_filter=[kept])] == wanted
    assert len(ask(class_agnostic_nms=True)) < len(everything)
    assert [p.x for p in ask(confidence="default")] == [p.x for p in ask(confidence=0.4)]
    assert content(model.infer(noise, class_filter=[kept], **THRESHOLDS)) == content(
        model.infer_from_request(request_for(noise, class_filter=[kept]))
    )


@pytest.mark.parametrize("response_mask_format", ["polygon", "rle"])
def test_nothing_found_is_an_empty_answer(model, noise, response_mask_format):
    for convention in ("v2", "ultralytics"):
        response = model.infer(noise, confidence=1.0, convention=convention, response_mask_format=response_mask_format)
        assert response.predictions == []
        assert '"predictions":[]' in response.to_json()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 2}, "confidence is 2"),
        ({"class_filter": ["unicorn"]}, "'unicorn'"),
        ({"response_mask_format": "bitmap"}, "response_mask_format is 'bitmap'; give 'polygon' or 'rle'"),
        ({"allow_reduced_mask_resolution": "yes"}, "allow_reduced_mask_resolution is 'yes'"),
    ],
)
def test_wrong_options_are_named(model, noise, options, message):
    with pytest.raises(rfkernels.InvalidArgumentError, match=message):
        model.infer(noise, **options)


@pytest.mark.parametrize(
    "kind", ["ObjectDetectionInferenceRequest", "KeypointsDetectionInferenceRequest", "ClassificationInferenceRequest"]
)
def test_a_request_of_another_task_is_named(model, noise, kind):
    image = schema.InferenceRequestImage(type="numpy_object", value=noise)
    message = f"request is a {kind}; give a schema.InstanceSegmentationInferenceRequest"
    with pytest.raises(rfkernels.InvalidArgumentError, match=message):
        model.infer_from_request(getattr(schema, kind)(image=image))


# Batches, threads, pictures


@pytest.mark.parametrize("batch", [2, "dynamic"])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_list_in_gives_a_list_out_on_any_batch(model, small_segmentation_path, tmp_path, rng, batch, count):
    images = [rng.integers(0, 256, (20 + 17 * index, 90 - index, 3), dtype=np.uint8) for index in range(count)]
    batched = build_variant(small_segmentation_path, tmp_path, batch=batch)
    for options in (THRESHOLDS, THRESHOLDS | {"response_mask_format": "rle", "convention": "ultralytics"}):
        responses = batched.infer(images, **options)
        assert isinstance(responses, list)
        assert list(map(content, responses)) == [content(model.infer(image, **options)) for image in images]


def test_threads_share_a_model(model, rng):
    images = [rng.integers(0, 256, (40 + 13 * index, 80, 3), dtype=np.uint8) for index in range(4)]
    options = [{}, {"response_mask_format": "rle"}, {"convention": "ultralytics"}, {"max_detections": 3}]
    pairs = list(zip(images, options, strict=True))
    expected = [content(model.infer(image, **THRESHOLDS | more)) for image, more in pairs]
    wrong = []

    def work(index):
        image, more = pairs[index]
        for _ in range(10):
            if content(model.infer(image, **THRESHOLDS | more)) != expected[index]:
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("options", [{}, {"response_mask_format": "rle"}, {"allow_reduced_mask_resolution": True}])
def test_visualization_is_a_jpeg_of_the_image(model, noise, options):
    options = options | {"mask_decode_mode": "fast", "visualization_labels": True}
    response = model.infer_from_request(request_for(noise, visualize_predictions=True, **options))
    with Image.open(io.BytesIO(response.visualization)) as picture:
        assert picture.size == (97, 61)
        assert picture.format == "JPEG"


# The network


def test_load_makes_the_model_of_the_task(model, small_segmentation_path):
    assert type(model) is InstanceSegmentationModel
    assert model.has_sparse_boxes
    assert rfkernels.load(small_segmentation_path, convention="ultralytics").convention.name == "ultralytics"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ("one", "two")}, "outputs are"),
        ({"image_size": (96, 64)}, "inputs are"),
        ({"batch": 2}, "inputs are"),
        ({"task": "object-detection"}, "outputs are"),  # more of them than there should be
        ({"task": "classification"}, "outputs are"),
    ],
)
def test_metadata_that_do_not_fit_the_graph_are_refused(model, changes, message):
    with pytest.raises(rfkernels.ModelFileError, match=message):
        InstanceSegmentationModel(model.engine, replace(model.metadata, **changes))


def test_a_network_without_masks_is_refused(model, small_model_path):
    detector = rfkernels.load(small_model_path, cache_directory=False)
    with pytest.raises(rfkernels.ModelFileError, match="prototypes"):
        InstanceSegmentationModel(detector.engine, replace(detector.metadata, task="instance-segmentation"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_rows_at_anchors_of_every_layout(rng, dtype, channels_last):
    levels = [rng.standard_normal((7, side, side + 1)).astype(np.float32) for side in (5, 3, 1)]
    if dtype == "bfloat16":
        levels = [to_bfloat16(level) for level in levels]
    if channels_last:
        levels = [np.ascontiguousarray(level.transpose(1, 2, 0)).transpose(2, 0, 1) for level in levels]
    flat = np.concatenate([level.reshape(7, -1) for level in levels], axis=1).T
    values = flat if dtype == "float32" else from_bfloat16(flat)
    anchors = rng.permutation(len(flat)).astype(np.int32)
    for chosen in (anchors, anchors[:3], anchors[:0], np.array([len(flat) - 1, 0, 0, 29, 30], np.int32)):
        rows = rows_at(levels, chosen)
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, values[chosen])


@pytest.mark.parametrize("response_mask_format", ["polygon", "rle"])
def test_bfloat16_outputs_give_what_they_give_widened(model, small_segmentation_path, noise, response_mask_format):
    """As an engine that computes in bfloat16 hands them out: channels last."""
    ran = definitions.run(small_segmentation_path, noise, "v2")
    narrow = {
        name: np.moveaxis(np.ascontiguousarray(np.moveaxis(to_bfloat16(values), 1, -1)), -1, 1)
        for name, values in ran.outputs.items()
    }
    wide = {name: from_bfloat16(np.ascontiguousarray(values)) for name, values in narrow.items()}
    image = load_image(noise)
    placement = ops.plan_placement(*noise.shape[:2], size=definitions.SIZE)
    settings = replace(model.default_settings(), confidence=0.62, mask_format=response_mask_format)
    answers = []
    for outputs in (narrow, wide):
        heads = [(outputs[f"box_{stride}"], outputs[f"class_{stride}"]) for stride in definitions.STRIDES]
        detections = ops.detect_from_heads(
            heads, [placement], [noise.shape[:2]], strides=definitions.STRIDES, confidence=0.62
        )
        (found,) = model.extend(outputs, [image], [placement], detections, settings)
        answers.append(content(model.respond(image, found, settings)))
    assert answers[0] == answers[1]
    assert len(answers[0][1]) > 5
