"""Whole-model files whose keys and shapes fit a detector while their modules are others: each is refused by name."""

import numpy as np
import pytest
from weight_files import ABSENT, Call, Global, Raw, TorchFile, module, whole_model

from rfkernels.builder import Checkpoint, read_checkpoint
from rfkernels.errors import CheckpointError

IDENTITY = "torch.nn.modules.linear.Identity"


def read(tmp_path, weights, changed=None, wrapped=lambda model: model, **attributes):
    file = TorchFile()
    file.write(tmp_path / "a.pt", {"model": wrapped(whole_model(file, weights, changed=changed, **attributes))})
    return read_checkpoint(tmp_path / "a.pt")


def reversed_order(children):
    return dict(reversed(children.items()))


def with_member(name):
    return lambda children: children | {name: module(IDENTITY)}


def without_member(name):
    return lambda children: {key: child for key, child in children.items() if key != name}


# Module: one attribute changed alone, and what the error says of it.
WRONG = [
    # Classes.
    ("model.0", {"class": "ultralytics.nn.modules.conv.DWConv"}, "got DWConv, expected Conv"),
    ("model.0.conv", {"class": "torch.nn.modules.conv.ConvTranspose2d"}, "got ConvTranspose2d, expected Conv2d"),
    ("model.0.conv", {"class": "ultralytics.nn.Conv2d"}, r"got ultralytics\.nn\.Conv2d, expected Conv2d"),
    ("model.0", {"class": "torch.nn.modules.Conv"}, r"got torch\.nn\.modules\.Conv, expected Conv"),
    ("model.1.bn", {"class": "torch.nn.modules.instancenorm.InstanceNorm2d"}, "got InstanceNorm2d, expected BatchNorm"),
    ("model.2", {"class": "ultralytics.nn.modules.block.C3k2"}, "got C3k2, expected C2f"),
    ("model.4.m", {"class": "torch.nn.modules.container.Sequential"}, "got Sequential, expected ModuleList"),
    ("model.4.m.1", {"class": "ultralytics.nn.modules.block.Residual"}, "got Residual, expected Bottleneck"),
    ("model.9", {"class": "ultralytics.nn.modules.block.SPPELAN"}, "got SPPELAN, expected SPPF"),
    ("model.9.m", {"class": "torch.nn.modules.pooling.AvgPool2d"}, "got AvgPool2d, expected MaxPool2d"),
    ("model.10", {"class": IDENTITY}, "got Identity, expected Upsample"),
    ("model.11", {"class": "ultralytics.nn.modules.conv.Index"}, "got Index, expected Concat"),
    ("model.22", {"class": "ultralytics.nn.modules.head.OBB"}, "got OBB, expected Detect"),
    ("model.22.cv2.0", {"class": "torch.nn.modules.container.ModuleList"}, "got ModuleList, expected Sequential"),
    ("model.22.cv3", {"class": "torch.nn.modules.container.Sequential"}, "got Sequential, expected ModuleList"),
    ("model.22.cv3.2.2", {"class": "torch.nn.modules.conv.LazyConv2d"}, "got LazyConv2d, expected Conv2d"),
    ("model.22.dfl", {"class": "ultralytics.nn.modules.block.Proto"}, "got Proto, expected DFL"),
    # Members.
    ("model.4.m", {"children": reversed_order}, "got members 1, 0, expected members 0, 1 in this order"),
    ("model.22.cv3.1", {"children": reversed_order}, "got members 2, 1, 0"),
    ("model.22.cv2", {"children": reversed_order}, "got members 2, 1, 0"),
    ("model.22.cv2.0", {"children": with_member("3")}, "got members 0, 1, 2, 3"),
    ("model", {"children": reversed_order}, "got layers in the order model.22, model.21"),
    # Sources.
    ("model.3", {"f": -2}, "f: got -2, expected -1"),
    ("model.11", {"f": [-1, 4]}, r"f: got \[-1, 4\], expected \[-1, 6\]"),
    ("model.11", {"f": [6, -1]}, r"f: got \[6, -1\], expected \[-1, 6\]"),
    ("model.11", {"f": -1}, r"f: got -1, expected \[-1, 6\]"),
    ("model.22", {"f": [18, 15, 21]}, r"f: got \[18, 15, 21\], expected \[15, 18, -1\]"),
    ("model.5", {"f": "-1"}, "f: got '-1', expected -1"),
    ("model.5", {"f": [-1] * 1000}, r"f: got \[-1, -1, .* \.\.\.\], expected -1"),
    ("model.2", {"f": True}, "f: got True, expected -1"),
    ("model.5", {"i": 6}, "i: got 6, expected 5"),
    # Attributes of blocks.
    ("model.4.m.0", {"add": False}, "add: got False, expected True"),
    ("model.4.m.0", {"add": 1}, "add: got 1, expected True"),
    ("model.4.m.0", {"add": ABSENT}, "add: got nothing, expected True"),
    ("model.12.m.0", {"add": True}, "add: got True, expected False"),
    ("model.9", {"n": 2}, "n: got 2, expected 3"),
    ("model.9", {"add": True}, "add: got True, expected False"),
    ("model.9.m", {"kernel_size": 3}, "kernel_size: got 3, expected 5"),
    ("model.9.m", {"kernel_size": (5, 3)}, r"kernel_size: got \(5, 3\), expected 5"),
    ("model.9.m", {"kernel_size": (5, 5, 5)}, r"kernel_size: got \(5, 5, 5\), expected 5"),
    ("model.9.m", {"stride": 5}, "stride: got 5, expected 1"),
    ("model.9.m", {"padding": 1}, "padding: got 1, expected 2"),
    ("model.9.m", {"dilation": 2}, "dilation: got 2, expected 1"),
    ("model.10", {"mode": "bilinear"}, "mode: got 'bilinear', expected 'nearest'"),
    ("model.13", {"scale_factor": 4.0}, "scale_factor: got 4.0, expected 2"),
    ("model.13", {"scale_factor": (2.0, 1.0)}, r"scale_factor: got \(2.0, 1.0\), expected 2"),
    ("model.13", {"scale_factor": None}, "scale_factor: got None, expected 2"),
    ("model.13", {"size": (80, 80)}, r"size: got \(80, 80\), expected None"),
    ("model.14", {"d": 2}, "d: got 2, expected 1"),
    ("model.22", {"nl": 2}, "nl: got 2, expected 3"),
    ("model.22", {"nc": 4}, "nc: got 4, expected 3"),
    ("model.22", {"reg_max": 8}, "reg_max: got 8, expected 16"),
    ("model.22", {"stride": [4.0, 8.0, 16.0]}, r"stride: got \[4.0, 8.0, 16.0\], expected \[8, 16, 32\]"),
    # Attributes of convolutions, in a block, in a bottleneck, and of the plain ones.
    ("model.0.conv", {"stride": (1, 1)}, r"stride: got \(1, 1\), expected 2"),
    ("model.4.m.1.cv2.conv", {"stride": (2, 2)}, r"stride: got \(2, 2\), expected 1"),
    ("model.4.m.1.cv2.conv", {"stride": True}, "stride: got True, expected 1"),
    ("model.4.m.1.cv2.conv", {"padding": (0, 0)}, r"padding: got \(0, 0\), expected 1"),
    ("model.4.m.1.cv2.conv", {"padding": "same"}, "padding: got 'same', expected 1"),
    ("model.4.m.1.cv2.conv", {"dilation": (1, 2)}, r"dilation: got \(1, 2\), expected 1"),
    ("model.4.m.1.cv2.conv", {"groups": 2}, "groups: got 2, expected 1"),
    ("model.4.m.1.cv2.conv", {"padding_mode": "reflect"}, "padding_mode: got 'reflect', expected 'zeros'"),
    ("model.4.m.1.cv2.conv", {"padding_mode": ABSENT}, "padding_mode: got nothing, expected 'zeros'"),
    ("model.22.cv2.1.2", {"padding": (1, 1)}, r"padding: got \(1, 1\), expected 0"),
    ("model.22.dfl.conv", {"stride": (2, 1)}, r"stride: got \(2, 1\), expected 1"),
]


