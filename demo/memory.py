"""How much memory a command and all that it started hold together at most, sampled while it runs.

A descendant counts from when it is first seen until it ends, also when its parent ends before it, as Ray's may. Every
sample adds up resident sizes, which costs next to nothing. When that sum reaches a new high, proportional sizes (PSS)
are read: a page that n processes share counts once, not n times. Where there are none (not on Linux), RSS stands.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Event, Thread
from types import TracebackType

import psutil

INTERVAL_S = 0.5


class MemoryWatch:
    """Samples in a thread between entry and exit; `peak_bytes` is the largest sum seen."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._resident_peak_bytes = 0
        self._processes = {psutil.Process(pid)}
        self._is_over = Event()
        self._thread = Thread(target=self._watch, name="memory watch", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        self._sample()
        while not self._is_over.wait(INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        self._processes = _with_descendants(self._processes)
        resident_bytes = sum(_resident_bytes(process) for process in self._processes)
        if resident_bytes > self._resident_peak_bytes:
            self._resident_peak_bytes = resident_bytes
            self.peak_bytes = max(self.peak_bytes, sum(_own_bytes(process) for process in self._processes))


def _with_descendants(known: set[psutil.Process]) -> set[psutil.Process]:
    """Return those that still run, and what they have started since."""
    alive = list(psutil.process_iter(["ppid"]))
    found = known.intersection(alive)
    parents = {process.pid for process in found}
    while new := {process for process in alive if process.info["ppid"] in parents} - found:
        found |= new
        parents = {process.pid for process in new}
    return found


def _resident_bytes(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _own_bytes(process: psutil.Process) -> int:
    with suppress(psutil.Error, AttributeError):
        return int(process.memory_full_info().pss)
    return _resident_bytes(process)
