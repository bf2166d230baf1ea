"""The layer table against the published numbers of the architecture."""

import math

import pytest
from rfkernels.models.yolov8.layers import (
    DFL_KEY,
    SCALES,
    detect_convolutions,
    detect_weight_shapes,
    layers,
)

STATISTICS = (".running_mean", ".running_var")


def element_count(shapes):
    return sum(math.prod(shape) for shape in shapes.values())


@pytest.mark.parametrize(
    ("scale", "parameters", "folded_parameters"),
    [
        ("n", 3_157_200, 3_151_904),
        ("s", 11_166_560, 11_156_544),
        ("m", 25_902_640, 25_886_080),
        ("l", 43_691_520, 43_668_288),
        ("x", 68_229_648, 68_200_608),
    ],
)
def test_parameter_counts_are_the_published_ones(scale, parameters, folded_parameters):
    shapes = detect_weight_shapes(SCALES[scale], 80, folded=False)
    learned = {key: shape for key, shape in shapes.items() if not key.endswith(STATISTICS)}
    assert element_count(learned) == parameters
    assert element_count(detect_weight_shapes(SCALES[scale], 80, folded=True)) == folded_parameters


@pytest.mark.parametrize(
    ("scale", "entries", "convolutions"),
    [("n", 355, 64), ("s", 355, 64), ("m", 475, 84), ("l", 595, 104), ("x", 595, 104)],
)
def test_entry_counts_are_those_of_a_state_dict(scale, entries, convolutions):
    shapes = detect_weight_shapes(SCALES[scale], 80, folded=False)
    batch_norms = sum(key.endswith(".running_var") for key in shapes)
    assert len(shapes) + batch_norms == entries  # One num_batches_tracked for each batch normalisation.
    assert len(detect_convolutions(SCALES[scale], 80)) + 1 == convolutions  # And the DFL.


@pytest.mark.parametrize(
    ("index", "channels", "stride"),
    [
        (0, (16, 32, 48, 64, 80), 2),
        (1, (32, 64, 96, 128, 160), 4),
        (4, (64, 128, 192, 256, 320), 8),
        (6, (128, 256, 384, 512, 640), 16),
        (8, (256, 512, 576, 512, 640), 32),
        (9, (256, 512, 576, 512, 640), 32),
        (11, (384, 768, 960, 1024, 1280), 16),
        (14, (192, 384, 576, 768, 960), 8),
        (15, (64, 128, 192, 256, 320), 8),
        (17, (192, 384, 576, 768, 960), 16),
        (18, (128, 256, 384, 512, 640), 16),
        (20, (384, 768, 960, 1024, 1280), 32),
        (21, (256, 512, 576, 512, 640), 32),
    ],
)
def test_channels_and_strides(index, channels, stride):
    rows = [layers(scale)[index] for scale in SCALES.values()]
    assert tuple(row.out_channels for row in rows) == channels
    assert {row.stride for row in rows} == {stride}


def test_repeats():
    repeats = [tuple(layer.repeats for layer in layers(scale) if layer.kind == "c2f") for scale in SCALES.values()]
    assert repeats == [(1, 2, 2, 1, 1, 1, 1, 1)] * 2 + [(2, 4, 4, 2, 2, 2, 2, 2)] + [(3, 6, 6, 3, 3, 3, 3, 3)] * 2


@pytest.mark.parametrize(
    ("scale", "layer", "parameters"),
    [
        ("n", 0, 464),
        ("n", 4, 49_664),
        ("n", 9, 164_608),
        ("n", 12, 148_224),
        ("n", 22, 897_664),
        ("x", 2, 436_800),
        ("x", 8, 6_969_600),
        ("x", 15, 1_948_800),
        ("x", 21, 7_379_200),
        ("x", 22, 8_795_008),
    ],
)
def test_parameters_of_single_layers(scale, layer, parameters):
    shapes = detect_weight_shapes(SCALES[scale], 80, folded=False)
    chosen = {
        key: shape
        for key, shape in shapes.items()
        if key.startswith(f"model.{layer}.") and not key.endswith(STATISTICS)
    }
    assert element_count(chosen) == parameters


@pytest.mark.parametrize(
    ("class_count", "hidden"), [(1, 64), (64, 64), (65, 65), (80, 80), (100, 100), (101, 100), (365, 100)]
)
def test_hidden_width_of_the_class_branch(class_count, hidden):
    shapes = detect_weight_shapes(SCALES["n"], class_count, folded=True)
    assert shapes["model.22.cv3.0.0.conv.weight"] == (hidden, 64, 3, 3)
    assert shapes["model.22.cv3.2.2.weight"] == (class_count, hidden, 1, 1)


def test_the_dfl_is_part_of_the_table():
    assert detect_weight_shapes(SCALES["n"], 1, folded=True)[DFL_KEY] == (1, 16, 1, 1)
