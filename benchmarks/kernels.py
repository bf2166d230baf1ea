"""`rfkernels bench kernels`: what each CUDA kernel moves, counted on the emulated device, beside the least it could.

No times: nothing here runs on a GPU. What is counted is what a GPU's profiler counts (sectors of 32 bytes, requests of
a warp, conflicts of banks), and it is the same on every machine. With what ptxas wrote when the kernels were compiled
(`make nvcc`), also how much of a multiprocessor each kernel fills.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from rfkernels.benchmarks.kernel_cases import CASES, KernelRow, count, request
from rfkernels.benchmarks.kernel_resources import KernelOccupancy, Resources, occupancies, read_resources

from rfkernels import _native
from rfkernels.device import open_device
from rfkernels.errors import InvalidArgumentError, UnavailableError

_REQUESTS: tuple[Literal["detect", "segment", "pose"], ...] = ("detect", "segment", "pose")


def run_kernels(
    *, as_json: bool, ptxas_log: Path | None = None, on_progress: Callable[[int, int], None] | None = None
) -> str:
    """Every case, one line each, or as JSON.

    Args:
        as_json: "rows" and "occupancy", lists of objects.
        ptxas_log: what nvcc wrote with -Xptxas=-v; without it there is no occupancy.
        on_progress: told how many cases of how many are done.

    Raises:
        UnavailableError: this build has no emulated device, or does not count.
        InvalidArgumentError: the log cannot be read, or says nothing of kernels.
    """
    resources = [] if ptxas_log is None else _read_log(ptxas_log)
    rows = measure(on_progress)
    filled = occupancies(resources, (launch for row in rows for launch in row.launches))
    if as_json:
        made = [asdict(row) | {"ratio": row.ratio, "within_budget": row.is_within_budget} for row in rows]
        return json.dumps({"rows": made, "occupancy": [asdict(entry) for entry in filled]}, indent=2)
    parts = [_rows_table(rows)]
    if filled:
        parts.append(_occupancy_table(filled))
    return "\n\n".join(parts)


def measure(on_progress: Callable[[int, int], None] | None = None) -> list[KernelRow]:
    """The rows.

    Raises:
        UnavailableError: this build has no emulated device, or does not count.
    """
    if not hasattr(_native, "emulation") or not _native.emulation.has_hooks:
        raise UnavailableError(
            "this build of rfkernels has no emulated device that counts; build it with CUDA's headers"
        )
    device = open_device("emulated")
    rows: list[KernelRow] = []
    total = len(CASES) + len(_REQUESTS)
    for maker in CASES:
        if on_progress is not None:
            on_progress(len(rows), total)
        stream = device.stream()
        rows.append(count(maker(device, stream, len(rows)), stream))
    for task in _REQUESTS:
        if on_progress is not None:
            on_progress(len(rows), total)
        case, spent_since = request(device, task)
        row = count(case, device.stream())
        spent = spent_since()
        # The second wait is the one that counting takes.
        assert (spent["graph_launches"], spent["synchronizations"]) == (1, 2)
        rows.append(replace(row, host_bytes=row.host_bytes + spent["bytes_to_host"]))
    return rows


def _read_log(path: Path) -> list[Resources]:
    try:
        resources = read_resources(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise InvalidArgumentError(f"--ptxas is {path}, which cannot be read: {error.strerror}") from error
    if not resources:
        raise InvalidArgumentError(f"--ptxas is {path}, which says nothing of kernels; give what `make nvcc` has kept")
    return resources


def _rows_table(rows: Iterable[KernelRow]) -> str:
    lines = [f"{'case':40} launches  MB moved  of floor  MB to host  sectors/load  bank conflicts"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}x"
        sectors = row.load_sectors / max(1, row.load_requests)
        lines.append(
            f"{row.case:40} {len(row.launches):8} {row.moved_bytes / 1e6:9.3f} {ratio:>9} {row.host_bytes / 1e6:11.3f} "
            f"{sectors:13.2f} {row.bank_conflicts:15}{'' if row.is_within_budget else '  OVER BUDGET'}"
        )
    return "\n".join(lines)


def _occupancy_table(filled: Iterable[KernelOccupancy]) -> str:
    filled = list(filled)
    architectures = sorted({architecture for entry in filled for architecture in entry.warps})
    names = "".join(f"{f'sm_{architecture}':>8}" for architecture in architectures)
    lines = [f"{'warps on a multiprocessor, of those':40} lanes registers  shared{names}"]
    for entry in filled:
        shares = "".join(
            f"{f'{entry.warps[a]}/{entry.most_warps[a]}' if a in entry.warps else '':>8}" for a in architectures
        )
        lines.append(f"{entry.kernel:40} {entry.lanes:5} {entry.registers:9} {entry.shared_bytes:7}{shares}")
    return "\n".join(lines)
