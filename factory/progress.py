"""How a job shows itself: a bar with images/s and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from manifests.commit import CommitRecord

LINE_EVERY_S = 10.0


@contextmanager
def show_progress(images: int, done: int, *, is_wanted: bool = True) -> Iterator[Callable[[CommitRecord], None]]:
    """Yield what to call with each finished shard; `done` of `images` were there before."""
    if not is_wanted:
        yield lambda record: None
        return
    if not sys.stderr.isatty():
        yield Lines(images, done)
        return
    columns = (TextColumn("rendering"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task, begun = bar.add_task("rendering", total=images, completed=done, rate=""), time.monotonic()

        def advance(record: CommitRecord) -> None:
            bar.advance(task, sum(record.views.values()))
            made = bar.tasks[task].completed - done
            bar.update(task, rate=f"{made / (time.monotonic() - begun):.2f} images/s")

        yield advance


class Lines:
    """Prints a line at most every ten seconds, and the last one always."""

    def __init__(self, images: int, done: int) -> None:
        self._images, self._before, self._done = images, done, done
        self._begun = time.monotonic()
        self._last = -LINE_EVERY_S

    def __call__(self, record: CommitRecord) -> None:
        self._done += sum(record.views.values())
        now = time.monotonic() - self._begun
        if now - self._last < LINE_EVERY_S and self._done < self._images:
            return
        self._last = now
        rate = (self._done - self._before) / now if now else 0.0
        left = f", {(self._images - self._done) / rate:.0f} s left" if rate else ""
        print(f"rendered {self._done} of {self._images} images, {rate:.2f} images/s{left}", file=sys.stderr, flush=True)
