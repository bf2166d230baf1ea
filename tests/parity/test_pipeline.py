"""The whole pipeline, picture in and detections out, against the two peers with the same weights in fp32.

Convention v2 against `inference-models` (its YOLOv8 class through ONNX Runtime), convention ultralytics against
`YOLO.predict` (through ONNX Runtime too). rfkernels runs its own graph, its own decoding and OpenVINO, from the same
file of weights; the peers run the ONNX file that ultralytics exports from them. The models: the demo model, and YOLOv8
of random weights that carry a signal.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from comparison import (
    BOX_TOLERANCE,
    SCORE_TOLERANCE,
    Detected,
    apart_at_ties,
    in_the_order_of,
    of_response,
    unrounded_edges,
)
from pictures import Picture, awkward_pictures, drawn_pictures
from rescaled_weights import rescaled_yolov8, save_safetensors
from rfkernels.benchmarks.peers.inference_models_package import load_package, make_package
from rfkernels.benchmarks.peers.weights import decoded_onnx
from thresholds import clear_thresholds
from ultralytics import YOLO

import rfkernels
from rfkernels import ops
from rfkernels.builder import BuildOptions, build
from rfkernels.model_metadata import Preprocessing, read_model_metadata

DEMO_WEIGHTS = Path(__file__).parents[2] / "models" / "demo" / "yolov8n-shapes-320.safetensors"
MODELS = ("demo", "random n 640, 80 classes", "random n 320, 3 classes", "random n 416, 20 classes")
# The variances of a random model are set on these. A picture of more contrast than those drives every layer beyond the
# variance it was made for, and from layer to layer the rounding errors of fp32 grow with it.
SHARPEST = (
    "sklearn/flower.jpg resized 1281x721",
    "ultralytics/bus.jpg resized 1920x1080",
    "mosaic 1920x1080",
)
# Fewest, wanted and most in a picture. A drawn picture has one to nine shapes, and the demo model finds those.
DETECTIONS = {"demo": (1, 9, 300), "random": (20, 100, 300)}
PAD_VALUE = 114


@dataclass
class Models:
    """One set of weights in every pipeline."""

    ours: rfkernels.tasks.object_detection.ObjectDetectionModel
    ours_decoded: rfkernels.tasks.object_detection.ObjectDetectionModel
    inference_models: object
    ultralytics: YOLO
    network: onnxruntime.InferenceSession
    image_size: tuple[int, int]
    pictures: list[Picture]
    detections: tuple[int, int, int]

    def prediction(self, picture: Picture, rounding: str):
        """What the peers' network gives for a picture, float32 [4 + class count, anchors], and its placement."""
        placement = ops.plan_placement(*picture.pixels.shape[:2], size=self.image_size, rounding=rounding)
        network_input = ops.preprocess(
            [picture.pixels], [placement], size=self.image_size, swap_channels=True, pad_value=PAD_VALUE
        )
        return self.network.run(None, {"images": network_input})[0][0], placement