@pytest.mark.parametrize(
    ("path", "attributes", "message"), WRONG, ids=[f"{path} {', '.join(attributes)}" for path, attributes, _ in WRONG]
)
def test_one_thing_changed(path, attributes, message, detector_weights, tmp_path):
    with pytest.raises(CheckpointError, match=rf"{path}(\.\w+)?: {message}|{path}\.{message}") as caught:
        read(tmp_path, detector_weights, {path: attributes})
    assert "this version builds YOLOv8 detect, segment, pose and classify" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "member", "message"),
    [
        ("model.0", "pool", r"model\.0\.pool: got Identity, expected no such module"),
        ("model.4.m.0.cv1.act", "0", r"model\.4\.m\.0\.cv1\.act\.0: got Identity, expected no such module"),
        ("model", "23", r"model\.23: got Identity, expected no such module"),
    ],
)
def test_modules_too_many(path, member, message, detector_weights, tmp_path):
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, detector_weights, {path: {"children": with_member(member)}})


@pytest.mark.parametrize(
    ("path", "member", "message"),
    [
        ("model", "10", r"model\.10: got nothing, expected Upsample"),
        ("model.9", "m", r"model\.9\.m: got nothing, expected MaxPool2d"),
        ("model.16", "act", r"model\.16\.act: got nothing, expected SiLU"),
    ],
)
def test_modules_too_few(path, member, message, detector_weights, tmp_path):
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, detector_weights, {path: {"children": without_member(member)}})


@pytest.mark.parametrize(
    ("strides", "shown"),
    [
        ([4, 8, 16], r"\[4.0, 8.0, 16.0\]"),
        ([8, 16], r"\[8.0, 16.0\]"),
        # Too many to be strides: not read.
        ([8] * 100, "a Call"),
    ],
)
def test_strides_of_the_head_are_a_tensor(strides, shown, detector_weights, tmp_path):
    file = TorchFile()
    changed = {"model.22": {"stride": file.tensor(np.array([8, 16, 32], np.float32))}}
    file.write(tmp_path / "a.pt", whole_model(file, detector_weights, changed=changed))
    assert isinstance(read_checkpoint(tmp_path / "a.pt"), Checkpoint)
    changed = {"model.22": {"stride": file.tensor(np.array(strides, np.float32))}}
    file.write(tmp_path / "a.pt", whole_model(file, detector_weights, changed=changed))
    with pytest.raises(CheckpointError, match=rf"model\.22\.stride: got {shown}, expected \[8, 16, 32\]"):
        read_checkpoint(tmp_path / "a.pt")


