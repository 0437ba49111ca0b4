"""The local cache of immutable objects: nothing is handed out before its size and hash were checked.

Several processes may share one folder. An object arrives as `.part-<uuid>-<its size>`, which keeps its room from the
start, and is renamed once it is right. What was used longest ago goes first; a fetch waits where others keep all room.
Each process checks each file once, those of a local store where they lie: a crash may have left a file in the cache
whose name is right and whose bytes are not.
"""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
from collections import defaultdict
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from manifests.errors import CorruptError, UserError, explained
from manifests.locking import locked
from manifests.shard import file_sha256
from manifests.store import Store

_STALLED_AFTER_S = 600.0  # a part that has not grown for so long keeps no room
_ABANDONED_AFTER_S = 24 * 3600.0
_LOOK_AGAIN_S = 0.05
_LOCK_S = 600.0  # it is held for moments
_OURS = re.compile(r"[0-9a-f]{64}(\.\w+)?|\.part-[0-9a-f]{32}(-(?P<whole>\d+))?")


class ShardCache:
    """A folder of checked objects that stays below `cap_bytes`."""

    def __init__(self, folder: Path, cap_bytes: int) -> None:
        self._folder = folder
        self._cap_bytes = cap_bytes
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._checked: dict[Path, tuple[int, int, str]] = {}

    @property
    def folder(self) -> Path:
        return self._folder

    @classmethod
    def default(cls) -> ShardCache:
        """Open the user's cache: $VIEWMILL_CACHE or ~/.cache/viewmill, up to $VIEWMILL_CACHE_BYTES (50 GB)."""
        folder = Path(os.environ.get("VIEWMILL_CACHE", Path.home() / ".cache" / "viewmill"))
        cap_bytes = os.environ.get("VIEWMILL_CACHE_BYTES", "50_000_000_000")
        try:
            return cls(folder, int(cap_bytes))
        except ValueError as error:
            raise UserError(f"VIEWMILL_CACHE_BYTES is {cap_bytes!r}: expected a number of bytes") from error

    def fetch(self, store: Store, name: str, size: int, sha256: str) -> Path:
        """Return a local file with the object's bytes, fetched and checked if need be.

        Raises: CorruptError naming the object if its size or hash is another; UserError if it exceeds the cap, or the
        cache's folder cannot be written.
        """
        with self._locks[sha256]:
            local = store.local_path(name)
            if local is not None:
                return self._checked_in_place(store, local, name, size, sha256)
            path = self._folder / f"{sha256}{Path(name).suffix}"
            with suppress(CorruptError), explained(f"the cache {self._folder}"):
                return self._cached(path, size, sha256)
            return self._fetched(store, name, size, sha256, path)

    def _cached(self, path: Path, size: int, sha256: str) -> Path:
        state = path.stat()
        seen = (state.st_size, state.st_ino, sha256)  # not the time: every use sets it anew
        if self._checked.get(path) != seen:
            check_file(path, path.name, size, sha256)
            self._checked[path] = seen
        with suppress(OSError):
            os.utime(path)
        return path

    def _checked_in_place(self, store: Store, local: Path, name: str, size: int, sha256: str) -> Path:
        if not local.is_file():
            raise CorruptError(f"{store.url}/{name} is absent")
        state = local.stat()
        seen = (state.st_size, state.st_mtime_ns, sha256)
        if self._checked.get(local) != seen:
            check_file(local, f"{store.url}/{name}", size, sha256)
            self._checked[local] = seen
        return local

    def _fetched(self, store: Store, name: str, size: int, sha256: str, path: Path) -> Path:
        if size > self._cap_bytes:
            raise UserError(f"{store.url}/{name} has {size} bytes: the cache holds {self._cap_bytes}; raise its cap")
        with explained(f"the cache {self._folder}"):
            self._folder.mkdir(parents=True, exist_ok=True)
            part = self._reserved(size)
        try:
            store.get_file(name, part)
            check_file(part, f"{store.url}/{name}", size, sha256)
            with self._locked():
                part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def _reserved(self, size: int) -> Path:
        """Wait until there is room and lay down the part that keeps it."""
        part = self._folder / f".part-{uuid.uuid4().hex}-{size}"
        while True:
            with self._locked():
                if self._make_room(size):
                    part.touch()
                    return part
            time.sleep(_LOOK_AGAIN_S)

    def _locked(self) -> AbstractContextManager[None]:
        """Keep other processes from looking for room, and so from missing a part that is just being renamed."""
        return locked(self._folder, wait_s=_LOCK_S)

    def _make_room(self, size: int) -> bool:
        """Delete what was used longest ago, and the parts that killed processes left a day ago; nothing else.

        Says whether the fetches that are under way leave room.
        """
        under_way, left_over, files = 0, 0, []
        for path, ours in ((path, _OURS.fullmatch(path.name)) for path in self._folder.iterdir()):
            with suppress(FileNotFoundError):
                state = path.stat()
                idle_s = time.time() - state.st_mtime
                if ours and not path.name.startswith(".part-"):
                    files.append((state.st_mtime, state.st_size, path))
                elif ours and idle_s > _ABANDONED_AFTER_S:
                    path.unlink()
                elif ours and idle_s > _STALLED_AFTER_S:
                    left_over += state.st_size
                elif ours:
                    under_way += max(state.st_size, int(ours["whole"] or 0))
        if under_way + size > self._cap_bytes:
            return False
        used = under_way + left_over + sum(bytes_ for _, bytes_, _ in files)
        for _, bytes_, path in sorted(files):
            if used + size > self._cap_bytes:
                path.unlink(missing_ok=True)
                used -= bytes_
        return True


def check_file(path: Path, label: str, size: int, sha256: str) -> None:
    """Compare a file with what was promised.

    Raises: CorruptError with `label`, the value and the expectation.
    """
    found_size = path.stat().st_size
    if found_size != size:
        word = "cut" if found_size < size else "too long"
        raise CorruptError(f"{label} is {word}: {found_size} bytes, expected {size}")
    found = file_sha256(path)
    if found != sha256:
        raise CorruptError(f"{label} is damaged: its sha256 is {found}, expected {sha256}")
