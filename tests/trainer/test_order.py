from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.order import Order, _cascade, assign, choose_views, rank_part, sample_seeds

shards = st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(lambda sizes: sum(sizes) > 0)
mixtures = st.lists(shards, min_size=1, max_size=3)


def order_of(sizes, seed=3, **options):
    return Order(sizes, seed=seed, **options)


@settings(max_examples=60, deadline=None)
@given(sizes=mixtures, seed=st.integers(0, 2**63 - 1), window=st.integers(1, 30), data=st.data())
def test_every_group_comes_exactly_once_an_epoch(sizes, seed, window, data):
    weights = data.draw(st.none() | st.lists(st.floats(0.1, 9), min_size=len(sizes), max_size=len(sizes)))
    order = order_of(sizes, seed, window=window, weights=weights)
    slots = order.slots(0, 40 * len(sizes))
    for d, shard_sizes in enumerate(sizes):
        groups = slots.group[slots.dataset == d]
        total = sum(shard_sizes)
        assert (slots.epoch[slots.dataset == d] == np.arange(len(groups)) // total).all()
        for first in range(0, len(groups) - total + 1, total):
            assert sorted(groups[first : first + total]) == list(range(total))


@settings(max_examples=60, deadline=None)
@given(sizes=mixtures, start=st.integers(0, 200), count=st.integers(1, 40))
def test_starting_anywhere_gives_the_tail_of_the_whole(sizes, start, count):
    whole = order_of(sizes, window=7).slots(0, start + count)
    tail = order_of(sizes, window=7).slots(start, count)
    assert all((a[start:] == b).all() for a, b in zip(whole, tail, strict=True))
    assert order_of(sizes, window=7).slot(start) == tuple(int(column[0]) for column in tail)


@given(world=st.sampled_from([1, 2, 3, 4, 6, 12]), start=st.integers(0, 10**9))
def test_any_number_of_ranks_reads_the_same_global_batch(world, start):
    parts = [rank_part(start, 24, rank, world) for rank in range(world)]
    assert {len(part) for part in parts} == {24 // world}
    assert np.concatenate(parts).tolist() == list(range(start, start + 24))


@settings(max_examples=60, deadline=None)
@given(sizes=mixtures, lives=st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 6]), st.integers(1, 4)), max_size=6))
def test_each_group_comes_once_an_epoch_however_often_the_number_of_ranks_changes(sizes, lives):
    order, start, read = order_of(sizes, window=5), 0, Counter()
    for world, batches in lives:
        for _ in range(batches):
            for rank in range(world):
                slots = order.at(rank_part(start, 12, rank, world))
                read.update(zip(*(column.tolist() for column in slots), strict=True))
            start += 12
    assert set(read.values()) <= {1}  # a group of an epoch of a data set
    for d, shard_sizes in enumerate(sizes):
        epochs = Counter(epoch for dataset, epoch, _ in read if dataset == d)
        assert all(epochs[epoch] == sum(shard_sizes) for epoch in range(len(epochs) - 1))  # but the one it stops in


@given(weights=st.lists(st.floats(0.05, 20), min_size=2, max_size=5), start=st.integers(0, 10**11))
def test_mixtures_keep_to_their_weights_over_any_stretch(weights, start):
    dataset, _ = assign(np.arange(start, start + 500, dtype=np.int64), _cascade(weights))
    for d, weight in enumerate(weights):
        assert abs((dataset == d).sum() - 500 * weight / sum(weights)) < len(weights) + 1


def test_without_weights_a_mixture_draws_every_group_equally_often():
    slots = order_of([[30], [10, 20], [60]]).slots(0, 1200)
    counts = Counter(zip(slots.dataset.tolist(), slots.group.tolist(), strict=True))
    assert len(counts) == 120
    assert set(counts.values()) <= {9, 10, 11}


def test_ranks_within_a_data_set_count_up_without_gaps():
    dataset, rank = assign(np.arange(1000, dtype=np.int64), order_of([[5], [9], [3]])._shares)
    for d in range(3):
        assert rank[dataset == d].tolist() == list(range((dataset == d).sum()))


def test_a_window_bounds_the_shards_in_use():
    order = order_of([[10] * 100], window=40)
    for first in range(0, 1000, 40):
        assert len(set(order.slots(first, 40).group // 10)) <= 5


def test_epochs_and_seeds_differ_in_order():
    order = order_of([[50]])
    assert order.slots(0, 50).group.tolist() != order.slots(50, 50).group.tolist()
    assert order.slots(0, 50).group.tolist() != order_of([[50]], seed=4).slots(0, 50).group.tolist()


def test_the_order_of_version_1_is_frozen():
    """Integers only: another order must get another ORDER_VERSION."""
    slots = order_of([[3, 4], [5]], window=4).slots(0, 16)
    assert slots.dataset.tolist() == [1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0]
    assert slots.group.tolist() == [0, 4, 3, 3, 1, 6, 5, 2, 1, 4, 0, 2, 2, 3, 1, 4]


def test_views_are_chosen_without_repeats_and_evenly():
    chosen = choose_views(1, np.arange(3000), stored=5, wanted=2)
    assert (chosen[:, 0] < chosen[:, 1]).all()
    counts = np.bincount(chosen.ravel(), minlength=5)
    assert (abs(counts - 1200) < 120).all()
    assert (choose_views(1, np.arange(100, 110), 5, 2) == chosen[100:110]).all()


def test_sample_seeds_depend_on_slot_and_purpose_alone():
    whole = sample_seeds(7, np.arange(64), 4, "augment")
    assert len(np.unique(whole)) == 256
    assert (whole >= 0).all()
    assert (sample_seeds(7, np.array([9]), 4, "augment") == whole[9:10]).all()
    assert (sample_seeds(7, np.arange(64), 4, "other") != whole).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sizes": []}, "at least one"),
        ({"sizes": [[0, 0]]}, "at least one"),
        ({"sizes": [[1], [2]], "weights": [1.0]}, "2 positive numbers"),
        ({"sizes": [[1]], "weights": [-1.0]}, "positive"),
        ({"sizes": [[1]], "window": 0}, "window"),
    ],
)
def test_impossible_orders_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Order(options.pop("sizes"), seed=0, **options)
