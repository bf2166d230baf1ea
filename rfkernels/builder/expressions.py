"""What tensors of a network are, as expressions over its convolutions ("SiLU of convolution model.0.conv").

Equal expressions get one number, so that comparing two is comparing numbers, and a graph that uses a tensor a thousand
times costs no more than one that uses it once. Nothing recurses along a graph.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

_IMAGE_CHANNELS = 3
# The table concatenates at most 7 tensors; more than this are not taken apart.
_MOST_PARTS = 64
_MOST_CHANNELS = 2**31
_DEPTH_DESCRIBED = 2
_PARTS_DESCRIBED = 3


@dataclass(frozen=True)
class Window:
    """How a convolution or pooling moves over its input. pads: text where they depend on the size of the input."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...] | str
    dilations: tuple[int, ...]

    @classmethod
    def same(cls, kernel: int, stride: int) -> Window:
        """ "Same" padding, as everything in the layer table has it."""
        return cls((kernel, kernel), (stride, stride), (kernel // 2,) * 4, (1, 1))


class Expression(NamedTuple):
    """What a tensor is: an operation, the numbers of the expressions it takes, and all else that tells it apart."""

    kind: str
    sources: tuple[int, ...] = ()
    details: tuple[object, ...] = ()


class Expressions:
    """All expressions met, each once; an expression is known by its number."""

    def __init__(self) -> None:
        self._numbers: dict[Expression, int] = {}
        self._expressions: list[Expression] = []
        self._channels: list[int | None] = []

    def __getitem__(self, number: int) -> Expression:
        return self._expressions[number]

    def channels(self, number: int) -> int | None:
        """Channels of a tensor, None where they are not known."""
        return self._channels[number]

    def _intern(self, expression: Expression, channels: int | None) -> int:
        number = self._numbers.setdefault(expression, len(self._expressions))
        if number == len(self._expressions):
            self._expressions.append(expression)
            self._channels.append(channels)
        return number

    def image(self) -> int:
        return self._intern(Expression("image"), _IMAGE_CHANNELS)

    def other(self, operator: str, name: str) -> int:
        """A tensor that nothing is known of, another one for each name."""
        return self._intern(Expression("other", (), (operator, name)), None)

    def convolution(self, module: str, channels: int) -> int:
        return self._intern(Expression("convolution", (), (module,)), channels)

    def of_one(self, kind: str, source: int, *details: object) -> int:
        """An operation on one tensor that keeps its channels."""
        return self._intern(Expression(kind, (source,), details), self._channels[source])

    def add(self, left: int, right: int) -> int:
        channels = self._channels[left] if self._channels[left] == self._channels[right] else None
        return self._intern(Expression("add", (min(left, right), max(left, right))), channels)

    def slice_channels(self, source: int, start: int, stop: int) -> int | None:
        """Channels start to stop of a tensor; all of them are the tensor itself."""
        total = self._channels[source]
        if total is None or not 0 <= start < stop <= total:
            return None
        if (start, stop) == (0, total):
            return source
        if self[source].kind == "slice":
            outer, _ = _bounds(self[source])
            source, start, stop = self[source].sources[0], outer + start, outer + stop
        return self._intern(Expression("slice", (source,), (start, stop)), stop - start)

    def concat(self, sources: Iterable[int]) -> int | None:
        """Tensors one after the other: concatenations among them taken apart, neighbouring slices put together."""
        parts: list[int] = []
        for source in sources:
            for part in self[source].sources if self[source].kind == "concat" else (source,):
                joined = self._joined(parts[-1], part) if parts else None
                if joined is None:
                    parts.append(part)
                else:
                    parts[-1] = joined
                if len(parts) > _MOST_PARTS:
                    return None
        if len(parts) == 1:
            return parts[0]
        total: int | None = 0
        for part in parts:
            channels = self._channels[part]
            total = None if total is None or channels is None else total + channels
        # A graph may multiply its channels with every node; numbers without end would cost time without end.
        if total is not None and total > _MOST_CHANNELS:
            total = None
        return self._intern(Expression("concat", tuple(parts)), total)

    def _joined(self, first: int, second: int) -> int | None:
        """The one slice that two slices of a tensor make where the second begins at the end of the first."""
        left, right = self[first], self[second]
        if left.kind != "slice" or right.kind != "slice" or left.sources != right.sources:
            return None
        (start, middle), (begin, stop) = _bounds(left), _bounds(right)
        return self.slice_channels(left.sources[0], start, stop) if middle == begin else None

    def described(self, number: int, depth: int = _DEPTH_DESCRIBED) -> str:
        """An expression in words, a few levels deep."""
        expression = self[number]
        if expression.kind == "image":
            return "the image"
        if expression.kind == "convolution":
            return f"convolution {str(expression.details[0])[:80]}"
        if expression.kind == "other":
            operator, name = (str(detail)[:80] for detail in expression.details)
            return f"{name!r} ({operator or 'of no node'})"
        if depth == 0:
            return f"{expression.kind} ..."
        sources = [self.described(source, depth - 1) for source in expression.sources[:_PARTS_DESCRIBED]]
        if len(expression.sources) > _PARTS_DESCRIBED:
            sources.append(f"{len(expression.sources)} in all")
        details = f" {_detail_text(expression.details)}" if expression.details else ""
        return f"{expression.kind}{details} of {' and '.join(sources)}"


def _bounds(expression: Expression) -> tuple[int, int]:
    start, stop = expression.details
    assert isinstance(start, int)
    assert isinstance(stop, int)
    return start, stop


def _detail_text(details: tuple[object, ...]) -> str:
    texts = []
    for detail in details:
        if isinstance(detail, Window):
            texts += [f"{name} {shown(value)}" for name, value in vars(detail).items()]
        else:
            texts.append(str(detail)[:80])
    return ", ".join(texts)


def shown(value: object) -> str:
    """A number, text or tuple of numbers from a file, short whatever it is."""
    return str(list(value) if isinstance(value, tuple) else value)[:80]


def innermost_difference(expressions: Expressions, got: int, expected: int) -> tuple[int, int]:
    """Down from two different expressions, as long as the operation is the same: the pair that makes the difference.

    SiLU is left around its convolution, where all blocks end. It goes no deeper than the layer table does between two
    convolutions.
    """
    while True:
        left, right = expressions[got], expressions[expected]
        same_operation = (left.kind, left.details) == (right.kind, right.details)
        if not same_operation or len(left.sources) != len(right.sources) or left.kind == "SiLU":
            return got, expected
        got, expected = next(pair for pair in zip(left.sources, right.sources, strict=True) if pair[0] != pair[1])
