"""Segmentation from picture to response, against the two peers with the same weights in fp32: boxes, outlines, run
lengths, and masks on a reduced grid."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from comparison import BOX_TOLERANCE, SCORE_TOLERANCE, Detected, apart_at_ties, places_of, unrounded_edges
from mask_comparison import THRESHOLD_BAND, MaskTally, Recorded
from pictures import drawn_pictures, small_pictures
from pipelines import Pipelines, detected_in, document_of, make_pipelines
from rescaled_weights import rescaled_network, save_safetensors
from ultralytics.utils import ops as ultralytics_ops

from rfkernels import ops

DEMO_WEIGHTS = Path(__file__).parents[2] / "models" / "demo" / "yolov8n-seg-shapes-320.safetensors"
MODELS = ("demo", "random n 320, 7 classes")
# ultralytics has no static crop.
MODELS_OF_V2 = (*MODELS, "demo, cropped")
STATIC_CROP = (10.0, 93.0, 4.0, 88.0)
# What a request asks of the masks, and the peer's name of the resolution that follows from it.
FORMS = (
    ({"response_mask_format": "polygon"}, 1.0),
    ({"response_mask_format": "rle"}, 1.0),
    ({"response_mask_format": "polygon", "mask_decode_mode": "fast", "allow_reduced_mask_resolution": True}, 0.0),
    (
        {
            "response_mask_format": "rle",
            "mask_decode_mode": "tradeoff",
            "tradeoff_factor": 0.5,
            "allow_reduced_mask_resolution": True,
        },
        0.5,
    ),
    ({"response_mask_format": "polygon", "mask_decode_mode": "accurate", "allow_reduced_mask_resolution": True}, 1.0),
)
# On a reduced grid boxes are not rounded: two engines' differ by this much, in pixels of the network's input.
GRID_BOX_TOLERANCE = 0.02


@pytest.fixture(scope="module")
def pipelines(request, tmp_path_factory) -> Pipelines:
    folder = tmp_path_factory.mktemp("segmentation")
    if request.param.startswith("demo"):
        preprocessing = {"static_crop": STATIC_CROP} if "cropped" in request.param else None
        return make_pipelines(DEMO_WEIGHTS, folder, drawn_pictures(), (1, 9, 300), preprocessing=preprocessing)
    weights = save_safetensors(rescaled_network("segment", "n", 7, seed=0, image_size=320), folder / "w.safetensors")
    return make_pipelines(weights, folder, small_pictures(12), (1, 6, 30))


@pytest.mark.parametrize("pipelines", MODELS_OF_V2, indirect=True, scope="module")
def test_v2_equals_inference_models(pipelines, figure, request):
    compared = detections = moved = apart = 0
    score_difference = 0.0
    tallies = [MaskTally() for _ in FORMS]
    for picture in pipelines.pictures:
        placement = pipelines.placement(picture, "v2")
        prediction = pipelines.prediction(picture, placement)
        thresholds = pipelines.thresholds(prediction, "v2")
        if thresholds is None:
            continue
        chosen = {"confidence": thresholds.confidence, "iou_threshold": thresholds.iou_threshold}
        outputs = pipelines.inference_models.run(np.ascontiguousarray(picture.pixels))
        # All forms on every other picture: the peer takes long for masks of many pixels.
        forms = FORMS if compared % 2 == 0 else FORMS[:1]
        for (form, factor), tally in zip(forms, tallies, strict=False):
            theirs = pipelines.inference_models.response(outputs, **chosen, **form)
            ours = document_of(pipelines.ours.infer(picture.pixels, convention="v2", **chosen, **form))
            expected, actual = detected_in(theirs), detected_in(ours)
            assert len(expected.scores) == thresholds.detections
            for name in ("image", "original_image", "mask_metadata"):
                assert ours.get(name) == theirs.get(name), picture.name
            places = places_of(expected, actual, SCORE_TOLERANCE, picture.name)
            boxes = actual.boxes[places]
            if factor == 1.0:
                edges = unrounded_edges(
                    pipelines.boxes_and_scores(prediction), expected, placement, picture.pixels.shape[:2]
                )
                apart += apart_at_ties(boxes, expected.boxes, edges, picture.name)
            else:
                assert_equal_on_grid(boxes, expected.boxes, theirs["image"], placement, picture)
            compare_masks(pipelines, picture, outputs, chosen | form, factor, (ours, theirs, places), tally)
            score_difference = max(score_difference, float(np.abs(actual.scores[places] - expected.scores).max()))
            moved += sum(place != index for index, place in enumerate(places))
        compared, detections = compared + 1, detections + len(expected.scores)
    assert compared >= (20 if "demo" in request.node.callspec.params["pipelines"] else 6)
    name = request.node.callspec.params["pipelines"]
    figure(
        f"segmentation v2, {name}: {compared} pictures, {detections} detections as inference-models; "
        f"scores within {score_difference:.1e}, {apart} edges one pixel apart at a tie, {moved} places swapped"
    )
    for (form, factor), tally in zip(FORMS, tallies, strict=True):
        grid = ", on its own grid" if "allow_reduced_mask_resolution" in form else ""
        figure(f"    {form['response_mask_format']} at resolution factor {factor}{grid}: {tally}")


def assert_equal_on_grid(actual, expected, grid, placement, picture) -> None:
    height, width = picture.pixels.shape[:2]
    if (grid["height"], grid["width"]) == (height, width):
        return  # Whole pixels again, which the other forms compare.
    per_pixel = np.array([placement.scale_x * width / grid["width"], placement.scale_y * height / grid["height"]] * 2)
    difference = np.abs(actual - expected) * per_pixel
    assert difference.max() <= GRID_BOX_TOLERANCE, f"{picture.name}: boxes {difference.max()} network pixels apart"


def compare_masks(pipelines, picture, outputs, options, factor, answers, tally) -> None:
    """What a response of ours and one of the peer, and the places of the peer's predictions in ours, say of masks."""
    ours, theirs, places = answers
    kind = "points" if options["response_mask_format"] == "polygon" else "rle"
    expected = [found[kind] for found in theirs["predictions"]]
    actual = [ours["predictions"][place][kind] for place in places]
    different = [index for index, pair in enumerate(zip(actual, expected, strict=True)) if pair[0] != pair[1]]
    tally.equal(len(expected) - len(different))
    if not different:
        return
    thresholds = {name: options[name] for name in ("confidence", "iou_threshold")}
    low, masks, high = (
        peer_masks(pipelines.inference_models, outputs, thresholds, factor, shift * THRESHOLD_BAND)
        for shift in (-1, 0, 1)
    )
    run_lengths = pipelines.ours.infer(
        picture.pixels, convention="v2", **(options | {"response_mask_format": "rle"})
    ).predictions
    for index in different:
        rle = run_lengths[places[index]].rle
        dense = ops.decode_rle(rle["counts"], rle["size"])
        tally.explain(dense, masks[index], low[index] & ~high[index], f"{picture.name}, mask {index}, {kind}")


