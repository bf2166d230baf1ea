"""Classification from picture to response, against the two peers with the same random weights in fp32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pictures import awkward_pictures
from pipelines import Pipelines, document_of, make_pipelines
from rescaled_weights import rescaled_network, save_safetensors

# scale, classes, side of the input, how a picture becomes input.
MODELS = ("n 64 10 stretch", "n 224 1000 letterbox", "n 96 10 center_crop")
# Of random weights at 64 pixels, whose rounding errors of fp32 grow from layer to layer.
PROBABILITY_TOLERANCE = 3e-5
# V2 rounds to four digits: two roundings may differ where the unrounded value lies this near to a tie.
TIE_BAND = PROBABILITY_TOLERANCE


def pipelines_of(description, folder, *, multi_label=False, own_steps=False) -> Pipelines:
    scale, size, class_count, resize_mode = description.split()
    yolo = rescaled_network("classify", scale, int(class_count), seed=0, image_size=int(size))
    weights = save_safetensors(yolo, folder / "weights.safetensors")
    preprocessing = None if own_steps else {"resize_mode": resize_mode}
    return make_pipelines(
        weights, folder, awkward_pictures(), (1, 1, 1), preprocessing=preprocessing, multi_label=multi_label
    )


@pytest.fixture(scope="module", params=MODELS)
def single_label(request, tmp_path_factory) -> Pipelines:
    return pipelines_of(request.param, tmp_path_factory.mktemp("classification"))


def gap_near(probabilities, wanted) -> float:
    """A threshold in the widest gap between the `wanted` highest probabilities, and how many are above it."""
    highest = np.sort(probabilities)[::-1][: wanted + 1]
    widest = int((highest[:-1] - highest[1:]).argmax())
    return float(highest[widest : widest + 2].mean())


def test_v2_equals_inference_models(single_label, figure, request):
    compared = classes = apart = 0
    largest_difference = 0.0
    for picture in single_label.pictures:
        outputs = single_label.inference_models.run(np.ascontiguousarray(picture.pixels))
        unrounded = single_label.inference_models.model.post_process(outputs.predictions).confidence[0].numpy()
        for confidence in (0.0, gap_near(unrounded, 5), 1.0):
            theirs = single_label.inference_models.response(outputs, confidence=confidence)
            ours = document_of(single_label.ours.infer(picture.pixels, confidence=confidence))
            different = differing_classes(ours, theirs, unrounded, picture.name)
            apart, classes = apart + len(different), classes + len(theirs["predictions"])
            if not different:
                assert ours == theirs, picture.name
                continue
            assert ours["image"] == theirs["image"]
            # Those that differ may stand elsewhere; all others are in the same order.
            left = [
                [found for found in part["predictions"] if found["class_id"] not in different]
                for part in (ours, theirs)
            ]
            assert left[0] == left[1], picture.name
            if theirs["predictions"][0]["class_id"] not in different:
                assert (ours["top"], ours["confidence"]) == (theirs["top"], theirs["confidence"])
        found = single_label.ours.classify_images([loaded(picture)])[0]
        largest_difference = max(largest_difference, float(np.abs(found - unrounded).max()))
        compared += 1
    assert compared >= 20
    assert largest_difference <= PROBABILITY_TOLERANCE
    figure(
        f"classification v2, {request.node.callspec.params['single_label']}: {compared} pictures, responses as "
        f"inference-models; {apart} of {classes} confidences ({apart / classes:.3%}) one digit apart at a tie, "
        f"probabilities within {largest_difference:.1e}"
    )


def loaded(picture):
    from rfkernels.images import load_image

    return load_image(picture.pixels)


def differing_classes(ours, theirs, unrounded, name) -> set[int]:
    """The ids of the classes whose confidences differ: by the last digit, and only where they are at a tie."""
    mine, peers = ({found["class_id"]: found for found in part["predictions"]} for part in (ours, theirs))
    assert set(mine) == set(peers), name
    different = set()
    for class_id, found in mine.items():
        assert found["class"] == peers[class_id]["class"]
        if found["confidence"] != peers[class_id]["confidence"]:
            assert abs(found["confidence"] - peers[class_id]["confidence"]) < 1.5e-4, name
            from_tie = abs(unrounded[class_id] * 1e4 % 1 - 0.5) / 1e4
            assert from_tie <= TIE_BAND, f"{name}: {found}, expected {peers[class_id]}, not at a tie"
            different.add(class_id)
    return different


def test_several_labels_equal_inference_models(tmp_path, figure):
    pipelines = pipelines_of("n 64 10 stretch", tmp_path, multi_label=True)
    largest_difference, counts = 0.0, set()
    for picture in pipelines.pictures:
        outputs = pipelines.inference_models.run(np.ascontiguousarray(picture.pixels))
        probabilities = torch.sigmoid(outputs.predictions)[0].numpy()
        for confidence in (0.0, gap_near(probabilities, 9), 1.0):
            theirs = pipelines.inference_models.response(outputs, confidence=confidence)
            ours = document_of(pipelines.ours.infer(picture.pixels, confidence=confidence))
            assert ours["image"] == theirs["image"]
            assert ours["predicted_classes"] == theirs["predicted_classes"], picture.name
            counts.add(len(theirs["predicted_classes"]))
            assert list(ours["predictions"]) == list(theirs["predictions"])
            for name, expected in theirs["predictions"].items():
                assert ours["predictions"][name]["class_id"] == expected["class_id"]
                difference = abs(ours["predictions"][name]["confidence"] - expected["confidence"])
                largest_difference = max(largest_difference, difference)
    assert len(pipelines.pictures) >= 20
    assert len(counts) >= 4
    assert largest_difference <= PROBABILITY_TOLERANCE
    figure(
        f"classification v2, several labels: {len(pipelines.pictures)} pictures, predicted classes as "
        f"inference-models, confidences within {largest_difference:.1e}"
    )


@pytest.mark.parametrize("description", ["n 64 10 own", "n 224 1000 own"])
def test_probabilities_equal_those_of_ultralytics(description, tmp_path, figure):
    pipelines = pipelines_of(description, tmp_path, own_steps=True)
    largest_difference, swapped = 0.0, 0
    for picture in pipelines.pictures:
        (theirs,) = pipelines.ultralytics.predict(
            np.ascontiguousarray(picture.pixels), device="cpu", verbose=False, save=False
        )
        expected = theirs.probs.data.numpy()
        response = pipelines.ours.infer(picture.pixels, confidence=0.0, convention="ultralytics")
        actual = pipelines.ours.classify_images([loaded(picture)])[0]
        difference = float(np.abs(actual - expected).max())
        assert difference <= PROBABILITY_TOLERANCE, f"{picture.name}: probabilities {difference} apart"
        largest_difference = max(largest_difference, difference)
        # Classes as likely but for the last digits may change places.
        for ours_id, class_id in zip(np.argsort(-actual)[:5], theirs.probs.top5, strict=True):
            assert abs(actual[ours_id] - actual[class_id]) <= 2 * PROBABILITY_TOLERANCE
            swapped += int(ours_id != class_id)
        top = pipelines.metadata.class_names.index(response.top)
        assert abs(expected[top] - expected[theirs.probs.top1]) <= 1e-4
    assert len(pipelines.pictures) >= 20
    figure(
        f"classification ultralytics, {description}: {len(pipelines.pictures)} pictures, probabilities within "
        f"{largest_difference:.1e} of YOLO.predict, {swapped} of the first five swapped"
    )
