"""The emitted YOLOv8 graphs against ultralytics: raw outputs of the same weights, read from every kind of file."""

import numpy as np
import onnxruntime
import pytest
import rescaled_weights
import torch

from rfkernels.builder import BuildOptions, build
from rfkernels.errors import CheckpointError

RELATIVE_TOLERANCE = 1e-4


def assert_equal_heads(model_path, yolo, height, width, tolerance=RELATIVE_TOLERANCE):
    """Raw heads of a built model equal those of ultralytics on a real photograph, to 1e-4 of the largest value."""
    images = rescaled_weights.network_input(rescaled_weights.photographs()[0], (height, width))
    expected = rescaled_weights.raw_head_outputs(yolo.model, torch.from_numpy(images))
    session = onnxruntime.InferenceSession(model_path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert names == ["box_8", "box_16", "box_32", "class_8", "class_16", "class_32"]
    for name, actual in zip(names, session.run(None, {"images": images}), strict=True):
        reference = expected[name].numpy()
        assert reference[0].std(axis=(1, 2)).mean() > 0.5, f"{name} hardly varies: the comparison proves nothing"
        assert np.abs(actual - reference).max() <= tolerance * np.abs(reference).max(), name


@pytest.mark.parametrize("scale", ["n", "s", "m", "l", "x"])
def test_all_scales_from_a_state_dict(scale, tmp_path):
    yolo = rescaled_weights.rescaled_yolov8(
        scale, 80, seed=0, image_size=320, pictures=rescaled_weights.photographs()[:1]
    )
    weights = rescaled_weights.save_state_dict(yolo, tmp_path / "weights.pt")
    names = [f"class {index}" for index in range(80)]
    build(weights, tmp_path / "model.onnx", BuildOptions(image_size=320, class_names=names))
    assert_equal_heads(tmp_path / "model.onnx", yolo, 320, 320)


@pytest.fixture(scope="module")
def small():
    return rescaled_weights.rescaled_yolov8("n", 12, seed=1, image_size=320)


@pytest.mark.parametrize(("height", "width"), [(320, 320), (256, 416), (640, 384)])
@pytest.mark.parametrize("save", [rescaled_weights.save_checkpoint, rescaled_weights.save_safetensors])
def test_whole_checkpoints_at_several_sizes(save, height, width, small, tmp_path):
    suffix = "pt" if save is rescaled_weights.save_checkpoint else "safetensors"
    weights = save(small, tmp_path / f"weights.{suffix}")
    report = build(weights, tmp_path / "model.onnx", BuildOptions(image_size=(height, width)))
    assert report.metadata.class_names == tuple(small.model.names.values())
    assert report.metadata.scale == "n"
    assert_equal_heads(tmp_path / "model.onnx", small, height, width)


@pytest.mark.parametrize(
    "arguments", [{"opset": 17}, {"opset": 12}, {"opset": 20}, {"dynamic": True}, {"imgsz": [256, 416]}], ids=str
)
def test_onnx_exports_are_emitted_anew_with_raw_heads(arguments, small, tmp_path):
    exported = rescaled_weights.export_decoded_onnx(small, tmp_path, **arguments)
    report = build(exported, tmp_path / "model.onnx")
    assert report.metadata.output_format == "raw_heads"
    assert list(report.metadata.class_names) == list(small.model.names.values())
    height, width = arguments.get("imgsz", [320, 320])
    assert report.metadata.image_size == (height, width)
    assert_equal_heads(tmp_path / "model.onnx", small, height, width)


def test_the_moving_average_of_a_training_checkpoint_is_preferred(small, tmp_path):
    other = rescaled_weights.rescaled_yolov8("n", 12, seed=2, image_size=320)
    parameters = [torch.nn.Parameter(torch.ones(3))]
    optimizer = torch.optim.AdamW(parameters)
    parameters[0].sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 3,
        "best_fitness": np.float64(0.5),
        "model": other.model,
        "ema": small.model.half(),
        "updates": 12,
        "optimizer": optimizer.state_dict(),
        "train_args": {"imgsz": 320, "task": "detect"},
        "train_results": {"epoch": [1, 2, 3]},
        "date": "2026-01-01T00:00:00",
    }
    torch.save(checkpoint, tmp_path / "last.pt")
    small.model.float()
    build(tmp_path / "last.pt", tmp_path / "model.onnx")
    assert_equal_heads(tmp_path / "model.onnx", small, 320, 320)


def test_a_fused_model_gives_the_same_outputs(small, tmp_path):
    checkpoint = rescaled_weights.save_checkpoint(small, tmp_path / "weights.pt")
    fused = rescaled_weights.YOLO(checkpoint).model.float().fuse(verbose=False)
    torch.save({"model": fused}, tmp_path / "fused.pt")
    build(tmp_path / "fused.pt", tmp_path / "model.onnx", BuildOptions(image_size=320))
    assert_equal_heads(tmp_path / "model.onnx", small, 320, 320)


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("yolov8n-seg", "YOLOv8-seg"),
        ("yolov8n-pose", "YOLOv8-pose"),
        ("yolov8n-obb", "YOLOv8-obb"),
        ("yolov8n-cls", "classification"),
        ("yolov8n-p2", "YOLOv8-p2"),
        ("yolov8n-p6", "YOLOv8-p6"),
        ("yolo11n", "YOLO11"),
        ("yolov10n", "YOLOv10"),
        ("yolov5n", "YOLOv5u"),
    ],
)
def test_other_networks_are_refused_by_name(name, refusal, tmp_path):
    rescaled_weights.YOLO(f"{name}.yaml", verbose=False).save(tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=refusal):
        build(tmp_path / "weights.pt", tmp_path / "model.onnx")
