"""Keypoints from picture to response, against the two peers with the same weights in fp32."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from comparison import (
    BOX_TOLERANCE,
    SCORE_TOLERANCE,
    Detected,
    anchors_of,
    apart_at_ties,
    places_of,
    unrounded_edges,
)
from pictures import drawn_pictures, small_pictures
from pipelines import Pipelines, detected_in, document_of, make_pipelines
from rescaled_weights import rescaled_network, save_safetensors

DEMO_WEIGHTS = Path(__file__).parents[2] / "models" / "demo" / "yolov8n-pose-shapes-320.safetensors"
MODELS = ("demo", "random n 320, 3 classes, 17 keypoints")
# ultralytics has no static crop.
MODELS_OF_V2 = (*MODELS, "demo, cropped")
STATIC_CROP = (10.0, 93.0, 4.0, 88.0)
ALL_NAMES = ("top", "left", "right", "bottom", "centre")
# The classes of the demo model as if some had fewer keypoints than the network gives.
NAMES = (ALL_NAMES, ALL_NAMES[:3], ALL_NAMES, ALL_NAMES[:1], ALL_NAMES[:4], ALL_NAMES[:2])
KEYPOINT_THRESHOLDS = (0.0, 0.5)


@pytest.fixture(scope="module")
def pipelines(request, tmp_path_factory) -> Pipelines:
    folder = tmp_path_factory.mktemp("keypoints")
    if request.param.startswith("demo"):
        preprocessing = {"static_crop": STATIC_CROP} if "cropped" in request.param else None
        return make_pipelines(
            DEMO_WEIGHTS, folder, drawn_pictures(), (1, 9, 300), preprocessing=preprocessing, keypoint_names=NAMES
        )
    weights = save_safetensors(rescaled_network("pose", "n", 3, seed=0, image_size=320), folder / "w.safetensors")
    names = [[f"keypoint {index}" for index in range(count)] for count in (17, 5, 9)]
    return make_pipelines(weights, folder, small_pictures(12), (1, 8, 40), keypoint_names=names)


@pytest.mark.parametrize("pipelines", MODELS_OF_V2, indirect=True, scope="module")
def test_v2_equals_inference_models(pipelines, figure, request):
    compared = detections = moved = apart = points = left_out = unsure = 0
    score_difference = 0.0
    for picture in pipelines.pictures:
        placement = pipelines.placement(picture, "v2")
        prediction = pipelines.prediction(picture, placement)
        thresholds = pipelines.thresholds(prediction, "v2")
        if thresholds is None:
            continue
        chosen = {"confidence": thresholds.confidence, "iou_threshold": thresholds.iou_threshold}
        outputs = pipelines.inference_models.run(np.ascontiguousarray(picture.pixels))
        for threshold in KEYPOINT_THRESHOLDS:
            theirs = pipelines.inference_models.response(
                outputs, **chosen, request=SimpleNamespace(keypoint_confidence=threshold)
            )
            ours = document_of(
                pipelines.ours.infer(picture.pixels, convention="v2", keypoint_confidence=threshold, **chosen)
            )
            assert ours["image"] == theirs["image"]
            expected, actual = detected_in(theirs), detected_in(ours)
            assert len(expected.scores) == thresholds.detections
            places = places_of(expected, actual, SCORE_TOLERANCE, picture.name)
            moved += sum(place != index for index, place in enumerate(places))
            score_difference = max(score_difference, float(np.abs(actual.scores[places] - expected.scores).max()))
            found = pipelines.boxes_and_scores(prediction), expected, placement, picture.pixels.shape[:2]
            apart += apart_at_ties(actual.boxes[places], expected.boxes, unrounded_edges(*found), picture.name)
            # Before they are rounded, and before any are left out.
            class_count = len(pipelines.metadata.class_names)
            unrounded = unrounded_keypoints(prediction, anchors_of(*found), placement, class_count)
            for index, place in enumerate(places):
                mine, peers = ours["predictions"][place], theirs["predictions"][index]
                assert mine["class"] == peers["class"]
                confidences = unrounded[index, :, 2]
                # In one of the two a keypoint may be left out, which has the threshold's confidence but for the last
                # digits.
                near = set(np.flatnonzero(np.abs(confidences - threshold) <= SCORE_TOLERANCE).tolist())
                both = [{point["class_id"]: point for point in points_of["keypoints"]} for points_of in (mine, peers)]
                assert set(both[0]) ^ set(both[1]) <= near, f"{picture.name}, object {index}"
                unsure += len(set(both[0]) ^ set(both[1]))
                common = sorted(set(both[0]) & set(both[1]))
                places_of_points = [np.array([[part[k]["x"], part[k]["y"]] for k in common]) for part in both]
                apart += apart_at_ties(*places_of_points, unrounded[index, common, :2], picture.name) if common else 0
                for k in common:
                    assert both[0][k]["class"] == both[1][k]["class"]
                    assert abs(both[0][k]["confidence"] - both[1][k]["confidence"]) <= SCORE_TOLERANCE
                assert [point["class_id"] for point in mine["keypoints"]] == sorted(both[0])
                points, left_out = points + len(common), left_out + unrounded.shape[1] - len(common)
        compared, detections = compared + 1, detections + len(expected.scores)
    assert compared >= (20 if "demo" in request.node.callspec.params["pipelines"] else 6)
    assert points > 0
    assert left_out > 0
    figure(
        f"keypoints v2, {request.node.callspec.params['pipelines']}: {compared} pictures, {detections} detections, "
        f"{points} keypoints as inference-models, {left_out} left out by both, {unsure} by one of them with a "
        f"confidence within {SCORE_TOLERANCE} of the threshold; scores within {score_difference:.1e}, {apart} edges "
        f"and coordinates one pixel apart at a tie, {moved} places swapped"
    )


def unrounded_keypoints(prediction, anchors, placement, class_count) -> np.ndarray:
    """x, y in pixels of the picture, and the confidence, as the peers' network has them: float64 [n, keypoints, 3]."""
    points = prediction[4 + class_count :, anchors].T.reshape(len(anchors), -1, 3).astype(np.float64)
    points[..., 0] = (points[..., 0] - placement.left) / placement.scale_x + placement.crop.x
    points[..., 1] = (points[..., 1] - placement.top) / placement.scale_y + placement.crop.y
    return points


