"""The emitted YOLOv8 graphs against ultralytics: raw outputs of the same weights, read from every kind of file."""

import numpy as np
import onnxruntime
import pytest
import rescaled_weights
import torch
from rfkernels.models.yolov8.network import Network

from rfkernels.builder import BuildOptions, build
from rfkernels.errors import CheckpointError

RELATIVE_TOLERANCE = 1e-4
LEVELS = {
    kind: [f"{kind}_{stride}" for stride in (8, 16, 32)] for kind in ("box", "class", "coefficients", "keypoints")
}
OUTPUTS = {
    "detect": [*LEVELS["box"], *LEVELS["class"]],
    "segment": [*LEVELS["box"], *LEVELS["class"], *LEVELS["coefficients"], "prototypes"],
    "pose": [*LEVELS["box"], *LEVELS["class"], *LEVELS["keypoints"]],
    "classify": ["logits"],
}


def difference_from_network(model_path, yolo, height, width):
    """How far the raw outputs of a built model are from those of ultralytics on a real photograph: the greatest
    difference in any of them, as a share of the greatest value of that output.
    """
    images = rescaled_weights.network_input(rescaled_weights.photographs()[0], (height, width))
    expected = rescaled_weights.raw_head_outputs(yolo.model, torch.from_numpy(images))
    session = onnxruntime.InferenceSession(model_path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert names == OUTPUTS[yolo.task]
    differences = []
    for name, actual in zip(names, session.run(None, {"images": images}), strict=True):
        reference = expected[name].numpy()
        assert actual.shape == reference.shape, name
        # A classifier has one number for each class, and nothing else that could vary.
        spread = reference.std() if reference.ndim == 2 else reference[0].std(axis=(1, 2)).mean()
        assert spread > (0.2 if name == "prototypes" else 0.5), f"{name} hardly varies: the comparison proves nothing"
        differences.append(np.abs(actual - reference).max() / np.abs(reference).max())
    return max(differences)


def assert_equal_heads(model_path, yolo, height, width, tolerance=RELATIVE_TOLERANCE):
    """Raw outputs of a built model equal those of ultralytics on a real photograph, to 1e-4 of the largest value."""
    assert difference_from_network(model_path, yolo, height, width) <= tolerance


@pytest.mark.parametrize("scale", ["n", "s", "m", "l", "x"])
def test_all_scales_from_a_state_dict(scale, tmp_path):
    yolo = rescaled_weights.rescaled_yolov8(
        scale, 80, seed=0, image_size=320, pictures=rescaled_weights.photographs()[:1]
    )
    weights = rescaled_weights.save_state_dict(yolo, tmp_path / "weights.pt")
    names = [f"class {index}" for index in range(80)]
    build(weights, tmp_path / "model.onnx", BuildOptions(image_size=320, class_names=names))
    assert_equal_heads(tmp_path / "model.onnx", yolo, 320, 320)


# The size at which weights are scaled; their variances must be measured on more than a few pixels of the last level.
SCALING_SIZE = 160


@pytest.mark.parametrize("scale", ["n", "s", "m", "l", "x"])
@pytest.mark.parametrize("task", ["segment", "pose", "classify"])
def test_all_scales_of_the_other_tasks_from_a_state_dict(task, scale, tmp_path, figure):
    yolo = rescaled_weights.rescaled_network(task, scale, 7, seed=0, image_size=SCALING_SIZE)
    weights = rescaled_weights.save_state_dict(yolo, tmp_path / "weights.pt")
    height, width = (97, 97) if task == "classify" else (96, 160)
    names = [f"class {index}" for index in range(7)]
    report = build(weights, tmp_path / "model.onnx", BuildOptions(image_size=(height, width), class_names=names))
    assert report.network == Network(task, scale, 7, (17, 3) if task == "pose" else None)
    difference = difference_from_network(tmp_path / "model.onnx", yolo, height, width)
    assert difference <= RELATIVE_TOLERANCE
    figure(f"YOLOv8{scale} {task}: raw outputs within {difference:.1e} of ultralytics'")


@pytest.fixture(scope="module", params=["segment", "pose", "classify"])
def small_of_task(request):
    task = request.param
    return rescaled_weights.rescaled_network(task, "n", 5, seed=1, image_size=SCALING_SIZE, keypoint_shape=(4, 3))


@pytest.mark.parametrize("save", [rescaled_weights.save_checkpoint, rescaled_weights.save_safetensors])
def test_whole_checkpoints_of_the_other_tasks(save, small_of_task, tmp_path):
    suffix = "pt" if save is rescaled_weights.save_checkpoint else "safetensors"
    weights = save(small_of_task, tmp_path / f"weights.{suffix}")
    report = build(weights, tmp_path / "model.onnx")
    assert report.metadata.task == report.network.task_name
    assert report.metadata.image_size == (SCALING_SIZE, SCALING_SIZE)
    assert report.metadata.class_names == tuple(small_of_task.model.names.values())
    if small_of_task.task == "pose":
        assert report.network.keypoint_shape == (4, 3)
        assert report.metadata.keypoints.names == (("0", "1", "2", "3"),) * 5
    assert_equal_heads(tmp_path / "model.onnx", small_of_task, SCALING_SIZE, SCALING_SIZE)


@pytest.mark.parametrize("arguments", [{"opset": 17}, {"opset": 12}, {"opset": 20}, {"dynamic": True}], ids=str)
def test_onnx_exports_of_the_other_tasks_are_emitted_anew(arguments, small_of_task, tmp_path):
    exported = rescaled_weights.export_decoded_onnx(small_of_task, tmp_path, **arguments)
    report = build(exported, tmp_path / "model.onnx")
    assert report.network.task == small_of_task.task
    assert report.metadata.class_names == tuple(small_of_task.model.names.values())
    assert_equal_heads(tmp_path / "model.onnx", small_of_task, SCALING_SIZE, SCALING_SIZE)


def test_fused_models_of_the_other_tasks_give_the_same_outputs(small_of_task, tmp_path):
    checkpoint = rescaled_weights.save_checkpoint(small_of_task, tmp_path / "weights.pt")
    fused = rescaled_weights.YOLO(checkpoint).model.float().fuse(verbose=False)
    torch.save({"model": fused}, tmp_path / "fused.pt")
    build(tmp_path / "fused.pt", tmp_path / "model.onnx", BuildOptions(image_size=SCALING_SIZE))
    assert_equal_heads(tmp_path / "model.onnx", small_of_task, SCALING_SIZE, SCALING_SIZE)


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
        ("yolov8n-obb", "YOLOv8-obb"),
        ("yolov8n-p2", "YOLOv8-p2"),
        ("yolov8n-p6", "YOLOv8-p6"),
        ("yolov8n-seg-p6", "YOLOv8-p6"),
        ("yolov8n-pose-p6", "YOLOv8-p6"),
        ("yolo11n", "YOLO11"),
        ("yolo11n-seg", "YOLO11"),
        ("yolo11n-pose", "YOLO11"),
        ("yolo11n-cls", "YOLO11-cls"),
        ("yolov10n", "YOLOv10"),
        ("yolov5n", "YOLOv5u"),
    ],
)
def test_other_networks_are_refused_by_name(name, refusal, tmp_path):
    rescaled_weights.YOLO(f"{name}.yaml", verbose=False).save(tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=refusal):
        build(tmp_path / "weights.pt", tmp_path / "model.onnx")
