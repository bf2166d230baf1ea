"""The shipped demo weights: a sound safetensors file that says what it is, and the figures that belong to it."""

import json
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "models" / "demo"


@pytest.fixture(scope="module")
def weights():
    """(metadata, {name: array}) by the safetensors format: header length, JSON header, then the tensors."""
    content = (FOLDER / "yolov8n-shapes-320.safetensors").read_bytes()
    header_end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:header_end])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        assert entry["dtype"] == "F16"
        first, last = (header_end + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(content[first:last], np.float16).reshape(entry["shape"])
    return metadata, tensors


def test_the_metadata_says_what_the_model_is(weights):
    metadata, _ = weights
    assert metadata["task"] == "detect"
    assert json.loads(metadata["names"]) == {
        "0": "disc",
        "1": "ring",
        "2": "triangle",
        "3": "arrow",
        "4": "star",
        "5": "house",
    }
    assert json.loads(metadata["imgsz"]) == [320, 320]
    assert (metadata["stride"], metadata["license"], metadata["author"]) == ("32", "Apache-2.0", "rfkernels")


def test_the_tensors_are_those_of_a_fused_yolov8n(weights):
    _, tensors = weights
    assert not [name for name in tensors if ".bn." in name]
    # 57 convolutions with a folded BatchNorm and 6 plain ones, each with a bias, and the fixed one of the distances.
    assert len(tensors) == 2 * 57 + 2 * 6 + 1
    assert tensors["model.0.conv.weight"].shape == (16, 3, 3, 3)
    assert tensors["model.22.cv2.0.2.weight"].shape == (64, 64, 1, 1)
    assert tensors["model.22.cv3.2.2.bias"].shape == (6,)
    np.testing.assert_array_equal(tensors["model.22.dfl.conv.weight"].ravel(), np.arange(16))


def test_the_values_are_finite_and_alive(weights):
    _, tensors = weights
    for name, tensor in tensors.items():
        assert np.isfinite(tensor).all(), name
        if name.endswith(".weight"):
            channels = tensor.reshape(tensor.shape[0], -1).astype(np.float64)
            assert (np.abs(channels).max(axis=1) > 0).all(), name


def test_the_held_out_precision_of_the_file_is_what_was_promised():
    report = json.loads((FOLDER / "held_out_map.json").read_text())
    assert report["held_out_pictures"] == 200
    assert report["shipped_float16"]["map50"] >= 0.85
