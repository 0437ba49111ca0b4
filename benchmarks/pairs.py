"""Paired timing: ours and the bare loop in turns, so that a noisy machine slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

PAIRS = 9


@dataclass(frozen=True)
class Row:
    """One line of results.json; `holds` says whether the value reaches the goal."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    goal: float
    n: int

    def as_dict(self) -> dict[str, Any]:
        """Return the row with its verdict."""
        return {**asdict(self), "holds": self.value >= self.goal}


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def speed_ratio(name: str, ours: Callable[[], object], bare: Callable[[], object], *, goal: float) -> Row:
    """Measure the speed of `ours` over that of `bare`: the median pair, and the second from each end."""
    ours()
    bare()
    ratios = sorted(_pair(ours, bare, is_ours_first=bool(turn % 2)) for turn in range(PAIRS))
    return Row(name, statistics.median(ratios), ratios[1], ratios[-2], "speed ratio", goal, PAIRS)


def _pair(ours: Callable[[], object], bare: Callable[[], object], *, is_ours_first: bool) -> float:
    if is_ours_first:
        ours_s = seconds(ours)
        return seconds(bare) / ours_s
    bare_s = seconds(bare)
    return bare_s / seconds(ours)
