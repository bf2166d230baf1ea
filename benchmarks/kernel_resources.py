"""What ptxas says of each kernel: registers, shared memory, spills. `python benchmarks/kernel_resources.py BUILD_LOG`.

Fails where a kernel spills or has a stack, for any architecture.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

_COMPILING = re.compile(r"Compiling entry function '(?P<name>\w+)' for 'sm_(?P<architecture>\d+)'")
_STACK = re.compile(
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
)
_USED = re.compile(r"Used (?P<registers>\d+) registers(?:.*?, (?P<shared>\d+) bytes smem)?")
_NAME = re.compile(r"(\d+)(?=[A-Za-z_])")


class Resources(NamedTuple):
    """Of one kernel on one architecture.

    Attributes:
        kernel: its name, without namespaces and template arguments.
        architecture: 90 is sm_90.
        registers: of a lane.
        shared_bytes: static, of a block.
        stack_bytes, spilled_bytes: of a lane, in local memory; both are to be 0.
    """

    kernel: str
    architecture: int
    registers: int
    shared_bytes: int
    stack_bytes: int
    spilled_bytes: int


class Launched(Protocol):
    """A launch, as `kernel_cases.Launch` is one."""

    @property
    def kernel(self) -> str:
        """Its name, and its variant's behind it."""

    @property
    def lanes(self) -> int:
        """Of a block."""

    @property
    def shared_bytes(self) -> int:
        """Of a block."""


@dataclass(frozen=True)
class KernelOccupancy:
    """How much of a multiprocessor a kernel fills, by CUDA's own calculator.

    Attributes:
        kernel: its name.
        lanes: of a block; the most that was launched.
        registers, shared_bytes: the most that a variant takes on any architecture, and of a launch.
        warps: at a time, by architecture, of the variant that takes most; 90 is sm_90.
        most_warps: that there is room for.
    """

    kernel: str
    lanes: int
    registers: int
    shared_bytes: int
    warps: dict[int, int]
    most_warps: dict[int, int]


def occupancies(resources: Sequence[Resources], launches: Iterable[Launched]) -> list[KernelOccupancy]:
    """Of each kernel that was launched and compiled, by name."""
    # CUDA's calculator is in the package; the rest of this file runs without it.
    from rfkernels import _native

    lanes: dict[str, int] = {}
    shared: dict[str, int] = {}
    names = {entry.kernel for entry in resources}
    for launch in launches:
        # preprocess_bilinear and draw_tiles<...> are variants.
        fitting = [name for name in names if launch.kernel.startswith(name)]
        if fitting:
            name = max(fitting, key=len)
            lanes[name] = max(lanes.get(name, 0), launch.lanes)
            shared[name] = max(shared.get(name, 0), launch.shared_bytes)
    found = []
    for name in sorted(lanes):
        warps, most_warps = {}, {}
        variants = [entry for entry in resources if entry.kernel == name]
        for architecture in sorted({entry.architecture for entry in variants}):
            _, warps[architecture], most_warps[architecture] = min(
                _native.emulation.occupancy(
                    architecture,
                    lanes=lanes[name],
                    registers=entry.registers,
                    shared_bytes=max(entry.shared_bytes, shared[name]),
                )
                for entry in variants
                if entry.architecture == architecture
            )
        registers = max(entry.registers for entry in variants)
        shared_bytes = max([shared[name], *(entry.shared_bytes for entry in variants)])
        found.append(KernelOccupancy(name, lanes[name], registers, shared_bytes, warps, most_warps))
    return found


def read_resources(log: str) -> list[Resources]:
    """What ptxas wrote with -v, in the order in which it did; of what was compiled again, the last."""
    found: dict[tuple[str, int], Resources] = {}
    mangled = ""
    name, architecture, stack, spilled = "", 0, 0, 0
    for line in log.splitlines():
        if match := _COMPILING.search(line):
            mangled, architecture = match["name"], int(match["architecture"])
            name = _plain_name(mangled)
        elif match := _STACK.search(line):
            stack, spilled = int(match["stack"]), int(match["stores"]) + int(match["loads"])
        elif (match := _USED.search(line)) and name:
            shared = int(match["shared"] or 0)
            resources = Resources(name, architecture, int(match["registers"]), shared, stack, spilled)
            found[mangled, architecture] = resources
            name = ""
    return list(found.values())


def format_table(resources: list[Resources]) -> str:
    """One line for each kernel: the most that it takes on any architecture."""
    lines = [f"{'kernel':36} {'variants':>8} {'registers':>9} {'shared':>8} {'stack':>6} {'spilled':>8}"]
    for kernel in sorted({entry.kernel for entry in resources}):
        entries = [entry for entry in resources if entry.kernel == kernel]
        lines.append(
            f"{kernel:36} {len(entries):8} {max(entry.registers for entry in entries):9} "
            f"{max(entry.shared_bytes for entry in entries):8} {max(entry.stack_bytes for entry in entries):6} "
            f"{max(entry.spilled_bytes for entry in entries):8}"
        )
    return "\n".join(lines)


def _plain_name(mangled: str) -> str:
    """The last name of a mangled one: _ZN9rfkernels4cuda...10preprocessI... is preprocess."""
    names, position = [], mangled.find("N") + 1
    while match := _NAME.match(mangled, position):
        length = int(match[1])
        names.append(mangled[match.end() : match.end() + length])
        position = match.end() + length
    return names[-1] if names else mangled


def main() -> int:
    """Print the table; 1 where a kernel has a stack or spills, or there is none."""
    resources = read_resources(Path(sys.argv[1]).read_text(encoding="utf-8", errors="replace"))
    print(format_table(resources))
    architectures = sorted({entry.architecture for entry in resources})
    bad = [entry for entry in resources if entry.stack_bytes or entry.spilled_bytes]
    for entry in bad:
        spilled = f"{entry.stack_bytes} bytes of stack, {entry.spilled_bytes} spilled"
        print(f"{entry.kernel} on sm_{entry.architecture}: {spilled}")
    names = ", ".join(f"sm_{number}" for number in architectures)
    print(f"{len(resources)} variants for {names}; {len(bad)} with a stack")
    return 1 if bad or not resources else 0


if __name__ == "__main__":
    sys.exit(main())
