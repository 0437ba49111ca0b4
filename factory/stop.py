"""Stopping on a signal: what is begun is finished, nothing new is begun."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any


@dataclass
class Stop:
    """Whether and when the job was asked to stop."""

    at_s: float | None = None

    @property
    def requested(self) -> bool:
        """Say whether a signal came."""
        return self.at_s is not None

    def is_overdue(self, limit_s: float) -> bool:
        """Say whether what is in flight has had its time."""
        return self.at_s is not None and time.monotonic() - self.at_s > limit_s


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Let SIGTERM and SIGINT ask for a stop; a second one means it."""
    stop = Stop()
    before: dict[signal.Signals, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.at_s = time.monotonic()
        for known, handler in before.items():
            signal.signal(known, handler)

    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(ValueError):  # only the main thread may; elsewhere there is nobody to press a key
            before[number] = signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
