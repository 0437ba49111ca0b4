"""How near the window shuffle comes to a full one: docs/loader.md states these numbers."""

import numpy as np
import pytest

from trainer.order import Order

SHARDS, SHARD_GROUPS, BATCH_GROUPS = 160, 250, 256
GROUPS = SHARDS * SHARD_GROUPS


def epochs(window, count=1):
    groups = Order([[SHARD_GROUPS] * SHARDS], seed=11, window=window).slots(0, count * GROUPS).group
    return groups.reshape(count, GROUPS)


def neighbour_distance(groups):
    """Mean distance in storage of groups shown one after the other; 1 = as far as in a full shuffle, a third of all."""
    return float(np.abs(np.diff(groups)).mean() / (GROUPS / 3))


def same_shard_pairs(groups):
    """Share of the pairs within a batch that lie in one shard."""
    batches = groups[: GROUPS // BATCH_GROUPS * BATCH_GROUPS].reshape(-1, BATCH_GROUPS) // SHARD_GROUPS
    in_shard = np.stack([np.bincount(batch, minlength=SHARDS) for batch in batches])
    return float((in_shard * (in_shard - 1)).sum() / (len(batches) * BATCH_GROUPS * (BATCH_GROUPS - 1)))


def met_again(first, second):
    """Pairs that share a batch in two epochs, over how many do in full shuffles."""
    batch_of = [np.argsort(epoch) // BATCH_GROUPS for epoch in (first, second)]
    _, cells = np.unique(np.stack(batch_of), axis=1, return_counts=True)
    pairs, batches = (cells * (cells - 1)).sum(), GROUPS / BATCH_GROUPS
    return float(pairs / (GROUPS * (BATCH_GROUPS - 1) / batches))


# As the default window of 16,384 groups stands to shards of 1,000: a window of 16 shards.
@pytest.mark.parametrize(
    ("window", "distance", "same_shard", "again"),
    [(GROUPS, 1.0, 0.006, 1.0), (4096, 0.91, 0.061, 1.55), (1024, 0.73, 0.22, 8.6), (256, 0.33, 0.65, 76.0)],
)
def test_a_window_of_many_shards_is_nearly_a_full_shuffle(window, distance, same_shard, again):
    first, second = epochs(window, 2)
    assert neighbour_distance(first) == pytest.approx(distance, abs=0.02)
    assert same_shard_pairs(first) == pytest.approx(same_shard, rel=0.1, abs=0.002)
    assert met_again(first, second) == pytest.approx(again, rel=0.15)


def test_where_a_group_is_stored_says_nothing_of_when_it_is_shown():
    ranks = [np.corrcoef(np.arange(GROUPS), epoch)[0, 1] for epoch in epochs(4096, 20)]
    assert abs(np.mean(ranks)) < 0.05
    assert np.abs(ranks).max() < 4 / np.sqrt(SHARDS)  # as shards in random order have it