@pytest.fixture(scope="session", params=MODELS)
def models(request, tmp_path_factory) -> Models:
    folder = tmp_path_factory.mktemp("model")
    kind = request.param.split()[0]
    pictures = drawn_pictures() if kind == "demo" else awkward_pictures()
    if kind == "demo":
        weights = DEMO_WEIGHTS
    else:
        _, scale, size, class_count, _ = request.param.replace(",", "").split()
        pixels = [picture.pixels for picture in pictures if picture.name in SHARPEST]
        yolo = rescaled_yolov8(scale, int(class_count), seed=0, image_size=int(size), pictures=pixels)
        weights = save_safetensors(yolo, folder / "random.safetensors")
    exported = decoded_onnx(weights, folder)
    built = [folder / "ours.onnx", folder / "ours-decoded.onnx"]
    for source, path in zip((weights, exported), built, strict=True):
        build(source, path, BuildOptions(preprocessing=Preprocessing(pad_value=PAD_VALUE)))
    metadata = read_model_metadata(built[0])
    package = make_package(
        folder / "package", exported, metadata.class_names, metadata.image_size, padding_value=PAD_VALUE
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return Models(
        *(rfkernels.load(path, precision="fp32", threads=2, cache_directory=False) for path in built),
        load_package(package, threads=2),
        YOLO(exported, task="detect", verbose=False),
        onnxruntime.InferenceSession(str(exported), options, providers=["CPUExecutionProvider"]),
        metadata.image_size,
        pictures,
        DETECTIONS[kind],
    )


def test_v2_equals_inference_models(models, figure, request):
    compared = detections = moved = apart = 0
    score_difference = 0.0
    for picture in models.pictures:
        prediction, placement = models.prediction(picture, "truncate")
        thresholds = clear_thresholds(prediction, (0.4, 0.3), models.detections)
        if thresholds is None:
            continue
        options = {"confidence": thresholds.confidence, "iou_threshold": thresholds.iou_threshold}
        (peer,) = models.inference_models(np.ascontiguousarray(picture.pixels), **options)
        expected = Detected(peer.xyxy.numpy(), peer.confidence.numpy(), peer.class_id.numpy())
        assert len(expected.scores) == thresholds.detections
        edges = unrounded_edges(prediction, expected, placement, picture.pixels.shape[:2])
        for ours in (models.ours, models.ours_decoded):
            response = ours.infer(picture.pixels, convention="v2", **options)
            actual, places_moved = in_the_order_of(of_response(response), expected, SCORE_TOLERANCE, picture.name)
            apart += apart_at_ties(actual.boxes, expected.boxes, edges, picture.name)
            score_difference = max(score_difference, float(np.abs(actual.scores - expected.scores).max()))
            moved += places_moved
        compared, detections = compared + 1, detections + len(expected.scores)
    assert compared >= 20
    figure(
        f"pipeline v2, {request.node.callspec.params['models']}: {compared} pictures, {detections} detections "
        f"as inference-models; "
        f"scores within {score_difference:.1e}, {apart} of {8 * detections} edges one pixel apart at a tie, "
        f"{moved} places swapped"
    )


def test_ultralytics_convention_equals_ultralytics(models, figure, request):
    compared = detections = moved = 0
    score_difference = box_difference = 0.0
    for picture in models.pictures:
        prediction, placement = models.prediction(picture, "half_to_even")
        thresholds = clear_thresholds(prediction, (0.25, 0.7), models.detections)
        if thresholds is None:
            continue
        (peer,) = models.ultralytics.predict(
            np.ascontiguousarray(picture.pixels),
            conf=thresholds.confidence,
            iou=thresholds.iou_threshold,
            device="cpu",
            verbose=False,
            save=False,
        )
        expected = Detected(peer.boxes.xyxy.numpy(), peer.boxes.conf.numpy(), peer.boxes.cls.numpy().astype(np.int64))
        assert len(expected.scores) == thresholds.detections
        for ours in (models.ours, models.ours_decoded):
            response = ours.infer(
                picture.pixels,
                convention="ultralytics",
                confidence=thresholds.confidence,
                iou_threshold=thresholds.iou_threshold,
            )
            actual, places_moved = in_the_order_of(of_response(response), expected, SCORE_TOLERANCE, picture.name)
            difference = np.abs(actual.boxes - expected.boxes) * np.array([placement.scale_x, placement.scale_y] * 2)
            assert difference.max() <= BOX_TOLERANCE, (
                f"{picture.name}: boxes {difference.max()} network pixels apart, at most {BOX_TOLERANCE} expected"
            )
            score_difference = max(score_difference, float(np.abs(actual.scores - expected.scores).max()))
            box_difference, moved = max(box_difference, float(difference.max())), moved + places_moved
        compared, detections = compared + 1, detections + len(expected.scores)
    assert compared >= 20
    figure(
        f"pipeline ultralytics, {request.node.callspec.params['models']}: {compared} pictures, {detections} detections "
        f"as YOLO.predict; "
        f"scores within {score_difference:.1e}, boxes within {box_difference:.1e} network pixels, "
        f"{moved} places swapped"
    )
