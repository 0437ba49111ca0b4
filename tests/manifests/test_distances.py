"""The distances against references written out pair by pair, and against known values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.distances import (
    frechet_distance,
    kernel_distance,
    kernel_distance_of_subsets,
    mean_group_distances,
)


def _features(seed: int, count: int, width: int = 5, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, (count, width))


def _kernel(x: np.ndarray, y: np.ndarray) -> float:
    return (sum(a * b for a, b in zip(x, y, strict=True)) / len(x) + 1) ** 3


def _reference_kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    def mean_of_pairs(x: np.ndarray) -> float:
        return float(np.mean([_kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]))

    across = np.mean([_kernel(a, b) for a in first for b in second])
    return mean_of_pairs(first) + mean_of_pairs(second) - 2 * float(across)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 9), st.integers(2, 9), st.integers(1, 4))
def test_the_kernel_distance_equals_a_sum_over_pairs(seed: int, n: int, m: int, block: int) -> None:
    first, second = _features(seed, n), _features(seed + 1, m, shift=0.5)
    assert kernel_distance(first, second, block=block) == pytest.approx(
        _reference_kernel_distance(first, second), rel=1e-9, abs=1e-9
    )


def test_the_kernel_distance_of_one_law_is_zero_on_average() -> None:
    draws = [kernel_distance(_features(2 * seed, 40), _features(2 * seed + 1, 40)) for seed in range(200)]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / np.sqrt(len(draws))
    assert min(draws) < 0, "an unbiased estimate must fall below zero now and then"


def test_the_frechet_distance_equals_the_matrix_square_root_formula() -> None:
    import scipy.linalg

    first, second = _features(1, 60), _features(2, 50, shift=0.3) @ np.diag([1, 2, 0.5, 1, 3.0])
    covariances = np.cov(first.T), np.cov(second.T)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    shift = first.mean(0) - second.mean(0)
    expected = shift @ shift + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)


def test_the_frechet_distance_of_a_shift_is_its_square() -> None:
    features = _features(3, 30)
    assert frechet_distance(features, features + 2.0) == pytest.approx(4.0 * 5)


def test_the_frechet_distance_bears_fewer_images_than_features() -> None:
    features = _features(4, 6, width=20)
    assert frechet_distance(features, features) == pytest.approx(0.0, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_group_distances_equal_means_over_pairs(seed: int) -> None:
    features, groups = (
        _features(seed, 12),
        np.random.default_rng(seed).permutation([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3]),
    )
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    pairs = [(i, j) for i in range(12) for j in range(12) if i != j]
    within = np.mean([1 - unit[i] @ unit[j] for i, j in pairs if groups[i] == groups[j]])
    between = np.mean([1 - unit[i] @ unit[j] for i, j in pairs if groups[i] != groups[j]])
    assert mean_group_distances(features, groups) == pytest.approx((within, between))


def test_subsets_are_drawn_alike_for_one_seed() -> None:
    sets = _features(5, 50), _features(6, 60)
    first, again, other = (
        kernel_distance_of_subsets(*sets, subset_images=20, subsets=5, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_sets_of_unequal_width_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        kernel_distance(_features(1, 5, width=3), _features(1, 5, width=4))


def test_a_single_group_has_no_distance_between() -> None:
    with pytest.raises(ValueError, match="two groups"):
        mean_group_distances(_features(1, 4), [0, 0, 0, 0])
