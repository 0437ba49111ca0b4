"""A lock is waited for, but not for ever."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from manifests.errors import StoreError
from manifests.locking import locked


def test_a_lock_that_is_never_given_back_is_one_error_after_the_wait(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", wait_s=1):
        begun = time.monotonic()
        with pytest.raises(StoreError, match=r"lock: another process has held its lock for 0\.2 s"):
            locked(tmp_path / "lock", wait_s=0.2).__enter__()
        assert 0.2 <= time.monotonic() - begun < 5
    locked(tmp_path / "lock", wait_s=0).__enter__()


def test_who_waits_gets_the_lock_when_it_is_free_and_readers_share_it(tmp_path: Path) -> None:
    file = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(file, fcntl.LOCK_EX)
    threading.Timer(0.2, os.close, [file]).start()
    with locked(tmp_path, fcntl.LOCK_SH, wait_s=30), locked(tmp_path, fcntl.LOCK_SH, wait_s=0):
        pass
