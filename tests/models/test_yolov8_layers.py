"""The layer table and the heads against the published numbers of the architecture."""

import math

import pytest
from rfkernels.models.yolov8.heads import output_shapes
from rfkernels.models.yolov8.layers import SCALES, layers
from rfkernels.models.yolov8.network import Network
from rfkernels.models.yolov8.weights import convolutions, dfl_key, weight_shapes

from rfkernels.errors import InvalidArgumentError

STATISTICS = (".running_mean", ".running_var")
# Of the published networks: 80 classes of COCO, persons with 17 keypoints, 1000 classes of ImageNet.
PUBLISHED = {"detect": (80, None), "segment": (80, None), "pose": (1, (17, 3)), "classify": (1000, None)}


def published(task, scale):
    return Network(task, scale, *PUBLISHED[task])


def element_count(shapes):
    return sum(math.prod(shape) for shape in shapes.values())


@pytest.mark.parametrize(
    ("task", "scale", "parameters", "folded_parameters"),
    [
        ("detect", "n", 3_157_200, 3_151_904),
        ("detect", "s", 11_166_560, 11_156_544),
        ("detect", "m", 25_902_640, 25_886_080),
        ("detect", "l", 43_691_520, 43_668_288),
        ("detect", "x", 68_229_648, 68_200_608),
        ("segment", "n", 3_409_968, 3_404_320),
        ("segment", "s", 11_821_056, 11_810_560),
        ("segment", "m", 27_285_968, 27_268_704),
        ("segment", "l", 45_997_728, 45_973_568),
        ("segment", "x", 71_827_888, 71_797_696),
        ("pose", "n", 3_295_470, 3_289_964),
        ("pose", "s", 11_626_046, 11_615_724),
        ("pose", "m", 26_464_462, 26_447_596),
        ("pose", "l", 44_489_196, 44_465_580),
        ("pose", "x", 69_491_724, 69_462_204),
        ("classify", "n", 2_719_288, 2_715_880),
        ("classify", "s", 6_361_736, 6_356_200),
        ("classify", "m", 17_053_336, 17_043_656),
        ("classify", "l", 37_480_744, 37_465_576),
        ("classify", "x", 57_422_840, 57_404_200),
    ],
)
def test_parameter_counts_are_the_published_ones(task, scale, parameters, folded_parameters):
    network = published(task, scale)
    shapes = weight_shapes(network, folded=False)
    learned = {key: shape for key, shape in shapes.items() if not key.endswith(STATISTICS)}
    assert element_count(learned) == parameters
    assert element_count(weight_shapes(network, folded=True)) == folded_parameters


@pytest.mark.parametrize(
    ("task", "scale", "entries", "convolution_count"),
    [
        ("detect", "n", 355, 64),
        ("detect", "s", 355, 64),
        ("detect", "m", 475, 84),
        ("detect", "l", 595, 104),
        ("detect", "x", 595, 104),
        ("segment", "n", 417, 77),
        ("segment", "m", 537, 97),
        ("segment", "x", 657, 117),
        ("pose", "s", 397, 73),
        ("pose", "m", 517, 93),
        ("pose", "l", 637, 113),
        ("classify", "n", 158, 26),
        ("classify", "m", 230, 38),
        ("classify", "x", 302, 50),
    ],
)
def test_entry_counts_are_those_of_a_state_dict(task, scale, entries, convolution_count):
    network = published(task, scale)
    shapes = weight_shapes(network, folded=False)
    batch_norms = sum(key.endswith(".running_var") for key in shapes)
    assert len(shapes) + batch_norms == entries  # One num_batches_tracked for each batch normalisation.
    # The published counts have the DFL and the transposed convolution among them, but not the classifier's matrix.
    has_dfl = dfl_key(network) is not None
    assert sum(made.kind != "linear" for made in convolutions(network)) + has_dfl == convolution_count


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


def test_a_classifier_ends_with_the_backbone_in_its_full_width():
    tables = [published("classify", scale).layers for scale in SCALES]
    assert {len(table) for table in tables} == {9}
    assert tuple(table[-1].out_channels for table in tables) == (256, 512, 768, 1024, 1280)


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
    shapes = weight_shapes(published("detect", scale), folded=False)
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
    shapes = weight_shapes(Network("detect", "n", class_count), folded=True)
    assert shapes["model.22.cv3.0.0.conv.weight"] == (hidden, 64, 3, 3)
    assert shapes["model.22.cv3.2.2.weight"] == (class_count, hidden, 1, 1)


@pytest.mark.parametrize(
    ("task", "scale", "shape", "hidden", "channels"),
    [
        ("segment", "n", None, 32, 32),
        ("segment", "m", None, 48, 32),
        ("segment", "x", None, 80, 32),
        ("pose", "n", (17, 3), 51, 51),
        ("pose", "l", (17, 3), 64, 51),
        ("pose", "x", (17, 3), 80, 51),
        ("pose", "n", (4, 2), 16, 8),
        ("pose", "s", (1, 2), 32, 2),
        ("pose", "x", (133, 3), 399, 399),
    ],
)
def test_widths_of_the_fourth_branch(task, scale, shape, hidden, channels):
    shapes = weight_shapes(Network(task, scale, 2, shape), folded=True)
    assert shapes["model.22.cv4.0.0.conv.weight"][0] == hidden
    assert shapes["model.22.cv4.1.1.conv.weight"] == (hidden, hidden, 3, 3)
    assert shapes["model.22.cv4.2.2.weight"] == (channels, hidden, 1, 1)


def test_the_weights_of_a_transposed_convolution_begin_with_its_inputs():
    shapes = weight_shapes(Network("segment", "x", 1), folded=True)
    assert shapes["model.22.proto.upsample.weight"] == (320, 320, 2, 2)
    assert shapes["model.22.proto.upsample.bias"] == (320,)
    assert shapes["model.22.proto.cv3.conv.weight"] == (32, 320, 1, 1)


def test_the_dfl_is_part_of_the_table():
    shapes = weight_shapes(Network("detect", "n", 1), folded=True)
    assert shapes["model.22.dfl.conv.weight"] == (1, 16, 1, 1)
    assert dfl_key(Network("classify", "n", 1)) is None


def test_the_outputs_of_each_task():
    detect = {
        f"{kind}_{s}": (channels, 64 // s, 96 // s)
        for kind, channels in (("box", 64), ("class", 7))
        for s in (8, 16, 32)
    }
    assert output_shapes(Network("detect", "n", 7), (64, 96)) == detect
    more = {f"coefficients_{s}": (32, 64 // s, 96 // s) for s in (8, 16, 32)} | {"prototypes": (32, 16, 24)}
    assert output_shapes(Network("segment", "n", 7), (64, 96)) == detect | more
    more = {f"keypoints_{s}": (10, 64 // s, 96 // s) for s in (8, 16, 32)}
    assert output_shapes(Network("pose", "n", 7, (5, 2)), (64, 96)) == detect | more
    assert output_shapes(Network("classify", "n", 7), (65, 65)) == {"logits": (7,)}


@pytest.mark.parametrize(
    "arguments", [("obb", "n", 1), ("pose", "n", 1), ("detect", "n", 1, (17, 3)), ("classify", "n", 1, (17, 3))]
)
def test_networks_that_there_are_not(arguments):
    with pytest.raises(InvalidArgumentError, match=r"task|keypoint_shape"):
        Network(*arguments)