def peer_masks(responder, outputs, thresholds, factor, shift) -> np.ndarray:
    """bool [n, height, width], cut at a probability of 0.5 and a bit."""
    (found,) = responder.model.post_process(
        tuple(part.clone() for part in outputs.predictions),
        outputs.metadata,
        **thresholds,
        mask_format="dense",
        masks_resolution_factor=factor,
        masks_binarization_threshold=0.5 + shift,
    )
    return found.mask.numpy()


@pytest.mark.parametrize("pipelines", MODELS, indirect=True, scope="module")
def test_ultralytics_convention_equals_ultralytics(pipelines, figure, request):
    compared = detections = moved = joined = 0
    score_difference = box_difference = point_difference = 0.0
    outlines, run_lengths = MaskTally(), MaskTally()
    for picture in pipelines.pictures:
        placement = pipelines.placement(picture, "ultralytics")
        thresholds = pipelines.thresholds(pipelines.prediction(picture, placement), "ultralytics")
        if thresholds is None:
            continue
        for native, tally in ((False, outlines), (True, run_lengths)):
            theirs, their_masks = predict(pipelines, picture, thresholds, native)
            ours, our_masks = answer(pipelines, picture, thresholds, native)
            boxes = theirs.boxes
            expected = Detected(boxes.xyxy.numpy(), boxes.conf.numpy(), boxes.cls.numpy().astype(np.int64))
            actual = detected_in(ours)
            places = places_of(expected, actual, SCORE_TOLERANCE, picture.name)
            scale = np.array([placement.scale_x, placement.scale_y] * 2)
            difference = np.abs(actual.boxes[places] - expected.boxes) * scale
            # Of one object with an empty mask nothing is left.
            furthest = float(difference.max(initial=0))
            assert furthest <= BOX_TOLERANCE, f"{picture.name}: boxes {furthest} network pixels apart"
            box_difference = max(box_difference, furthest)
            scores_apart = np.abs(actual.scores[places] - expected.scores)
            score_difference = max(score_difference, float(scores_apart.max(initial=0)))
            moved += sum(place != index for index, place in enumerate(places))
            assert len(theirs.masks) == len(places)
            for index, place in enumerate(places):
                name = f"{picture.name}, mask {index}, {'native' if native else 'outline'}"
                mask, unsure = their_masks(index)
                dense = our_masks(place)
                if (dense != mask).any():
                    tally.explain(dense, mask, unsure, name)
                    continue
                tally.equal()
                if native:
                    continue
                points = np.array([(point["x"], point["y"]) for point in ours["predictions"][place]["points"]])
                wanted = theirs.masks.xy[index]
                assert points.shape == wanted.shape, name
                point_difference = max(point_difference, float(np.abs(points - wanted).max()))
                joined += len(ops.find_contours(mask)) > 1
        compared, detections = compared + 1, detections + len(theirs.boxes)
    assert compared >= (20 if "demo" in request.node.callspec.params["pipelines"] else 6)
    assert point_difference == 0
    figure(
        f"segmentation ultralytics, {request.node.callspec.params['pipelines']}: {compared} pictures, {detections} "
        f"detections as YOLO.predict; scores within {score_difference:.1e}, boxes within {box_difference:.1e} network "
        f"pixels, {moved} places swapped"
    )
    figure(f"    masks of the network's size: {outlines}; outlines of equal masks equal, {joined} of several parts")
    figure(f"    masks of the picture's size (retina_masks): {run_lengths}")


