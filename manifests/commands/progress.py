"""How far a copy is: a bar with rate and time left on a terminal, a line at every tenth otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

Advance = Callable[[int, int], None]  # bytes and objects just done


class Copying:
    """Told the plan first, then what is done of it."""

    def __init__(self, show: Callable[[int, int, int, int, float], None]) -> None:
        self._show = show
        self.bytes = self.objects = self._done_bytes = self._done_objects = 0
        self._began_s = time.monotonic()

    def begin(self, total_bytes: int, objects: int) -> None:
        """Say how much there is to do."""
        self.bytes, self.objects, self._began_s = total_bytes, objects, time.monotonic()

    def advance(self, size: int, objects: int) -> None:
        """Take note of what was done just now."""
        self._done_bytes += size
        self._done_objects += objects
        elapsed_s = max(time.monotonic() - self._began_s, 1e-9)
        self._show(self._done_bytes, self.bytes, self._done_objects, self.objects, elapsed_s)


@contextmanager
def copying(what: str) -> Iterator[Copying]:
    """Show a copy's progress on stderr."""
    if not sys.stderr.isatty():
        yield Copying(_Tenths(what))
        return
    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)

        def show(done: int, total: int, objects: int, of: int, elapsed_s: float) -> None:
            bar.update(task, completed=done, total=total)

        yield Copying(show)


class _Tenths:
    def __init__(self, what: str) -> None:
        self._what, self._tenth = what, 0

    def __call__(self, done: int, total: int, objects: int, of: int, elapsed_s: float) -> None:
        tenth = 10 * objects // max(of, 1)
        if tenth > self._tenth:
            self._tenth = tenth
            rate = done / elapsed_s
            left = f", {(total - done) / rate:.0f} s left" if 0 < done < total else ""
            told = f"{objects} of {of} objects, {decimal(done)} of {decimal(total)}, {decimal(int(rate))}/s{left}"
            print(f"{self._what}: {told}", file=sys.stderr)
