"""The precision of the shipped weights on the held-out pictures, through the whole product, by pycocotools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rfkernels
from models.demo.dataset import HELD_OUT_SEED, draw_pictures
from models.demo.evaluate import labels_of, precision_of
from rfkernels.builder import build

FOLDER = Path(__file__).parents[2] / "models" / "demo"
MODELS = {"bbox": "yolov8n-shapes-320", "segm": "yolov8n-seg-shapes-320", "keypoints": "yolov8n-pose-shapes-320"}
KEYPOINTS = 5


@pytest.fixture(scope="module")
def held_out():
    return draw_pictures(HELD_OUT_SEED, "held_out", 0, range(200), show_progress=False)


def rle_of(prediction):
    return {"segmentation": prediction.rle}


def keypoints_of(prediction):
    points = np.zeros((KEYPOINTS, 3))
    for point in prediction.keypoints:
        points[point.class_id] = point.x, point.y, point.confidence
    return {"keypoints": points.reshape(-1).tolist()}


def box_of(prediction):
    left, top = prediction.x - prediction.width / 2, prediction.y - prediction.height / 2
    return {"bbox": [left, top, prediction.width, prediction.height]}


@pytest.mark.parametrize("kind", MODELS)
def test_held_out_precision(kind, held_out, tmp_path, figure):
    build(FOLDER / f"{MODELS[kind]}.safetensors", tmp_path / "model.onnx")
    model = rfkernels.load(tmp_path / "model.onnx", precision="fp32", convention="ultralytics", cache_directory=False)
    options = {"confidence": 0.001, "iou_threshold": 0.7, "max_detections": 100}
    if kind == "segm":
        options["response_mask_format"] = "rle"
    part_of = {"bbox": box_of, "segm": rle_of, "keypoints": keypoints_of}[kind]
    results = []
    for index, picture in enumerate(held_out):
        response = model.infer(np.ascontiguousarray(picture.image[..., ::-1]), **options)
        for prediction in response.predictions:
            common = {"image_id": index, "category_id": prediction.class_id, "score": prediction.confidence}
            results.append(common | part_of(prediction))
    figures = precision_of(labels_of(held_out), results, kind)
    figure(f"held out, {MODELS[kind]}: {kind} AP50 {figures['map50']:.3f}, AP50-95 {figures['map50_95']:.3f}")
    assert figures["map50"] >= 0.80
