"""Which group every slot of a run holds: a pure function of sizes, weights and a seed.

A run is an endless row of slots. Slot i belongs to one data set of the mixture and one of its epochs, and is a group.
So a position is one integer, resuming is arithmetic, and any number of ranks reads the same global batches.
Invariant: within an epoch of a data set every group comes exactly once. Another order would be another ORDER_VERSION.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manifests import seeds

ORDER_VERSION = 1
IntArray = NDArray[np.int64]
_WEIGHT_BITS = 24  # weights are rounded to 2^-24, so that shares are exact integers up to 2^39 slots


class Slots(NamedTuple):
    """Equally long columns, one entry a slot."""

    dataset: IntArray
    epoch: IntArray
    group: IntArray


class Order:
    """The order of a mixture: windows of groups are shuffled, in shards that are permuted anew each epoch.

    Units: sizes[d][s] = groups in shard s of data set d; window = groups shuffled together, so about window / shard
    size shards are being read at a time; weights = share of slots per data set (default: its share of all groups).
    Raises: ValueError for empty data sets or weights that are not positive and one per data set.
    """

    def __init__(
        self, sizes: Sequence[Sequence[int]], *, seed: int, weights: Sequence[float] | None = None, window: int = 16_384
    ) -> None:
        self.sizes = [np.asarray(shards, dtype=np.int64) for shards in sizes]
        self.totals = [int(shards.sum()) for shards in self.sizes]
        self.seed = seed
        self.window = window
        _check(self.totals, weights, window)
        self._shares = _cascade(self.totals if weights is None else weights)
        self._window_of = lru_cache(maxsize=4 * len(self.totals))(self._shuffled_window)

    def slot(self, i: int) -> tuple[int, int, int]:
        """Return (data set, epoch, group) of slot i."""
        dataset, epoch, group = self.slots(i, 1)
        return int(dataset[0]), int(epoch[0]), int(group[0])

    def slots(self, start: int, count: int) -> Slots:
        """Return slots start … start + count − 1."""
        return self.at(np.arange(start, start + count, dtype=np.int64))

    def at(self, positions: IntArray) -> Slots:
        """Return the slots at any positions."""
        dataset, rank = assign(positions, self._shares)
        totals = np.asarray(self.totals)[dataset]
        group = np.empty_like(rank)
        windows = (rank % totals) // self.window
        for d, epoch, window in set(zip(dataset.tolist(), (rank // totals).tolist(), windows.tolist(), strict=True)):
            here = (dataset == d) & (rank // totals == epoch) & (windows == window)
            group[here] = self._window_of(d, epoch, window)[(rank[here] % totals[here]) - window * self.window]
        return Slots(dataset, rank // totals, group)

    def _shuffled_window(self, dataset: int, epoch: int, window: int) -> IntArray:
        """Groups of one window in their order: O(window + shards)."""
        sizes = self.sizes[dataset]
        shards = seeds.permutation(self.seed, f"order/{dataset}/{epoch}/shards", len(sizes))
        ends = np.cumsum(sizes[shards])
        first = window * self.window
        positions = np.arange(first, min(first + self.window, self.totals[dataset]), dtype=np.int64)
        place = np.searchsorted(ends, positions, side="right")  # which of the permuted shards
        within = positions - (ends - sizes[shards])[place]
        groups = (np.cumsum(sizes) - sizes)[shards[place]] + within
        return groups[seeds.permutation(self.seed, f"order/{dataset}/{epoch}/{window}", len(groups))]


def assign(positions: IntArray, shares: Sequence[int]) -> tuple[IntArray, IntArray]:
    """Return each slot's data set, and how many slots of that data set came before it.

    Slot i goes to the first data set where floor((i + 1)·share) passes floor(i·share); the others share the rest alike.
    """
    dataset = np.full(len(positions), len(shares) - 1, dtype=np.int64)
    rank = positions.copy()  # among the slots that no earlier data set took
    undecided = np.arange(len(positions))
    for d, share in enumerate(shares[:-1]):
        i = rank[undecided]
        before = (i * share) >> _WEIGHT_BITS
        taken = (((i + 1) * share) >> _WEIGHT_BITS) > before
        dataset[undecided[taken]] = d
        rank[undecided] = np.where(taken, before, i - before)
        undecided = undecided[~taken]
    return dataset, rank


def rank_part(start: int, batch_groups: int, rank: int, world: int) -> IntArray:
    """Return the slots that one rank reads of the global batch starting at slot `start`: a contiguous part."""
    part = batch_groups // world
    return np.arange(start + rank * part, start + (rank + 1) * part, dtype=np.int64)


def mixed(seed: int, counters: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash counters to independent 64-bit words. Source: SplitMix64's finaliser (Steele, Lea & Flood 2014)."""
    with np.errstate(over="ignore"):
        word = counters * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed & 0xFFFF_FFFF_FFFF_FFFF)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return word ^ (word >> np.uint64(31))


def sample_seeds(seed: int, positions: IntArray, per_slot: int, purpose: str) -> NDArray[np.int64]:
    """Return one seed for each of the `per_slot` samples of each slot, independent of batch, rank and resume point.

    Shapes: positions [b] -> [b, per_slot], non-negative.
    """
    counters = np.add.outer(positions.astype(np.uint64) * np.uint64(per_slot), np.arange(per_slot, dtype=np.uint64))
    return (mixed(seeds.derive(seed, purpose), counters) >> np.uint64(1)).astype(np.int64)


def choose_views(seed: int, positions: IntArray, stored: int, wanted: int) -> IntArray:
    """Choose `wanted` of the `stored` views of each slot's group, without repeats.

    Shapes: positions [b] -> [b, wanted], each row ascending.
    """
    if wanted == stored:
        return np.tile(np.arange(stored, dtype=np.int64), (len(positions), 1))
    keys = sample_seeds(seed, positions, stored, "order/views")
    return np.sort(np.argsort(keys, axis=1, kind="stable")[:, :wanted], axis=1).astype(np.int64)


def _cascade(weights: Sequence[float]) -> list[int]:
    """Each data set's share of what the ones before it left, in units of 2^-24."""
    rest = np.cumsum(np.asarray(weights, dtype=np.float64)[::-1])[::-1]
    return [round(weight / left * (1 << _WEIGHT_BITS)) for weight, left in zip(weights, rest.tolist(), strict=True)]


def _check(totals: Sequence[int], weights: Sequence[float] | None, window: int) -> None:
    if not totals or min(totals) < 1:
        raise ValueError(f"data sets hold {list(totals)} groups; each must hold at least one")
    if weights is not None and (len(weights) != len(totals) or not all(0 < w < float("inf") for w in weights)):
        raise ValueError(f"weights are {list(weights)}; expected {len(totals)} positive numbers, one per data set")
    if window < 1:
        raise ValueError(f"window is {window} groups; it must be at least 1")
