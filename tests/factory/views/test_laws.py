"""The laws of anchors and steps: moments, bounds, inverse distribution; draws that other settings leave alone."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.views.laws import anchor, between, fresh, psi_of, truncated_normal, uniform_box, vector
from factory.views.protocol import Place
from tests.factory.views.spaces import SEED, space, truncated, truncated_std, views_of

N = 20_000


@pytest.mark.parametrize("bound", [0.5, 1.0, 2.0, 4.0])
def test_a_truncated_normal_has_the_closed_forms_moments_and_never_leaves_its_bounds(bound: float) -> None:
    drawn = truncated_normal(SEED, "p", N, bound)
    std = truncated_std(bound)
    assert np.abs(drawn).max() <= bound
    assert np.abs(drawn).max() > 0.99 * bound or bound == 4.0  # it is cut there, not squeezed
    assert abs(drawn.mean()) < 5 * std / math.sqrt(N)
    assert drawn.std() == pytest.approx(std, rel=5 / math.sqrt(N))


@pytest.mark.parametrize("bound", [1.0, 2.0, None])
def test_the_whole_distribution_is_the_normal_ones_between_the_bounds(bound: float | None) -> None:
    cdf = NormalDist().cdf
    low, high = (0.0, 1.0) if bound is None else (cdf(-bound), cdf(bound))
    drawn = np.sort(truncated_normal(SEED, "p", N, bound))
    expected = np.array([(cdf(x) - low) / (high - low) for x in drawn])
    distance = np.abs(expected - (np.arange(N) + 0.5) / N).max()
    assert distance < 1.95 / math.sqrt(N)  # Kolmogorov-Smirnov, p = 0.001


@pytest.mark.parametrize("bound", [0.3, 2.0, 5.0, None])
def test_each_number_is_the_inverse_distribution_of_a_uniform_one(bound: float | None) -> None:
    np.testing.assert_allclose(truncated_normal(7, "p", 64, bound), truncated(7, "p", 64, bound), atol=1e-9)


def test_a_bound_cuts_and_does_not_scale() -> None:
    wide, narrow = truncated_normal(3, "p", N, 8.0), truncated_normal(3, "p", N, 1.0)
    assert wide.std() == pytest.approx(1.0, rel=0.03)
    assert (np.sign(wide) == np.sign(narrow)).all()  # the same underlying draw
    assert np.abs(narrow).max() <= 1.0


def test_the_box_has_unit_deviation_and_its_edges() -> None:
    drawn = uniform_box(SEED, "p", N)
    assert np.abs(drawn).max() <= math.sqrt(3.0)
    assert abs(drawn.mean()) < 5 / math.sqrt(N)
    assert drawn.std() == pytest.approx(1.0, rel=0.02)
    assert np.histogram(drawn, 10, (-math.sqrt(3), math.sqrt(3)))[0].min() > N / 10 - 5 * math.sqrt(N / 10)


@given(st.integers(0, 2**64 - 1), st.floats(-5, 5), st.floats(0, 5))
def test_a_number_between_two_lies_between_them(seed: int, low: float, width: float) -> None:
    assert low <= between(seed, "p", low, low + width) <= low + width


def test_an_anchor_is_of_the_group_and_of_nothing_else() -> None:
    law = space(tau=0.7, bound=1.5)
    same = [anchor(Place(SEED, 4, view, attempt), law) for view in range(3) for attempt in range(2)]
    assert all((one == same[0]).all() for one in same)
    assert not np.isin(anchor(Place(SEED, 5, 0), law), same[0]).any()
    assert not np.isin(anchor(Place(SEED + 1, 4, 0), law), same[0]).any()


def test_tau_scales_anchors_and_the_bound_cuts_them_apart_from_it() -> None:
    plain = np.array([anchor(place, space(bound=2.0)) for place in views_of(300)])
    scaled = np.array([anchor(place, space(bound=2.0, tau=0.5)) for place in views_of(300)])
    np.testing.assert_array_equal(scaled, 0.5 * plain)
    assert np.abs(plain).max() <= 2.0 < 1.05 * np.abs(plain).max()
    assert plain.std() == pytest.approx(truncated_std(2.0), rel=0.03)
    unbound = np.array([anchor(place, space(tau=0.5)) for place in views_of(300)])
    assert unbound.std() == pytest.approx(0.5, rel=0.03)
    assert np.abs(unbound).max() > 1.0


def test_a_kept_anchor_cannot_be_changed_by_who_asked_for_it() -> None:
    with pytest.raises(ValueError, match="read-only"):
        fresh(5, space())[0] = 1.0


def test_psi_is_each_views_own_between_its_bounds_and_stays_when_it_is_rolled_again() -> None:
    law = space(psi=(0.4, 0.9))
    drawn = np.array([psi_of(place, law) for place in views_of(2000)])
    assert 0.4 <= drawn.min() < 0.41
    assert 0.89 < drawn.max() <= 0.9
    assert drawn.mean() == pytest.approx(0.65, abs=5 * 0.5 / math.sqrt(12 * 2000))
    again = [psi_of(place, law) for place in views_of(20, attempt=3)]
    others = [psi_of(place, law) for place in views_of(20, view=2)]
    assert again == drawn[:20].tolist()
    assert not set(others) & set(again)
    assert psi_of(Place(1, 2, 3), space(psi=(0.7, 0.7))) == 0.7


def test_latents_are_rounded_to_what_a_row_can_hold() -> None:
    values = truncated_normal(1, "p", 16, None) / 3
    assert vector(values) == tuple(float(np.float32(one)) for one in values)
