"""Open files of checked shards, so that a member costs one positioned read instead of a path, a check and an open.

A handle serves only while its file is what was checked. It looks every few milliseconds, at size, links and, where
others may write, time; what changed since is found by the next look, and the file checked anew. Every minute it is
opened by way of the cache again, which notes that the file is in use.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

MOST_OPEN = 64  # of a data set; a shuffle window of the default size lies in fewer shards
_LOOK_EVERY_S = 0.02
_REOPEN_EVERY_S = 60.0


class Handle:
    """A file opened for reading at any place by any thread; it is closed when nobody holds it any more."""

    def __init__(self, path: Path, *, is_in_place: bool) -> None:
        """Open a checked file; one that is not in place lies in the cache, where every use sets its time."""
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self._is_in_place = is_in_place
        self._state = self._look()
        self.size_bytes = self._state[0]
        self._reopen_at_s = time.monotonic() + _REOPEN_EVERY_S
        self._look_at_s = time.monotonic() + _LOOK_EVERY_S

    def _look(self) -> tuple[int, bool, int]:
        state = os.fstat(self._descriptor)
        return state.st_size, state.st_nlink > 0, state.st_mtime_ns if self._is_in_place else 0

    def is_trusted(self) -> bool:
        """Say whether the file was the one that was checked when last looked at, just now."""
        now_s = time.monotonic()
        if now_s < self._look_at_s:
            return True
        self._look_at_s = now_s + _LOOK_EVERY_S
        return now_s < self._reopen_at_s and self._look() == self._state

    def read(self, offset: int, size: int) -> bytes:
        """Read bytes, fewer than `size` only at the file's end."""
        return os.pread(self._descriptor, size, offset)


class Handles:
    """The newest `MOST_OPEN` handles, by the position of their shard."""

    def __init__(self, open_checked: Callable[[int], Handle]) -> None:
        self._open_checked = open_checked
        self._open: dict[int, Handle] = {}
        self._lock = threading.Lock()

    def get(self, position: int) -> Handle:
        """Return a handle that can be trusted: the one that is open, or a new one."""
        handle = self._open.get(position)
        if handle is not None and handle.is_trusted():
            return handle
        with self._lock:
            self._open.pop(position, None)
        handle = self._open_checked(position)
        with self._lock:
            self._open[position] = handle
            for oldest in list(self._open)[:-MOST_OPEN]:
                del self._open[oldest]
        return handle
