"""The YOLOv8 layer table: scales, layers and their convolutions, all computed from a few rules.

Source: the published YOLOv8 architecture as described by its state dicts; parameter counts of all networks are tested.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

STRIDES = (8, 16, 32)
LARGEST_STRIDE = STRIDES[-1]

LayerKind = Literal["convolution", "c2f", "sppf", "upsample", "concat"]
ConvolutionKind = Literal["convolution", "transposed", "linear"]


@dataclass(frozen=True)
class Scale:
    """One size of the family: base widths, cut to `max_channels`, are multiplied by `width`, repeats by `depth`."""

    letter: str
    depth: float
    width: float
    max_channels: int

    def channels(self, base: int) -> int:
        """Output channels of a layer whose base width is `base`: a multiple of 8."""
        return math.ceil(min(base, self.max_channels) * self.width / 8) * 8

    def repeats(self, base: int) -> int:
        """Bottlenecks of a C2f whose base count is `base`."""
        return max(round(base * self.depth), 1)


SCALES = {
    "n": Scale("n", 0.33, 0.25, 1024),
    "s": Scale("s", 0.33, 0.50, 1024),
    "m": Scale("m", 0.67, 0.75, 768),
    "l": Scale("l", 1.00, 1.00, 512),
    "x": Scale("x", 1.00, 1.25, 512),
}


@dataclass(frozen=True)
class Layer:
    """One row of the table.

    sources are indices of earlier layers (-1: the image), stride is that of its output to the image, repeats and
    shortcut belong to C2f alone.
    """

    index: int
    kind: LayerKind
    sources: tuple[int, ...]
    in_channels: int
    out_channels: int
    stride: int
    repeats: int = 0
    shortcut: bool = False

    @property
    def name(self) -> str:
        """The module's name in a checkpoint."""
        return f"model.{self.index}"


@dataclass(frozen=True)
class Convolution:
    """One convolution with "same" padding, or what stands in the place of one.

    With `batch_norm` it is a block (convolution without bias, batch normalisation, SiLU) whose weights are
    `<name>.conv.*` and `<name>.bn.*`; without, a plain convolution with `<name>.weight` and `<name>.bias`. Kinds
    "transposed" (every pixel becomes kernel x kernel pixels) and "linear" (a product with a matrix) are plain.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: int = 1
    stride: int = 1
    batch_norm: bool = True
    kind: ConvolutionKind = "convolution"

    def weight_shapes(self, *, folded: bool) -> dict[str, tuple[int, ...]]:
        """Shapes of its weights by key; `folded`: the batch normalisation has been folded into the convolution."""
        kernel_shape: tuple[int, ...] = (self.out_channels, self.in_channels, self.kernel, self.kernel)
        if self.kind == "transposed":
            kernel_shape = (self.in_channels, self.out_channels, self.kernel, self.kernel)
        elif self.kind == "linear":
            kernel_shape = (self.out_channels, self.in_channels)
        per_channel = (self.out_channels,)
        if not self.batch_norm:
            return {f"{self.name}.weight": kernel_shape, f"{self.name}.bias": per_channel}
        if folded:
            return {f"{self.name}.conv.weight": kernel_shape, f"{self.name}.conv.bias": per_channel}
        names = ("weight", "bias", "running_mean", "running_var")
        return {f"{self.name}.conv.weight": kernel_shape} | {f"{self.name}.bn.{name}": per_channel for name in names}


# (kind, sources, base width, base repeats, shortcut), as in the published configuration: layers 0 to 21, then the head.
# A classifier has those up to BACKBONE_END, without it, and then its head.
_ROWS: tuple[tuple[LayerKind, tuple[int, ...], int, int, bool], ...] = (
    ("convolution", (-1,), 64, 0, False),
    ("convolution", (0,), 128, 0, False),
    ("c2f", (1,), 128, 3, True),
    ("convolution", (2,), 256, 0, False),
    ("c2f", (3,), 256, 6, True),
    ("convolution", (4,), 512, 0, False),
    ("c2f", (5,), 512, 6, True),
    ("convolution", (6,), 1024, 0, False),
    ("c2f", (7,), 1024, 3, True),
    ("sppf", (8,), 1024, 0, False),
    ("upsample", (9,), 0, 0, False),
    ("concat", (10, 6), 0, 0, False),
    ("c2f", (11,), 512, 3, False),
    ("upsample", (12,), 0, 0, False),
    ("concat", (13, 4), 0, 0, False),
    ("c2f", (14,), 256, 3, False),
    ("convolution", (15,), 256, 0, False),
    ("concat", (16, 12), 0, 0, False),
    ("c2f", (17,), 512, 3, False),
    ("convolution", (18,), 512, 0, False),
    ("concat", (19, 9), 0, 0, False),
    ("c2f", (20,), 1024, 3, False),
)
BACKBONE_END = 9
# The layers that a head of three levels reads.
HEAD_SOURCES = (15, 18, 21)


def layers(scale: Scale, end: int = len(_ROWS)) -> tuple[Layer, ...]:
    """Layers 0 to `end`, without it: backbone and neck, or the backbone alone."""
    table: list[Layer] = []
    for index, (kind, sources, base_width, base_repeats, shortcut) in enumerate(_ROWS[:end]):
        source_channels = [3 if source < 0 else table[source].out_channels for source in sources]
        in_channels = sum(source_channels)
        stride = 1 if sources[0] < 0 else table[sources[0]].stride
        if kind == "convolution":
            stride *= 2
        elif kind == "upsample":
            stride //= 2
        table.append(
            Layer(
                index,
                kind,
                sources,
                in_channels,
                scale.channels(base_width) if base_width else in_channels,
                stride,
                scale.repeats(base_repeats) if base_repeats else 0,
                shortcut,
            )
        )
    return tuple(table)


def layer_convolutions(layer: Layer) -> Iterator[Convolution]:
    """The convolutions of one layer, in running order."""
    name, inputs, outputs = layer.name, layer.in_channels, layer.out_channels
    if layer.kind == "convolution":
        yield Convolution(name, inputs, outputs, kernel=3, stride=2)
    elif layer.kind == "c2f":
        hidden = outputs // 2
        yield Convolution(f"{name}.cv1", inputs, 2 * hidden, kernel=1)
        for repeat in range(layer.repeats):
            yield Convolution(f"{name}.m.{repeat}.cv1", hidden, hidden, kernel=3)
            yield Convolution(f"{name}.m.{repeat}.cv2", hidden, hidden, kernel=3)
        yield Convolution(f"{name}.cv2", (2 + layer.repeats) * hidden, outputs, kernel=1)
    elif layer.kind == "sppf":
        yield Convolution(f"{name}.cv1", inputs, inputs // 2, kernel=1)
        yield Convolution(f"{name}.cv2", 2 * inputs, outputs, kernel=1)