def predict(pipelines, picture, thresholds, native):
    """ultralytics' results, and a function from a place among them to its mask and the pixels that are unsure."""
    name = "process_mask_native" if native else "process_mask"
    recorded = Recorded(getattr(ultralytics_ops, name))
    with mock.patch.object(ultralytics_ops, name, recorded):
        (found,) = pipelines.ultralytics.predict(
            np.ascontiguousarray(picture.pixels),
            conf=thresholds.confidence,
            iou=thresholds.iou_threshold,
            retina_masks=native,
            device="cpu",
            verbose=False,
            save=False,
        )
    kept = torch.nonzero(recorded.result.amax((-2, -1)) > 0).flatten()
    masks = found.masks.data.numpy().astype(bool)

    def mask_and_unsure(index):
        low, high = (biased(recorded, kept[index : index + 1], shift * THRESHOLD_BAND) for shift in (1, -1))
        return masks[index], low & ~high

    return found, mask_and_unsure


def biased(recorded, chosen, bias):
    """One of the recorded call's masks again, with something added to all logits: bool [height, width]."""
    prototypes, coefficients, boxes, *more = recorded.arguments
    ones = torch.ones(1, *prototypes.shape[1:])
    coefficients = torch.cat([coefficients[chosen], torch.full((1, 1), bias)], 1)
    masks = recorded.function(
        torch.cat([prototypes, ones]), coefficients, boxes[chosen].clone(), *more, **recorded.options
    )
    return masks[0].numpy().astype(bool)


def answer(pipelines, picture, thresholds, native):
    """Our response, and a function from a place in it to its mask."""
    options = {"confidence": thresholds.confidence, "iou_threshold": thresholds.iou_threshold}
    recorded = Recorded(ops.masks_to_polygons)
    with mock.patch.object(ops, "masks_to_polygons", recorded):
        response = pipelines.ours.infer(
            picture.pixels,
            convention="ultralytics",
            response_mask_format="rle" if native else "polygon",
            **options,
        )
    document = document_of(response)
    if native:
        run_lengths = [found["rle"] for found in document["predictions"]]
        return document, lambda index: ops.decode_rle(run_lengths[index]["counts"], run_lengths[index]["size"])
    masks = ops.masks_to_dense(*recorded.arguments)
    masks = masks[masks.any((1, 2))]
    return document, lambda index: masks[index]
