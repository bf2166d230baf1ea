"""What work on a device still uses, kept until the work is done, without anybody waiting for it."""

from __future__ import annotations

import atexit
import threading
import weakref
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
        self._lock = threading.Lock()
        self._uses: list[_Use] = []
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
        with self._lock:
            self._uses.append(_Use(event, list(objects), list(when_done)))
            if not self._is_registered:
                # Later than what ends streams at the interpreter's exit was registered, and so called before it.
                atexit.register(_finish, weakref.ref(self))
                self._is_registered = True

    def sweep(self) -> None:
        """Let go of what is done with."""
        if not self._uses:
            return
        with self._lock:
            uses, self._uses = self._uses, []
        done: list[_Use] = []
        waiting: list[_Use] = []
        for use in uses:
            (done if self._is_done(use.event) else waiting).append(use)
        with self._lock:
            self._uses = waiting + self._uses
        for use in done:
            self._native.destroy_event(use.event)
            for call in use.when_done:
                call()

    def finish(self) -> None:
        """Wait for everything, and let go of it."""
        for use in list(self._uses):
            with suppress(RfkernelsError, ValueError):
                self._native.synchronize_event(use.event)
        self.sweep()

    def _is_done(self, event: int) -> bool:
        try:
            return self._native.query_event(event)
        except RfkernelsError:
            # The device has failed at something, and nothing will run on it any more; who waits is told.
            return True


def _finish(reference: weakref.ref[InFlight]) -> None:
    in_flight = reference()
    if in_flight is not None:
        in_flight.finish()