@pytest.mark.parametrize("pipelines", MODELS, indirect=True, scope="module")
def test_ultralytics_convention_equals_ultralytics(pipelines, figure, request):
    compared = detections = moved = points = 0
    score_difference = box_difference = point_difference = confidence_difference = 0.0
    assert pipelines.metadata.keypoints is not None
    counts = np.array([len(names) for names in pipelines.metadata.keypoints.names])
    for picture in pipelines.pictures:
        placement = pipelines.placement(picture, "ultralytics")
        thresholds = pipelines.thresholds(pipelines.prediction(picture, placement), "ultralytics")
        if thresholds is None:
            continue
        (theirs,) = pipelines.ultralytics.predict(
            np.ascontiguousarray(picture.pixels),
            conf=thresholds.confidence,
            iou=thresholds.iou_threshold,
            device="cpu",
            verbose=False,
            save=False,
        )
        ours = document_of(
            pipelines.ours.infer(
                picture.pixels,
                convention="ultralytics",
                confidence=thresholds.confidence,
                iou_threshold=thresholds.iou_threshold,
            )
        )
        boxes = theirs.boxes
        expected = Detected(boxes.xyxy.numpy(), boxes.conf.numpy(), boxes.cls.numpy().astype(np.int64))
        assert len(expected.scores) == thresholds.detections
        actual = detected_in(ours)
        places = places_of(expected, actual, SCORE_TOLERANCE, picture.name)
        moved += sum(place != index for index, place in enumerate(places))
        scale = np.array([placement.scale_x, placement.scale_y] * 2)
        box_difference = max(box_difference, float((np.abs(actual.boxes[places] - expected.boxes) * scale).max()))
        score_difference = max(score_difference, float(np.abs(actual.scores[places] - expected.scores).max()))
        for index, place in enumerate(places):
            # A class of fewer keypoints than the network gives: ultralytics knows no such thing.
            wanted = theirs.keypoints.data[index, : counts[expected.class_ids[index]]].numpy()
            got = np.array([(k["x"], k["y"], k["confidence"]) for k in ours["predictions"][place]["keypoints"]])
            assert got.shape == wanted.shape, picture.name
            difference = np.abs(got - wanted)
            point_difference = max(point_difference, float((difference[:, :2] * scale[:2]).max()))
            confidence_difference = max(confidence_difference, float(difference[:, 2].max()))
            points += len(got)
        compared, detections = compared + 1, detections + len(expected.scores)
    assert compared >= (20 if "demo" in request.node.callspec.params["pipelines"] else 6)
    assert max(box_difference, point_difference) <= BOX_TOLERANCE
    assert confidence_difference <= SCORE_TOLERANCE
    figure(
        f"keypoints ultralytics, {request.node.callspec.params['pipelines']}: {compared} pictures, {detections} "
        f"detections, {points} keypoints as YOLO.predict; scores within {score_difference:.1e}, boxes within "
        f"{box_difference:.1e} network pixels, keypoints within {point_difference:.1e} and their confidences within "
        f"{confidence_difference:.1e}, {moved} places swapped"
    )
