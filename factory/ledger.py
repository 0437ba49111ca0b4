"""Pure: which shard goes to which worker next, and when to give one up.

A worker may hold two shards, so that one is put while the next is drawn. A shard that was lost with its worker runs
alone from then on: so a poisonous one is told from its neighbour, and none is given up for another's fault.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence


class Ledger:
    """The shards of a job and what became of them."""

    def __init__(self, shards: Iterable[int], *, strike_limit: int = 3, depth: int = 2) -> None:
        self._fresh = deque(shards)
        self._again: deque[int] = deque()
        self._strikes: dict[int, int] = {}
        self._strike_limit, self._depth = strike_limit, depth
        self.open = set(self._fresh)
        self.done: set[int] = set()
        self.failed: dict[int, str] = {}
        self.retries = 0
        self.loading_deaths: list[str] = []  # why workers died before they held a shard, since the last finished one

    def next(self, held: Sequence[int]) -> int | None:
        """Choose a shard for a worker that holds `held`, or None when it should get none now."""
        if len(held) >= self._depth or any(shard in self._strikes for shard in held):
            return None
        if self._again and not held:
            return self._again.popleft()
        return self._fresh.popleft() if self._fresh else None

    def finish(self, shard: int) -> None:
        """Note that a shard has its record."""
        self.open.discard(shard)
        self.done.add(shard)
        self.loading_deaths.clear()

    def give_back(self, shard: int) -> None:
        """Take back a shard whose worker was preempted: nobody's fault, no strike."""
        self.retries += 1
        self._fresh.appendleft(shard)

    def strike(self, shard: int, reason: str) -> None:
        """Take back a shard that failed or died with its worker; give it up at the limit."""
        self._strikes[shard] = self._strikes.get(shard, 0) + 1
        if self._strikes[shard] >= self._strike_limit:
            self.open.discard(shard)
            self.failed[shard] = reason
        else:
            self.retries += 1
            self._again.append(shard)

    @property
    def is_hopeless(self) -> bool:
        """Say whether everything fails: then it is the job, not the shards."""
        return (not self.done and len(self.failed) >= 3) or len(self.loading_deaths) >= 5
