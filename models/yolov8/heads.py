"""The four heads: what they are made of, and what they put out.

Detection has two branches at each level, boxes and classes. Segmentation adds a branch of mask coefficients, and the
prototypes that these weight; pose adds a branch of keypoints. Classification has neither levels nor branches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rfkernels.models.yolov8.layers import HEAD_SOURCES, STRIDES, Convolution
from rfkernels.models.yolov8.network import Network

BINS_PER_SIDE = 16
BOX_CHANNELS = 4 * BINS_PER_SIDE
MASK_CHANNELS = 32
PROTOTYPES_OUTPUT = "prototypes"
PROTOTYPE_STRIDE = 4
LOGITS_OUTPUT = "logits"

_PROTOTYPE_BASE_WIDTH = 256
_CLASSIFY_WIDTH = 1280
_MOST_HIDDEN_FOR_CLASSES = 100


@dataclass(frozen=True)
class Branch:
    """One kind of output at every level: two blocks of 3 x 3 convolutions and a plain convolution 1 x 1.

    Attributes:
        module: its name within the head ("cv2").
        output: the outputs of the graph are `<output>_<stride>`.
        hidden: channels between its convolutions. channels: of the output.
    """

    module: str
    output: str
    hidden: int
    channels: int


@dataclass(frozen=True)
class Prototypes:
    """The branch of segmentation that reads the first level alone and doubles its size."""

    first: Convolution
    upsample: Convolution
    second: Convolution
    third: Convolution


def branches(network: Network) -> tuple[Branch, ...]:
    """The branches of a head of three levels, in the order of the graph's outputs; none for a classifier."""
    if network.is_classifier:
        return ()
    first_width = _level_channels(network)[0]
    found = [
        Branch("cv2", "box", max(16, first_width // 4, BOX_CHANNELS), BOX_CHANNELS),
        Branch(
            "cv3", "class", max(first_width, min(network.class_count, _MOST_HIDDEN_FOR_CLASSES)), network.class_count
        ),
    ]
    if network.task == "segment":
        found.append(Branch("cv4", "coefficients", max(first_width // 4, MASK_CHANNELS), MASK_CHANNELS))
    elif network.task == "pose":
        channels = keypoint_channels(network)
        found.append(Branch("cv4", "keypoints", max(first_width // 4, channels), channels))
    return tuple(found)


def keypoint_channels(network: Network) -> int:
    """Channels of a pose network's keypoints: point * numbers of a point + (x, y, logit of the confidence)."""
    assert network.keypoint_shape is not None, "a pose network without the shape of its keypoints"
    count, values = network.keypoint_shape
    return count * values


def branch_convolutions(network: Network, branch: Branch, level: int) -> tuple[Convolution, Convolution, Convolution]:
    """The three convolutions of a branch at a level."""
    name = f"{network.head_name}.{branch.module}.{level}"
    return (
        Convolution(f"{name}.0", _level_channels(network)[level], branch.hidden, kernel=3),
        Convolution(f"{name}.1", branch.hidden, branch.hidden, kernel=3),
        Convolution(f"{name}.2", branch.hidden, branch.channels, batch_norm=False),
    )


def prototypes(network: Network) -> Prototypes:
    """The convolutions that make the prototypes of a segmentation network."""
    name = f"{network.head_name}.proto"
    width = network.rules.channels(_PROTOTYPE_BASE_WIDTH)
    return Prototypes(
        Convolution(f"{name}.cv1", _level_channels(network)[0], width, kernel=3),
        Convolution(f"{name}.upsample", width, width, kernel=2, stride=2, batch_norm=False, kind="transposed"),
        Convolution(f"{name}.cv2", width, width, kernel=3),
        Convolution(f"{name}.cv3", width, MASK_CHANNELS),
    )


def classifier(network: Network) -> tuple[Convolution, Convolution]:
    """A classifier's head: a block before the mean over the image, and the matrix after it."""
    name = network.head_name
    return (
        Convolution(f"{name}.conv", network.layers[-1].out_channels, _CLASSIFY_WIDTH),
        Convolution(f"{name}.linear", _CLASSIFY_WIDTH, network.class_count, batch_norm=False, kind="linear"),
    )


def head_convolutions(network: Network) -> Iterator[Convolution]:
    """All convolutions of a head, in running order."""
    if network.is_classifier:
        yield from classifier(network)
        return
    for branch in branches(network):
        for level in range(len(STRIDES)):
            yield from branch_convolutions(network, branch, level)
    if network.task == "segment":
        made = prototypes(network)
        yield from (made.first, made.upsample, made.second, made.third)


def output_shapes(network: Network, image_size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Shapes of the graph's outputs without the batch dimension, by name and in order.

    Args:
        image_size: (height, width) of the input in pixels.
    """
    height, width = image_size
    shapes: dict[str, tuple[int, ...]] = {}
    for branch in branches(network):
        for stride in STRIDES:
            shapes[f"{branch.output}_{stride}"] = (branch.channels, height // stride, width // stride)
    if network.task == "segment":
        shapes[PROTOTYPES_OUTPUT] = (MASK_CHANNELS, height // PROTOTYPE_STRIDE, width // PROTOTYPE_STRIDE)
    elif network.is_classifier:
        shapes[LOGITS_OUTPUT] = (network.class_count,)
    return shapes


def _level_channels(network: Network) -> list[int]:
    table = network.layers
    return [table[source].out_channels for source in HEAD_SOURCES]
