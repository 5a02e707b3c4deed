"""Deadlines that one thread watches; with a timer for each, there would be a thread for each."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator


class Watch:
    """Calls functions at their deadlines, in one thread that starts when it is first needed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[object, tuple[float, Callable[[], object]]] = {}
        self._wakes = 0.0
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def within(self, seconds: float, give_up: Callable[[], object]) -> Iterator[None]:
        """Call `give_up`, which must be brief, if the block takes longer than `seconds`."""
        key, when = object(), time.monotonic() + seconds
        with self._changed:
            self._due[key] = when, give_up
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._look, name="raydepth-watch", daemon=True
                )
                self._thread.start()
            elif when < self._wakes:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._due.pop(key, None)

    def _look(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for key, (when, give_up) in list(self._due.items()):
                    if when <= now:
                        del self._due[key]
                        give_up()
                # Most blocks end before their deadline; the thread is not woken for that.
                self._wakes = min((when for when, _ in self._due.values()), default=now + 3600.0)
                self._changed.wait(min(self._wakes - now, threading.TIMEOUT_MAX))


watch = Watch()

# Threads do not survive a fork, so a child begins without one.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=watch.__init__)  # type: ignore[misc]
