"""Paired timing: ours and the bare loop in turns, so that a noisy machine slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
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


def peak_bytes() -> int:
    """Return the most memory this process held; what getrusage says may be its parent's from before the fork."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def speed_ratio(
    name: str, ours: Callable[[], object], bare: Callable[[], object], *, goal: float, pairs: int = PAIRS
) -> Row:
    """Measure the speed of `ours` over that of `bare`, each called once before."""
    return timed_ratio(name, lambda: seconds(ours), lambda: seconds(bare), goal=goal, pairs=pairs)


def timed_ratio(
    name: str, ours: Callable[[], float], bare: Callable[[], float], *, goal: float, pairs: int = PAIRS
) -> Row:
    """Measure as `speed_ratio` does what says itself how many seconds it took."""
    ours()
    bare()
    return ratio_row(name, [_pair(ours, bare, is_ours_first=bool(turn % 2)) for turn in range(pairs)], goal=goal)


def ratio_row(name: str, ratios: Sequence[float], *, goal: float) -> Row:
    """Sum up the speed ratios of pairs: their median, and the second from each end."""
    ordered = sorted(ratios)
    return Row(name, statistics.median(ordered), ordered[1], ordered[-2], "speed ratio", goal, len(ordered))


def _pair(ours: Callable[[], float], bare: Callable[[], float], *, is_ours_first: bool) -> float:
    if is_ours_first:
        ours_s = ours()
        return bare() / ours_s
    bare_s = bare()
    return bare_s / ours()
