"""What ptxas says of each kernel: registers, shared memory, spills. `python benchmarks/kernel_resources.py BUILD_LOG`.

Fails where a kernel spills or has a stack, for any architecture.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

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


def read_resources(log: str) -> list[Resources]:
    """What ptxas wrote with -v, in the order in which it did."""
    found: list[Resources] = []
    name, architecture, stack, spilled = "", 0, 0, 0
    for line in log.splitlines():
        if match := _COMPILING.search(line):
            name, architecture = _plain_name(match["name"]), int(match["architecture"])
        elif match := _STACK.search(line):
            stack, spilled = int(match["stack"]), int(match["stores"]) + int(match["loads"])
        elif (match := _USED.search(line)) and name:
            shared = int(match["shared"] or 0)
            found.append(Resources(name, architecture, int(match["registers"]), shared, stack, spilled))
            name = ""
    return found


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
