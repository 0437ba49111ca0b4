"""Open files of checked shards, so that a member costs one positioned read instead of a path, a check and an open.

A handle serves only while its file is what was checked: every read looks at size, links and, where others may write,
time. After a minute it is opened anew by way of the cache, which checks again and notes that the file is in use.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

MOST_OPEN = 64  # of a data set; a shuffle window of the default size lies in fewer shards
_TRUSTED_S = 60.0


class Handle:
    """A file opened for reading at any place by any thread; it is closed when nobody holds it any more."""

    def __init__(self, path: Path, *, is_in_place: bool) -> None:
        """Open a checked file; one that is not in place lies in the cache, where every use sets its time."""
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self._is_in_place = is_in_place
        self._state = self._look()
        self._trusted_until_s = time.monotonic() + _TRUSTED_S

    def _look(self) -> tuple[int, bool, int]:
        state = os.fstat(self._descriptor)
        return state.st_size, state.st_nlink > 0, state.st_mtime_ns if self._is_in_place else 0

    def is_trusted(self) -> bool:
        """Say whether the file is still the one that was checked, and that not long ago."""
        return self._look() == self._state and time.monotonic() < self._trusted_until_s

    def read(self, offset: int, size: int) -> bytes:
        """Read bytes, fewer than `size` only at the file's end."""
        return os.pread(self._descriptor, size, offset)


class Handles:
    """The newest `MOST_OPEN` handles by name."""

    def __init__(self) -> None:
        self._open: dict[str, Handle] = {}
        self._lock = threading.Lock()

    def get(self, name: str, open_checked: Callable[[], Handle]) -> Handle:
        """Return a trusted handle: the one that is open, or one that `open_checked` opens."""
        handle = self._open.get(name)
        if handle is not None and handle.is_trusted():
            return handle
        with self._lock:
            self._open.pop(name, None)
        handle = open_checked()
        with self._lock:
            self._open[name] = handle
            for oldest in list(self._open)[:-MOST_OPEN]:
                del self._open[oldest]
        return handle
