"""Files whose graph is not what their metadata say: refused when they are loaded, for every task."""

from __future__ import annotations

import json

import onnx
import pytest

import rfkernels
from rfkernels.model_metadata import METADATA_KEY

TASKS = ("object-detection", "instance-segmentation", "keypoint-detection", "classification")


@pytest.fixture
def paths(small_model_path, small_segmentation_path, small_keypoint_path, small_classification_path):
    files = (small_model_path, small_segmentation_path, small_keypoint_path, small_classification_path)
    return dict(zip(TASKS, files, strict=True))


def damaged(path, folder, change):
    """A model file after change(graph, metadata)."""
    model = onnx.load(path)
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    metadata = json.loads(entry.value)
    change(model.graph, metadata)
    entry.value = json.dumps(metadata)
    onnx.save(model, folder / "damaged.onnx")
    return folder / "damaged.onnx"


def refuses(path):
    with pytest.raises(rfkernels.ModelFileError, match="build the model again") as caught:
        rfkernels.load(path, precision="fp32", cache_directory=False)
    return str(caught.value)


@pytest.mark.parametrize("task", TASKS)
def test_another_number_of_classes(task, paths, tmp_path):
    def change(_graph, metadata):
        metadata["names"].append("cross")
        if "keypoints" in metadata:
            metadata["keypoints"]["names"].append(["a"])
            metadata["keypoints"]["skeletons"].append([])

    refuses(damaged(paths[task], tmp_path, change))


@pytest.mark.parametrize(
    ("task", "output"),
    [
        ("object-detection", "class_16"),
        ("instance-segmentation", "prototypes"),
        ("instance-segmentation", "coefficients_8"),
        ("keypoint-detection", "keypoints_32"),
        ("classification", "logits"),
    ],
)
def test_an_output_of_another_name(task, output, paths, tmp_path):
    def change(graph, _metadata):
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = ["other" if name == output else name for name in names]
        (info,) = (info for info in graph.output if info.name == output)
        info.name = "other"

    assert "'other'" in refuses(damaged(paths[task], tmp_path, change))


@pytest.mark.parametrize(("count", "values"), [(4, 3), (6, 3), (5, 2)])
def test_another_shape_of_keypoints(count, values, paths, tmp_path):
    def change(_graph, metadata):
        metadata["keypoints"] = {"count": count, "values": values, "names": [["a"]] * 3, "skeletons": [[]] * 3}

    refuses(damaged(paths["keypoint-detection"], tmp_path, change))


@pytest.mark.parametrize(
    ("is_task", "says"),
    [
        ("object-detection", "instance-segmentation"),
        ("instance-segmentation", "object-detection"),
        ("instance-segmentation", "keypoint-detection"),
        ("keypoint-detection", "instance-segmentation"),
        ("classification", "object-detection"),
    ],
)
def test_another_task(is_task, says, paths, tmp_path):
    def change(_graph, metadata):
        metadata["task"] = says
        for name in ("multi_label", "keypoints"):
            metadata.pop(name, None)
        if says == "keypoint-detection":
            metadata["keypoints"] = {"count": 5, "values": 3, "names": [["a"]] * 3, "skeletons": [[]] * 3}
        if is_task == "classification":
            metadata["stride"] = 32

    path = damaged(paths[is_task], tmp_path, change)
    # What an engine is asked for may not be there: it says so itself then.
    with pytest.raises(rfkernels.RfkernelsError, match=r"outputs? |box_8"):
        rfkernels.load(path, precision="fp32", cache_directory=False)
