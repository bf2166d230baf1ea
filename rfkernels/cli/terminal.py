"""What the commands share of talking to a person at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

_Item = TypeVar("_Item")


def progress_bar(*, disable: bool = False, auto_refresh: bool = True) -> Any:  # noqa: ANN401 - rich is imported here
    """A `rich.progress.Progress` on standard error, and only where a person looks at it.

    Without `auto_refresh` no thread draws it: it changes when it is told to, between two timings and not during one.
    """
    from rich.console import Console
    from rich.progress import Progress

    return Progress(
        console=Console(stderr=True), transient=True, disable=disable or not _is_seen(), auto_refresh=auto_refresh
    )


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """A bar that only moves, for work of unknown length; nothing, and nothing imported, where nobody looks."""
    if not _is_seen():
        yield
        return
    with progress_bar() as bar:
        bar.add_task(what, total=None)
        yield


def progress(items: Iterable[_Item], what: str, total: int, *, disable: bool = False) -> Iterator[_Item]:
    """The items, with a progress bar while they are worked on."""
    with progress_bar(disable=disable) as bar:
        yield from bar.track(items, description=what, total=total)


def _is_seen() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def printable(text: str) -> str:
    """Text with escapes for what is no letter: a terminal must not take part of a name for a command."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
