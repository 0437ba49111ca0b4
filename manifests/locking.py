"""Locks of files between the processes of a machine; they go with the process that holds them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from manifests.errors import StoreError

LOOK_S = 0.01


@contextmanager
def locked(path: Path, how: int = fcntl.LOCK_EX, *, wait_s: float) -> Iterator[None]:
    """Hold the lock of a folder, or of a file that is made if need be.

    Raises: StoreError where others hold it for longer than `wait_s`.
    """
    file = os.open(path, os.O_RDONLY if path.is_dir() else os.O_CREAT | os.O_RDWR)
    try:
        _wait(file, how, path, wait_s)
        yield
    finally:
        os.close(file)


def _wait(file: int, how: int, path: Path, wait_s: float) -> None:
    end_s = time.monotonic() + wait_s
    while not _takes(file, how):
        if time.monotonic() > end_s:
            raise StoreError(f"{path}: another process has held its lock for {wait_s:g} s: look what it does")
        time.sleep(LOOK_S)


def _takes(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
