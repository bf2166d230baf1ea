"""YOLOv8 in plain torch.nn, with the parameter names of YOLOv8 checkpoints.

Layer `i` of the published table is `model.<i>`, so that a state dict of `Yolov8` has the keys `model.0.conv.weight` ...
`model.22.dfl.conv.weight` that every reader of YOLOv8 checkpoints expects. The network ends at the raw head
convolutions; `decode` turns them into boxes and scores.

One network can learn several tasks at once. A checkpoint of YOLOv8 has one task, and calls the branch that it adds
`cv4` whatever it is; here the branches have names of their own, which `export` turns into `cv4`.

Source: the published YOLOv8 layer table.
"""

import math
from collections.abc import Collection
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

Task = Literal["detect", "segment", "pose"]

STRIDES = (8, 16, 32)
HEAD_INDEX = 22
DISTANCE_BINS = 16
MASK_COEFFICIENTS = 32
PROTOTYPE_STRIDE = 4
KEYPOINT_VALUES = 3  # x, y, and the logit that the point is in the picture
BATCH_NORM_EPS = 1e-3
BATCH_NORM_MOMENTUM = 0.03


class Conv(nn.Module):
    """Convolution without bias, BatchNorm, SiLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels_out, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(self.bn(self.conv(x)), inplace=True)


class Bottleneck(nn.Module):
    """Two 3x3 convolutions, added to the input where `shortcut` says so."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = Conv(channels, channels, 3)
        self.cv2 = Conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C2f(nn.Module):
    """A 1x1 convolution cut in two, a chain of bottlenecks on the second half, everything concatenated, a 1x1 back."""

    def __init__(self, channels_in: int, channels_out: int, repeats: int, shortcut: bool) -> None:
        super().__init__()
        self.hidden = channels_out // 2
        self.cv1 = Conv(channels_in, 2 * self.hidden)
        self.cv2 = Conv((2 + repeats) * self.hidden, channels_out)
        self.m = nn.ModuleList(Bottleneck(self.hidden, shortcut) for _ in range(repeats))

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.cv1(x)]
        last = parts[0][:, self.hidden :]
        for bottleneck in self.m:
            last = bottleneck(last)
            parts.append(last)
        y: Tensor = self.cv2(torch.cat(parts, dim=1))
        return y


class SPPF(nn.Module):
    """Three chained 5x5 max pools, all four stages concatenated between two 1x1 convolutions."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.cv1 = Conv(channels_in, channels_in // 2)
        self.cv2 = Conv(channels_in * 2, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        stages = [self.cv1(x)]
        for _ in range(3):
            stages.append(functional.max_pool2d(stages[-1], kernel_size=5, stride=1, padding=2))
        y: Tensor = self.cv2(torch.cat(stages, dim=1))
        return y


class Concat(nn.Module):
    """Concatenation along the channels. Holds no parameters: it keeps the layer numbers of the table."""

    def forward(self, tensors: list[Tensor]) -> Tensor:
        return torch.cat(tensors, dim=1)


class DistributionFocal(nn.Module):
    """The fixed 1x1 convolution 0..15 of YOLOv8 checkpoints: the mean of each side's distance distribution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(DISTANCE_BINS, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data = torch.arange(DISTANCE_BINS, dtype=torch.float32).view(1, DISTANCE_BINS, 1, 1)

    def forward(self, distances: Tensor) -> Tensor:
        """[..., 4 * 16] logits to [..., 4] mean distances in grid units."""
        probabilities = distances.view(*distances.shape[:-1], 4, DISTANCE_BINS).softmax(-1)
        mean: Tensor = probabilities @ self.conv.weight.view(DISTANCE_BINS)
        return mean


class Prototypes(nn.Module):
    """The masks that all objects of a picture are mixed from, at stride 4, made of the features of stride 8."""

    def __init__(self, channels_in: int, hidden: int) -> None:
        super().__init__()
        self.cv1 = Conv(channels_in, hidden, 3)
        self.upsample = nn.ConvTranspose2d(hidden, hidden, 2, 2)
        self.cv2 = Conv(hidden, hidden, 3)
        self.cv3 = Conv(hidden, MASK_COEFFICIENTS)

    def forward(self, features: Tensor) -> Tensor:
        y: Tensor = self.cv3(self.cv2(self.upsample(self.cv1(features))))
        return y


