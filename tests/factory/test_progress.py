"""How a job shows itself: a bar with rate and time left on a terminal, plain lines at a steady pace elsewhere."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest

from factory import progress


def shard(images: int) -> Any:
    return SimpleNamespace(views={"ok": images - 1, "quarantined": 1})


class Clock:
    """Stands for the time module: its hand is moved by the test."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


def test_off_a_terminal_there_is_a_plain_line_every_ten_seconds_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    with progress.show_progress(100, 20) as tell:
        for clock.now_s, images in ((2.0, 10), (6.0, 10), (11.9, 10), (12.0, 10), (20.0, 40)):
            tell(shard(images))
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "rendered 30 of 100 images, 5.00 images/s, 14 s left",
        "rendered 60 of 100 images, 3.33 images/s, 12 s left",
        "rendered 100 of 100 images, 4.00 images/s, 0 s left",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_there_is_a_bar_with_images_a_second_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "120")):
        monkeypatch.setenv(name, value)
    with progress.show_progress(100, 20) as tell:
        for _ in range(3):
            tell(shard(10))
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert re.search(r"rendering .* 50/100 [\d.]+ images/s \d:\d\d:\d\d", shown)
    assert "rendered" not in shown
