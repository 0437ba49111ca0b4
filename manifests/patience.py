"""A store that is tried again: a server's bad minute must not end an hour's work.

Every put may be repeated, since objects are immutable and named by content. A user's mistake is raised at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from manifests.errors import ShortError, StoreError, UserError
from manifests.store import Listing, Names, Store

WAITS_S = (0.5, 2.0, 8.0, 30.0)

T = TypeVar("T")


def patiently(act: Callable[[], T], waits_s: Sequence[float]) -> T:
    """Act, and again after each wait while the store fails.

    Raises: StoreError, or ShortError for what was cut, when it failed every time; any other error at once.
    """
    for wait_s in waits_s:
        try:
            return act()
        except (StoreError, ShortError):
            time.sleep(wait_s)
    return act()


class PatientStore(Store):
    """A folder of which each object is asked for, or put, up to five times."""

    def __init__(self, url: str, filesystem: Any, root: str) -> None:
        super().__init__(url, filesystem, root)
        self._busy = threading.local()  # what a store asks itself on the way is tried again as a whole

    def _prepare(self, create: bool, dry_run: bool) -> None:
        for wait_s in WAITS_S:
            try:
                return super()._prepare(create, dry_run)
            except (UserError, PermissionError, FileNotFoundError, ValueError):
                raise
            except Exception:  # every backend has exceptions of its own
                time.sleep(wait_s)
        return super()._prepare(create, dry_run)

    def _try(self, act: Callable[[], T]) -> T:
        if getattr(self._busy, "is_trying", False):
            return act()
        self._busy.is_trying = True
        try:
            return patiently(act, WAITS_S)
        finally:
            self._busy.is_trying = False

    def put_file(self, local: Path, name: str) -> None:
        self._try(partial(super().put_file, local, name))

    def put_bytes(self, data: bytes, name: str) -> None:
        self._try(partial(super().put_bytes, data, name))

    def replace_bytes(self, data: bytes, name: str) -> None:
        self._try(partial(super().replace_bytes, data, name))

    def get_bytes(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        return self._try(partial(super().get_bytes, name, offset, size))

    def get_file(self, name: str, local: Path) -> None:
        self._try(partial(super().get_file, name, local))

    def list(self, prefix: str = "") -> Listing:
        return self._try(partial(super().list, prefix))

    def folders(self) -> Names:
        return self._try(super().folders)

    def exists(self, name: str) -> bool:
        return self._try(partial(super().exists, name))

    def size(self, name: str) -> int:
        return self._try(partial(super().size, name))

    def _put_whole(self, local: Path, name: str) -> None:
        self._try(partial(super()._put_whole, local, name))
