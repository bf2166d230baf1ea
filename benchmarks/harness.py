"""What every benchmark shares: timing, the memcpy limit, and the line that is printed.

Other programs slow the machine down for a while and leave again. Figures that are to be compared are therefore measured
in turns (`measure_in_turns`), so that a slow moment falls on all of them, and the median is taken.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

_MEMCPY_BYTES = 64 << 20


@dataclass(frozen=True)
class Timing:
    """Wall-clock times of one function, in milliseconds."""

    median_ms: float
    minimum_ms: float
    repeats: int


@dataclass(frozen=True)
class Row:
    """One line of a benchmark.

    Attributes:
        name: the op.
        case: what it was given, e.g. "1080p->640 float32".
        median_ms: median wall-clock time of a call.
        bytes_moved: what the call must read and write at least; None where memory is not what limits it.
        memcpy_gigabytes_per_second: bytes a memcpy of this run read and wrote in a second; None without `bytes_moved`.
        peer_name: what a user would call instead.
        peer_ms: its median, measured in turns with ours; None where it is not installed.
    """

    name: str
    case: str
    median_ms: float
    bytes_moved: int | None = None
    memcpy_gigabytes_per_second: float | None = None
    peer_name: str | None = None
    peer_ms: float | None = None

    @property
    def gigabytes_per_second(self) -> float | None:
        """Bytes moved in a second, in units of 1e9."""
        return None if self.bytes_moved is None else self.bytes_moved / self.median_ms / 1e6

    @property
    def share_of_memcpy(self) -> float | None:
        """`gigabytes_per_second` as a share of the memcpy measured in the same run; above 1 where a cache serves."""
        if self.gigabytes_per_second is None or self.memcpy_gigabytes_per_second is None:
            return None
        return self.gigabytes_per_second / self.memcpy_gigabytes_per_second

    @property
    def ratio(self) -> float | None:
        """How many times as long the peer takes."""
        return None if self.peer_ms is None else self.peer_ms / self.median_ms


def measure_in_turns(
    functions: Sequence[Callable[[Any], object]],
    inputs: Sequence[Any],
    *,
    settle: int = 15,
    repeats: int = 45,
    burst: int = 15,
) -> list[Timing]:
    """Times several functions of one argument, in turns.

    Args:
        functions: each is called with one of `inputs`.
        inputs: used in rotation; give enough of them that they do not all lie in a cache.
        settle: untimed calls that each turn begins with. Whatever ran before has left the caches full of its own: the
            letterbox of a 1080p image takes three times as long at first, and about twelve calls until the shared cache
            holds its images again.
        repeats: timed calls of each function.
        burst: timed calls of a function before it is the next one's turn. Few share slow moments better.

    Returns:
        One Timing for each function, in their order.

    Raises:
        ValueError: no inputs, or `repeats` or `burst` below 1.
    """
    if not inputs or repeats < 1 or burst < 1:
        raise ValueError(f"{len(inputs)} inputs, repeats={repeats}, burst={burst}; give at least one of each")
    times_ms: list[list[float]] = [[] for _ in functions]
    for start in range(0, repeats, burst):
        for times, function in zip(times_ms, functions, strict=True):
            for turn in range(settle):
                function(inputs[turn % len(inputs)])
            for turn in range(start, min(start + burst, repeats)):
                argument = inputs[turn % len(inputs)]
                begin = time.perf_counter_ns()
                function(argument)
                times.append((time.perf_counter_ns() - begin) / 1e6)
    return [Timing(statistics.median(times), min(times), repeats) for times in times_ms]


def measure(function: Callable[[Any], object], inputs: Sequence[Any], *, settle: int = 15, repeats: int = 45) -> Timing:
    """Times one function of one argument; see `measure_in_turns`."""
    return measure_in_turns([function], inputs, settle=settle, repeats=repeats)[0]


def memcpy_gigabytes_per_second(*, repeats: int = 9) -> float:
    """The limit: bytes read and written in a second by one thread's memcpy between buffers larger than the caches."""
    source = np.ones(_MEMCPY_BYTES, dtype=np.uint8)
    target = np.zeros_like(source)
    timing = measure(lambda _: np.copyto(target, source), [None], settle=2, repeats=repeats)
    return 2 * _MEMCPY_BYTES / timing.median_ms / 1e6


def format_row(row: Row) -> str:
    """`preprocess  1080p->640 float16  0.420 ms   4.5 MB  10.8 GB/s   58 % of memcpy   (cv2+numpy 4.40 ms, 10.5x)`."""
    columns = [f"{row.name:<20} {row.case:<34} {row.median_ms:8.3f} ms"]
    if row.bytes_moved is not None and row.gigabytes_per_second is not None:
        columns.append(f"{row.bytes_moved / 1e6:6.2f} MB  {row.gigabytes_per_second:6.1f} GB/s")
    if row.share_of_memcpy is not None:
        columns.append(f"{100 * row.share_of_memcpy:4.0f} % of memcpy")
    if row.peer_ms is not None:
        columns.append(f"({row.peer_name} {row.peer_ms:.3f} ms, {row.ratio:.1f}x)")
    elif row.peer_name is not None:
        columns.append(f"({row.peer_name}: not installed here, not timed)")
    return "   ".join(columns)


def rows_as_json(rows: Sequence[Row]) -> str:
    """The rows as a JSON array, the derived figures included."""
    derived = ("gigabytes_per_second", "share_of_memcpy", "ratio")
    return json.dumps([asdict(row) | {name: getattr(row, name) for name in derived} for row in rows], indent=2)


def print_rows(rows: Sequence[Row], *, as_json: bool) -> None:
    """What a benchmark module run by hand ends with."""
    print(rows_as_json(rows) if as_json else "\n".join(format_row(row) for row in rows))
