"""Precision, recall, density, coverage and authenticity against references that go image by image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests import neighbours
from manifests.neighbours import authenticity, nearest, reach, support


def features(seed: int, count: int, width: int = 4, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, (count, width))


def reference_reach(points: np.ndarray, k: int) -> list[float]:
    others = [[np.linalg.norm(a - b) for j, b in enumerate(points) if j != i] for i, a in enumerate(points)]
    return [sorted(distances)[k - 1] for distances in others]


def reference_support(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float, float, float]:
    of_real, of_fake = reference_reach(real, k), reference_reach(fake, k)
    holds = np.array([[np.linalg.norm(r - f) <= radius for f in fake] for r, radius in zip(real, of_real, strict=True)])
    held = np.array([[np.linalg.norm(r - f) <= radius for f, radius in zip(fake, of_fake, strict=True)] for r in real])
    return holds.any(0).mean(), held.any(1).mean(), holds.sum(0).mean() / k, holds.any(1).mean()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(7, 25), st.integers(7, 25), st.integers(1, 5), st.integers(1, 30))
def test_supports_equal_their_definitions_in_any_block(seed: int, n: int, m: int, k: int, block: int) -> None:
    real, fake = features(seed, n), features(seed + 1, m, shift=0.4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK", block)
        found = support(real, fake, neighbours=k)
    expected = reference_support(real, fake, k)
    assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(expected, abs=1e-9)


def test_equal_sets_lie_in_each_others_support_and_far_ones_do_not() -> None:
    real = features(0, 50)
    same, far = support(real, real.copy()), support(real, real + 100)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)


def test_a_far_origin_changes_nothing() -> None:
    real, fake = features(1, 60), features(2, 40, shift=0.3)
    assert support(real + 1e4, fake + 1e4) == support(real, fake)


def test_the_nearest_is_found_with_its_distance() -> None:
    first, second = features(3, 12), features(4, 9)
    index, distance = nearest(first, second)
    table = np.array([[np.linalg.norm(a - b) for b in second] for a in first])
    np.testing.assert_array_equal(index, table.argmin(1))
    np.testing.assert_allclose(distance, table.min(1), rtol=1e-9)


def test_copies_are_not_authentic_and_draws_of_one_law_are_so_half_of_the_time() -> None:
    real = features(5, 400)
    assert authenticity(real, real[:50] + 1e-9) == 0
    assert authenticity(real, features(6, 400)) == pytest.approx(0.5, abs=0.1)
    assert authenticity(real, features(6, 50) + 50) == 1


def test_more_neighbours_than_there_are_images_are_refused() -> None:
    with pytest.raises(ValueError, match="5 neighbours among 5 images"):
        reach(features(0, 5), 5)


def test_sets_of_unequal_width_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        nearest(features(0, 5, width=3), features(0, 5, width=4))