def test_strides_of_a_convolution_are_no_tensor(detector_weights, tmp_path):
    file = TorchFile()
    changed = {"model.0.conv": {"stride": file.tensor(np.array([2, 2], np.float32))}}
    file.write(tmp_path / "a.pt", whole_model(file, detector_weights, changed=changed))
    with pytest.raises(CheckpointError, match=r"model\.0\.conv\.stride: got a Call, expected 2"):
        read_checkpoint(tmp_path / "a.pt")


SPELLINGS = {
    "plain numbers": {"model.0.conv": {"stride": 2, "padding": 1}, "model.9.m": {"kernel_size": (5, 5)}},
    "whole scale factor": {"model.10": {"scale_factor": 2}, "model.13": {"scale_factor": (2.0, 2.0)}},
    "absolute sources": {"model.3": {"f": 2}, "model.11": {"f": [10, 6]}, "model.14": {"f": (13, -10)}},
    "older files": {f"model.{index}": {name: ABSENT for name in ("f", "i", "d", "n", "type")} for index in range(22)}
    | {"model.9": {"add": ABSENT}, "model.22": {name: ABSENT for name in ("f", "i", "nl", "reg_max")}},
    "no DFL": {"model.22": {"children": without_member("dfl")}},
    "flat names": {"model.0": {"class": "ultralytics.nn.modules.Conv"}, "model.22": {"class": "ultralytics.nn.Detect"}},
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_the_same_network_spelt_differently(name, detector_weights, tmp_path):
    assert isinstance(read(tmp_path, detector_weights, SPELLINGS[name]), Checkpoint)


def test_a_model_whose_batch_normalisation_is_folded(detector_weights, tmp_path):
    folded = {}
    for key, values in detector_weights.items():
        if key.endswith(".bn.bias"):
            folded[key.replace(".bn.", ".conv.")] = values
        elif ".bn." not in key:
            folded[key] = values
    assert isinstance(read(tmp_path, folded), Checkpoint)
    # A normalisation without weights of its own would be computed all the same.
    extra = {
        "model.3": {"children": lambda children: children | {"bn": module("torch.nn.modules.BatchNorm2d", eps=0.1)}}
    }
    with pytest.raises(CheckpointError, match=r"model\.3\.bn: got BatchNorm2d, expected no such module"):
        read(tmp_path, folded, extra)


def test_what_is_wrapped_around_the_layers(detector_weights, tmp_path):
    def parallel(model):
        return module("torch.nn.modules.container.Sequential", children={"module": model})

    def layers_alone(model):
        return model.state["_modules"]["model"]

    for wrapped in (parallel, layers_alone):
        assert isinstance(read(tmp_path, detector_weights, wrapped=wrapped), Checkpoint)
        with pytest.raises(CheckpointError, match=r"model\.4\.m\.0\.add: got False"):
            read(tmp_path, detector_weights, {"model.4.m.0": {"add": False}}, wrapped)


def test_two_modules_of_one_name(detector_weights, tmp_path):
    def wrapped(model):
        model.state["_modules"]["10"] = module(IDENTITY)
        return model

    with pytest.raises(CheckpointError, match=r"model\.10: two modules have this name"):
        read(tmp_path, detector_weights, wrapped=wrapped)


HOSTILE_VALUES = {
    "nested deep": Raw(b"]" * 100_000 + b"a" * 99_999),
    "tuples nested deep": Raw(b")" + b"\x85" * 100_000),
    "list that holds itself": Raw(b"]q\xffh\xffa"),
    "text of a megabyte": "nearest" * 150_000,
    "list of a hundred thousand": Raw(b"](" + b"K\x01" * 10**5 + b"e"),
    "number of 64 bytes": 2**500,
    "not a number": float("nan"),
    "call": Call(Global("pathlib", "Path"), ("a",)),
    "name": Global("pathlib", "Path"),
    "not printable": "\ud800".encode("utf-16", "surrogatepass").decode("latin-1"),
}


@pytest.mark.parametrize("name", HOSTILE_VALUES)
@pytest.mark.parametrize(
    ("path", "attribute"),
    [
        ("model.10", "mode"),
        ("model.3", "f"),
        ("model.0.conv", "stride"),
        ("model.22", "stride"),
        ("model.4.m.0", "add"),
    ],
)
def test_attributes_of_any_value(path, attribute, name, refused, detector_weights, tmp_path):
    file = TorchFile()
    changed = {path: {attribute: HOSTILE_VALUES[name]}}
    file.write(tmp_path / "a.pt", whole_model(file, detector_weights, changed=changed))
    refused(tmp_path / "a.pt", rf"{path}\.{attribute}: got ")
