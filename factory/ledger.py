"""Pure: which shard goes to which worker next, when to give one up, and when to draw one twice.

A worker may hold two shards, so that one is put while the next is drawn. A shard that was lost with its worker runs
alone from then on: so a poisonous one is told from its neighbour, and none is given up for another's fault. What takes
far longer than the others at the end is drawn a second time: shards are named by content, so twins do no harm.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Iterable, Sequence

TWIN_AFTER_S = 30.0
TWIN_AFTER_MEDIANS = 2.0
REMEMBERED = 101  # durations that the median is taken of


class Ledger:
    """The shards of a job and what became of them; each belongs to a pool of workers that can draw it."""

    def __init__(
        self,
        shards: Iterable[int],
        *,
        strike_limit: int = 3,
        loss_limit: int = 20,
        depth: int = 2,
        twin_after_s: float = TWIN_AFTER_S,
        pool_of: Callable[[int], int] = lambda shard: 0,
    ) -> None:
        self._pool_of = pool_of
        self._fresh: dict[int, deque[int]] = {}
        self._again: dict[int, deque[int]] = {}
        self._strikes: dict[int, int] = {}
        self._losses: dict[int, int] = {}
        self._out: dict[int, int] = {}  # copies of a shard that somebody holds
        self._since_s: dict[int, float] = {}
        self._lasted_s: deque[float] = deque(maxlen=REMEMBERED)
        self._strike_limit, self._loss_limit, self._depth = strike_limit, loss_limit, depth
        self._twin_after_s = twin_after_s
        self.open: set[int] = set()
        self.open_in: dict[int, int] = {}  # by pool
        for shard in shards:
            pool = pool_of(shard)
            self._fresh.setdefault(pool, deque()).append(shard)
            self.open_in[pool] = self.open_in.get(pool, 0) + 1
            self.open.add(shard)
        self.done: set[int] = set()
        self.failed: dict[int, str] = {}
        self.retries: dict[str, int] = {}  # by cause
        self.twins = 0
        self.loading_deaths: list[str] = []  # why workers died before they held a shard, since the last finished one

    def next(self, held: Sequence[int], *, pool: int = 0, now_s: float = 0.0) -> int | None:
        """Choose a shard for a worker that holds `held`, or None when it should get none now."""
        if len(held) >= self._depth or any(shard in self._strikes for shard in held):
            return None
        shard = self._queued(held, pool)
        if shard is None and not held:
            shard = self._straggler(pool, now_s)
        if shard is not None:
            self._out[shard] = self._out.get(shard, 0) + 1
            self._since_s.setdefault(shard, now_s)
        return shard

    def _queued(self, held: Sequence[int], pool: int) -> int | None:
        again, fresh = self._again.get(pool), self._fresh.get(pool)
        if again and not held:
            return again.popleft()
        while fresh:
            shard = fresh.popleft()
            if shard in self.open:  # else a twin was faster
                return shard
        return None

    def _straggler(self, pool: int, now_s: float) -> int | None:
        """Find what somebody else draws alone and for far longer than shards take."""
        if len(self._lasted_s) < 3:
            return None
        limit_s = max(self._twin_after_s, TWIN_AFTER_MEDIANS * statistics.median(self._lasted_s))
        alone = [s for s, copies in self._out.items() if copies == 1 and s in self.open and self._pool_of(s) == pool]
        slow = [shard for shard in alone if now_s - self._since_s[shard] > limit_s and shard not in self._strikes]
        self.twins += bool(slow)
        return min(slow, key=lambda shard: self._since_s[shard], default=None)

    def finish(self, shard: int, now_s: float = 0.0) -> None:
        """Note that a shard has its record; a twin's comes later and changes nothing."""
        if (since_s := self._since_s.pop(shard, None)) is not None:
            self._lasted_s.append(now_s - since_s)
        self._close(shard)
        self._release(shard)
        self.done.add(shard)
        self.failed.pop(shard, None)
        self.loading_deaths.clear()

    def give_back(self, shard: int, reason: str = "") -> None:
        """Take back a shard whose worker or node went: nobody's fault, no strike, but not for ever."""
        if not self._is_back(shard):
            return
        self._losses[shard] = self._losses.get(shard, 0) + 1
        if self._losses[shard] >= self._loss_limit:
            self._give_up(shard, f"its workers went away {self._loss_limit} times: {reason}")
        else:
            self._count("went away")
            self._fresh.setdefault(self._pool_of(shard), deque()).appendleft(shard)

    def strike(self, shard: int, reason: str, cause: str = "failed") -> None:
        """Take back a shard that failed or died with its worker; give it up at the limit."""
        if not self._is_back(shard):
            return
        self._strikes[shard] = self._strikes.get(shard, 0) + 1
        if self._strikes[shard] >= self._strike_limit:
            self._give_up(shard, reason)
        else:
            self._count(cause)
            self._again.setdefault(self._pool_of(shard), deque()).append(shard)

    def _is_back(self, shard: int) -> bool:
        """Say whether a lost copy was the last one of an unfinished shard."""
        self._release(shard)
        return shard in self.open and shard not in self._out

    def _release(self, shard: int) -> None:
        self._out[shard] = self._out.get(shard, 1) - 1
        if self._out[shard] <= 0:
            del self._out[shard]
            if shard in self.open:
                self._since_s.pop(shard, None)

    def _count(self, cause: str) -> None:
        self.retries[cause] = self.retries.get(cause, 0) + 1

    def _give_up(self, shard: int, reason: str) -> None:
        self._close(shard)
        self.failed[shard] = reason

    def _close(self, shard: int) -> None:
        if shard in self.open:
            self.open.discard(shard)
            self.open_in[self._pool_of(shard)] -= 1

    @property
    def is_hopeless(self) -> bool:
        """Say whether everything fails: then it is the job, not the shards."""
        return (not self.done and len(self.failed) >= 3) or len(self.loading_deaths) >= 5
