"""`rfkernels bench gpu`: what the ops and a whole request take on a GPU, beside what its memory allows and peers.

Ours twice: by launches of a graph that holds many calls of the op, which is what it takes on the device, and by calls
from Python, one after the other, which is how peers are timed. Inputs rotate, so that no call finds its own in a cache.

On the emulated device everything is run once, and peers on the CPU: it shows that this works. Times of that say nothing
of a GPU, so none are given.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from rfkernels.benchmarks.gpu_requests import RequestTimes, time_requests
from rfkernels.benchmarks.kernel_cases import CASES, CaseMaker, KernelCase
from rfkernels.benchmarks.peers.gpu_ops import Peer, peers_of

from rfkernels.device import Device, DeviceMemory, Graph, Stream, open_device

_ROTATED = 4
_CALLS_IN_A_GRAPH = 64
_WARM_UP = 3
_COPIED_BYTES = 256 << 20


@dataclass(frozen=True)
class OpTimes:
    """What one case takes, in microseconds; None where nothing is timed.

    Attributes:
        case: what it is.
        in_graph: of a call in a graph of many; None too where the op cannot be captured.
        called: of a call from Python.
        floor: what the least bytes that must move take at the speed of a copy within the device.
        peers: by name, of a call from Python; None where the peer ran and was not timed.
    """

    case: str
    in_graph: float | None
    called: float | None
    floor: float | None
    peers: dict[str, float | None]


def run_gpu(
    *, device_name: str, repeats: int, as_json: bool, on_progress: Callable[[int, int], None] | None = None
) -> str:
    """The report.

    Args:
        device_name: "cuda", or "emulated", which times nothing.
        repeats: timed turns of each op, and requests.
        as_json: one object instead of tables.
        on_progress: told how many parts of how many are done.

    Raises:
        UnavailableError: there is no such device here.
    """
    device = open_device(device_name)
    bytes_per_microsecond = _copy_speed(device, repeats) if device.kind == "cuda" else None
    total = len(CASES) + 1
    times = []
    for done, maker in enumerate(CASES):
        if on_progress is not None:
            on_progress(done, total)
        times.append(_time_op(device, maker, repeats, bytes_per_microsecond))
    if on_progress is not None:
        on_progress(len(CASES), total)
    requests = time_requests(device, repeats)
    if as_json:
        return json.dumps(
            {
                "device": repr(device),
                "copy_gigabytes_per_second": None if bytes_per_microsecond is None else bytes_per_microsecond / 1e3,
                "ops": [asdict(entry) for entry in times],
                "requests": [asdict(entry) for entry in requests],
            },
            indent=2,
        )
    return "\n".join(_lines(device, bytes_per_microsecond, times, requests))


def _time_op(device: Device, maker: CaseMaker, repeats: int, bytes_per_microsecond: float | None) -> OpTimes:
    stream = device.stream()
    is_timed = device.kind == "cuda"
    cases = [maker(device, stream, seed) for seed in range(_ROTATED if is_timed else 1)]
    name = cases[0].name
    # What a first call sets up is no part of a graph.
    for case in cases:
        case.enqueue(stream)
    stream.synchronize()
    calls = _CALLS_IN_A_GRAPH if is_timed else 1
    graphs: list[Graph] = []
    if cases[0].is_capturable:
        with stream.capture() as graphs:
            _enqueue_in_turns(cases, calls, stream)

    def in_graph() -> None:
        for graph in graphs:
            graph.launch(stream)
        stream.synchronize()

    def called() -> None:
        _enqueue_in_turns(cases, calls, stream)
        stream.synchronize()

    peers = peers_of(name, "cuda" if is_timed else "cpu", range(len(cases)))
    functions = [in_graph, called, *(_in_turns(peer, calls) for peer in peers)]
    if not is_timed:
        for function in functions:
            function()
        return OpTimes(name, None, None, None, {peer.name: None for peer in peers})
    first, second, *others = (median / calls for median in _medians(functions, repeats))
    floor = cases[0].budget.floor
    return OpTimes(
        case=name,
        in_graph=first if graphs else None,
        called=second,
        floor=None if floor is None or bytes_per_microsecond is None else floor / bytes_per_microsecond,
        peers={peer.name: median for peer, median in zip(peers, others, strict=True)},
    )


def _enqueue_in_turns(cases: Sequence[KernelCase], calls: int, stream: Stream) -> None:
    for turn in range(calls):
        cases[turn % len(cases)].enqueue(stream)


def _in_turns(peer: Peer, calls: int) -> Callable[[], None]:
    def run() -> None:
        for turn in range(calls):
            peer.calls[turn % len(peer.calls)]()
        peer.wait()

    return run


def _medians(functions: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Microseconds of each, all of them in turns."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(_WARM_UP + repeats):
        for function, taken in zip(functions, times, strict=True):
            begin = time.perf_counter_ns()
            function()
            if turn >= _WARM_UP:
                taken.append((time.perf_counter_ns() - begin) / 1e3)
    return [statistics.median(taken) for taken in times]


def _copy_speed(device: Device, repeats: int) -> float:
    """Bytes that a copy within the device reads and writes, in a microsecond."""
    source = DeviceMemory(device, _COPIED_BYTES, "source of a copy")
    target = DeviceMemory(device, _COPIED_BYTES, "target of a copy")
    stream = device.stream()
    device.native.fill(source.address, 1, source.size, stream.handle)

    def copy() -> None:
        device.native.copy(target.address, source.address, _COPIED_BYTES, "within_device", stream.handle)
        stream.synchronize()

    (median,) = _medians([copy], repeats)
    return 2 * _COPIED_BYTES / median


def _lines(
    device: Device, bytes_per_microsecond: float | None, times: Sequence[OpTimes], requests: Sequence[RequestTimes]
) -> list[str]:
    lines = [repr(device)]
    if bytes_per_microsecond is None:
        lines.append("no GPU: everything was run once on the emulated device, peers on the CPU, and nothing was timed")
    else:
        lines.append(f"a copy within it moves {bytes_per_microsecond / 1e3:.0f} GB/s, by which floors are reckoned")
    lines += ["", f"{'op, in us':40} {'in graph':>9} {'of floor':>9} {'called':>9}  peers"]
    for entry in times:
        share = None if entry.in_graph is None or entry.floor is None else 100 * entry.floor / entry.in_graph
        peers = ", ".join(f"{name} {'ran' if taken is None else f'{taken:.1f}'}" for name, taken in entry.peers.items())
        lines.append(
            f"{entry.case:40} {_shown(entry.in_graph, 2)} {_shown(share, 0, ' %')} {_shown(entry.called, 1)}  {peers}"
        )
    lines += ["", f"{'request, in ms':56} {'p50':>9} {'p99':>9} {'network':>9}"]
    for request in requests:
        lines.append(
            f"{request.case:56} {_shown(request.median, 3)} {_shown(request.high, 3)} {_shown(request.network, 3)}"
            f"{'' if request.note is None else f'  {request.note}'}"
        )
    return lines


def _shown(value: float | None, digits: int, unit: str = "") -> str:
    text = "-" if value is None else f"{value:.{digits}f}{unit}"
    return f"{text:>9}"