class RawOutputs(NamedTuple):
    """What the head's last convolutions give.

    levels: of strides 8, 16 and 32, float [batch, 64 + class_count, height / stride, width / stride].
    coefficients: likewise [batch, 32, ...]; none without the segment task.
    prototypes: float [batch, 32, height / 4, width / 4], or None.
    keypoints: likewise [batch, 3 * keypoint_count, ...], x, y and a logit of each point; none without the pose task.
    """

    levels: list[Tensor]
    coefficients: list[Tensor]
    prototypes: Tensor | None
    keypoints: list[Tensor]


class Head(nn.Module):
    """Per level a box branch (64 channels: side * 16 + bin) and a class branch, and what the tasks add to them."""

    def __init__(
        self, class_count: int, channels: tuple[int, ...], *, tasks: Collection[Task], keypoint_count: int
    ) -> None:
        super().__init__()
        self.class_count = class_count
        box_hidden = max(16, channels[0] // 4, 4 * DISTANCE_BINS)
        class_hidden = max(channels[0], min(class_count, 100))
        self.cv2 = nn.ModuleList(_branch(level, box_hidden, 4 * DISTANCE_BINS) for level in channels)
        self.cv3 = nn.ModuleList(_branch(level, class_hidden, class_count) for level in channels)
        self.dfl = DistributionFocal()
        self.coefficients = nn.ModuleList()
        self.keypoints = nn.ModuleList()
        self.proto: Prototypes | None = None
        if "segment" in tasks:
            hidden = max(channels[0] // 4, MASK_COEFFICIENTS)
            self.coefficients.extend(_branch(level, hidden, MASK_COEFFICIENTS) for level in channels)
            self.proto = Prototypes(channels[0], channels[0])
        if "pose" in tasks:
            values = keypoint_count * KEYPOINT_VALUES
            hidden = max(channels[0] // 4, values)
            self.keypoints.extend(_branch(level, hidden, values) for level in channels)

    def forward(self, features: list[Tensor]) -> RawOutputs:
        levels = [
            torch.cat([box(level), scores(level)], dim=1)
            for level, box, scores in zip(features, self.cv2, self.cv3, strict=True)
        ]
        return RawOutputs(
            levels,
            [branch(level) for branch, level in zip(self.coefficients, features, strict=False)],
            None if self.proto is None else self.proto(features[0]),
            [branch(level) for branch, level in zip(self.keypoints, features, strict=False)],
        )

    def start_from_priors(self, image_size: int) -> None:
        """Set the last biases so that training starts from a few objects per image instead of half of all anchors.

        Source: the focal-loss paper's prior initialisation (Lin et al. 2017, section 4.1), here with five objects of
        `class_count` classes over the anchors of each level.
        """
        for stride, box, scores in zip(STRIDES, self.cv2, self.cv3, strict=True):
            assert isinstance(box, nn.Sequential)
            assert isinstance(scores, nn.Sequential)
            # First boxes are then about three cells wide. From equal biases they are fifteen cells wide, of which only
            # the finest level's overlap their objects, and the assignment gives it everything.
            falling = -0.5 * torch.arange(DISTANCE_BINS, dtype=torch.float32)
            box[-1].bias.data.copy_(falling.repeat(4))
            prior = 5 / self.class_count / (image_size / stride) ** 2
            nn.init.constant_(scores[-1].bias, math.log(prior / (1 - prior)))


def _branch(channels_in: int, hidden: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(Conv(channels_in, hidden, 3), Conv(hidden, hidden, 3), nn.Conv2d(hidden, channels_out, 1))


class Yolov8(nn.Module):
    """YOLOv8n: RGB float [batch, 3, height, width] in 0..1 to the raw outputs of its three levels.

    Height and width are multiples of 32. Boxes and classes are always there, masks and keypoints where `tasks` say so.
    """

    def __init__(self, class_count: int, *, tasks: Collection[Task] = ("detect",), keypoint_count: int = 0) -> None:
        super().__init__()
        self.class_count = class_count
        width = (16, 32, 64, 128, 256)
        self.model = nn.ModuleList(
            [
                Conv(3, width[0], 3, 2),
                Conv(width[0], width[1], 3, 2),
                C2f(width[1], width[1], 1, True),
                Conv(width[1], width[2], 3, 2),
                C2f(width[2], width[2], 2, True),
                Conv(width[2], width[3], 3, 2),
                C2f(width[3], width[3], 2, True),
                Conv(width[3], width[4], 3, 2),
                C2f(width[4], width[4], 1, True),
                SPPF(width[4], width[4]),
                nn.Upsample(scale_factor=2, mode="nearest"),
                Concat(),
                C2f(width[4] + width[3], width[3], 1, False),
                nn.Upsample(scale_factor=2, mode="nearest"),
                Concat(),
                C2f(width[3] + width[2], width[2], 1, False),
                Conv(width[2], width[2], 3, 2),
                Concat(),
                C2f(width[2] + width[3], width[3], 1, False),
                Conv(width[3], width[3], 3, 2),
                Concat(),
                C2f(width[3] + width[4], width[4], 1, False),
                Head(class_count, (width[2], width[3], width[4]), tasks=tasks, keypoint_count=keypoint_count),
            ]
        )

    @property
    def head(self) -> Head:
        head = self.model[-1]
        assert isinstance(head, Head)
        return head

    def forward(self, images: Tensor) -> RawOutputs:
        sources = {11: 6, 14: 4, 17: 12, 20: 9}  # the second input of each Concat
        outputs: list[Tensor] = []
        x = images
        for index, layer in enumerate(self.model[:-1]):
            x = layer([x, outputs[sources[index]]]) if index in sources else layer(x)
            outputs.append(x)
        raw: RawOutputs = self.head([outputs[15], outputs[18], outputs[21]])
        return raw


def rows_of(levels: list[Tensor]) -> Tensor:
    """Outputs of the three levels to float32 [batch, anchors, channels]."""
    return torch.cat([level.flatten(2) for level in levels], dim=2).float().transpose(1, 2)


def flatten(levels: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Raw levels to distance logits float32 [batch, anchors, 64] and class logits float32 [batch, anchors, classes]."""
    rows = rows_of(levels)
    # Contiguous: the caller looks at the distances as [..., 4, 16].
    return rows[..., : 4 * DISTANCE_BINS].contiguous(), rows[..., 4 * DISTANCE_BINS :]


def anchor_centres(levels: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Centres float32 [anchors, 2], x and y in grid units, and strides float32 [anchors, 1]; level by level."""
    centres, strides = [], []
    for stride, level in zip(STRIDES, levels, strict=True):
        height, width = level.shape[-2:]
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        centres.append(torch.stack([x, y], dim=-1).view(-1, 2))
        strides.append(torch.full((height * width, 1), float(stride)))
    return torch.cat(centres), torch.cat(strides)


def boxes_from_distances(distances: Tensor, centres: Tensor) -> Tensor:
    """Distances [..., anchors, 4] to the left, top, right and bottom edge, to x1 y1 x2 y2, all in grid units."""
    return torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], dim=-1)


def decode(levels: list[Tensor], head: Head) -> tuple[Tensor, Tensor]:
    """Raw levels to boxes float32 [batch, anchors, 4], x1 y1 x2 y2 pixels, and scores [batch, anchors, classes]."""
    distances, classes = flatten(levels)
    centres, strides = anchor_centres(levels)
    return boxes_from_distances(head.dfl(distances), centres) * strides, classes.sigmoid()


def keypoints_from_rows(rows: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Rows [..., 3 * keypoint_count] of anchors to [..., keypoint_count, 3]: x and y in pixels, and the logit.

    x = (2 * value + centre - 0.5) * stride, as YOLOv8 has it; centres [..., 2] in grid units, strides [..., 1].
    """
    points = rows.view(*rows.shape[:-1], -1, KEYPOINT_VALUES)
    places = (2 * points[..., :2] + (centres - 0.5)[..., None, :]) * strides[..., None]
    return torch.cat([places, points[..., 2:]], dim=-1)
