"""Rank, alignment and uniformity against numpy, and at their ends."""

import numpy as np
import pytest
import torch

from trainer.evaluation.geometry import alignment, effective_rank, uniformity

DRAW = np.random.default_rng(2)


def test_uniformity_is_the_log_mean_potential_of_all_pairs() -> None:
    rows = DRAW.normal(size=(30, 4))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = [np.exp(-2 * ((unit[i] - unit[j]) ** 2).sum()) for i in range(30) for j in range(i)]
    found = uniformity(torch.from_numpy(rows), np.arange(30))
    assert found.mean == pytest.approx(np.log(np.mean(pairs)))
    assert found.low < found.mean < found.high
    assert found.n == 30


def test_views_of_a_group_are_no_pair_and_pull_the_interval_nowhere() -> None:
    rows = np.repeat(DRAW.normal(size=(30, 8)), 2, axis=0)
    found, single = uniformity(torch.from_numpy(rows), np.arange(60) // 2), rows[::2]
    assert found.mean == pytest.approx(uniformity(torch.from_numpy(single), np.arange(30)).mean)
    assert found.low < found.mean < found.high
    assert found.n == 30


def test_features_in_one_place_are_not_uniform_and_those_spread_far_are() -> None:
    one = uniformity(torch.ones(20, 8), np.arange(20))
    assert (one.low, one.mean, one.high) == pytest.approx((0, 0, 0), abs=1e-9)
    many = uniformity(torch.from_numpy(DRAW.normal(size=(200, 500))), np.arange(200))
    assert many.mean == pytest.approx(-4, abs=0.05)


def test_alignment_is_the_squared_distance_on_the_sphere() -> None:
    first, second = torch.tensor([[2.0, 0], [1, 0], [3, 0]]), torch.tensor([[5.0, 0], [0, 1], [-1, 0]])
    assert alignment(first, second) == pytest.approx([0, 2, 4])


def test_the_effective_rank_counts_directions() -> None:
    assert effective_rank(torch.eye(16)) == pytest.approx(16, rel=1e-4)
    assert effective_rank(torch.ones(50, 16)) == pytest.approx(1, rel=1e-3)
