"""What work on a device still uses, kept until the work is done, without anybody waiting for it."""

from __future__ import annotations

import atexit
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from rfkernels import _native
from rfkernels.errors import RfkernelsError


class _Use(NamedTuple):
    event: int
    objects: list[object]
    when_done: list[Callable[[], None]]


class InFlight:
    """Objects that work on a device's streams uses. May be used from several threads.

    `sweep` lets go of those whose work is done; `Stream.synchronize` and every op on the device call it.

    Args:
        native: the device.
    """

    def __init__(self, native: _native.Device) -> None:
        self._native = native
        # No lock: a collection in the middle of a call may end up here again, on the same thread. Whoever has taken a
        # use out has it alone.
        self._uses: deque[_Use] = deque()
        self._is_registered = False

    def __len__(self) -> int:
        """How many calls' objects are kept."""
        return len(self._uses)

    def keep(self, objects: Sequence[object], stream: int, when_done: Sequence[Callable[[], None]] = ()) -> None:
        """Keep objects until what is on a stream up to now is done.

        Args:
            stream: its handle; not one that is captured.
            when_done: called when the objects are let go of.
        """
        if not objects and not when_done:
            return
        event = self._native.create_event()
        try:
            self._native.record_event(event, stream)
        except BaseException:
            self._native.destroy_event(event)
            raise
        self._uses.append(_Use(event, list(objects), list(when_done)))
        if not self._is_registered:
            self._is_registered = True
            # Later than what ends streams at the interpreter's exit was registered, and so called before it.
            atexit.register(_finish, weakref.ref(self))

    def sweep(self) -> None:
        """Let go of what is done with."""
        for _ in range(len(self._uses)):
            try:
                use = self._uses.popleft()
            except IndexError:  # another thread's sweep
                return
            if self._is_done(use.event):
                self._let_go(use)
            else:
                self._uses.append(use)

    def finish(self) -> None:
        """Wait for everything, and let go of it, for the end of the process: what has failed is told to nobody."""
        while self._uses:
            with suppress(IndexError):
                use = self._uses.popleft()
                with suppress(RfkernelsError):
                    self._native.synchronize_event(use.event)
                self._let_go(use)

    def _let_go(self, use: _Use) -> None:
        self._native.destroy_event(use.event)
        for call in use.when_done:
            call()

    def _is_done(self, event: int) -> bool:
        try:
            return self._native.query_event(event)
        except RfkernelsError:
            # Nobody knows, and memory that is kept for too long does no harm. Who waits is told.
            return False


def _finish(reference: weakref.ref[InFlight]) -> None:
    in_flight = reference()
    if in_flight is not None:
        in_flight.finish()
