"""What a worker can tell while it works: that it lives, that its node is about to go, or that nothing moves.

A node is about to go when the process gets SIGTERM or the file that $VIEWMILL_LEAVE_FILE names appears on the node:
what is begun is finished, what is not is handed back. When no batch is drawn and no object put for `stall_s`, the
stacks of all threads are written down. Should even this thread be held up, an alarm outside of Python ends the worker.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from manifests.errors import UserError

LEAVE_FILE = "VIEWMILL_LEAVE_FILE"
STALL_S = 1800.0
ALARM_AFTER_S = 60.0  # more than a stall
LOOK_S = 0.25


class LeavingError(UserError):
    """A shard that is not begun is handed back: its node is about to go."""


class StalledError(UserError):
    """Nothing moves and nobody can be put in its place; what is rendered is safe."""

    exit_code = 4


@dataclass(frozen=True)
class Pulse:
    """How a worker is, and what it did since it was opened."""

    state: Literal["alive", "leaving", "stalled"]
    detail: str
    images: int
    generate_s: float
    queued_batches: int
    put_bytes: int


class Watchdog:
    """Keeps the time since each shard's last sign of life."""

    def __init__(self, stall_s: float = STALL_S, *, has_alarm: bool = False) -> None:
        self._stall_s, self._has_alarm = stall_s, has_alarm
        self._beats: dict[int, float] = {}
        self._left = ""
        self.images, self.generate_s, self.queued_batches, self.put_bytes = 0, 0.0, 0, 0

    def listen(self) -> None:
        """Take SIGTERM as the notice that this process has to leave."""
        with suppress(ValueError):  # only a main thread may
            signal.signal(signal.SIGTERM, lambda number, frame: self.leave("SIGTERM"))

    def leave(self, why: str) -> None:
        """Note that this worker must go."""
        self._left = self._left or why

    @property
    def leaving(self) -> str:
        """Say why this worker must go; nothing while it need not."""
        file = os.environ.get(LEAVE_FILE)
        if not self._left and file and Path(file).exists():
            self.leave(f"{file} is there")
        return self._left

    @contextmanager
    def watching(self, shard: int) -> Iterator[None]:
        """Watch a shard from here on."""
        self.beat(shard)
        try:
            yield
        finally:
            self._beats.pop(shard, None)
            if self._has_alarm and not self._beats:
                faulthandler.cancel_dump_traceback_later()

    def beat(self, shard: int) -> None:
        """Note that a shard has come on."""
        self._beats[shard] = time.monotonic()
        if self._has_alarm:
            faulthandler.dump_traceback_later(self._stall_s + ALARM_AFTER_S, exit=True)

    def stalled(self) -> int | None:
        """Name a shard that has shown no sign of life for too long."""
        now = time.monotonic()
        return next((shard for shard, at_s in list(self._beats.items()) if now - at_s > self._stall_s), None)

    def pulse(self, wait_s: float, save: Callable[[int, bytes], str]) -> Pulse:
        """Wait for something to tell, at most `wait_s`; `save` keeps the stacks of a stalled shard."""
        end = time.monotonic() + wait_s
        while True:
            if (shard := self.stalled()) is not None:
                return self._pulse("stalled", f"no sign of life in {self._stall_s:g} s; {save(shard, stacks())}")
            if why := self.leaving:
                return self._pulse("leaving", why)
            if time.monotonic() >= end:
                return self._pulse("alive", "")
            time.sleep(min(LOOK_S, wait_s))

    def _pulse(self, state: Literal["alive", "leaving", "stalled"], detail: str) -> Pulse:
        return Pulse(state, detail, self.images, self.generate_s, self.queued_batches, self.put_bytes)


def stacks() -> bytes:
    """Return where every thread of this process is."""
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read()
