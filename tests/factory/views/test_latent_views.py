"""Views that are steps in z: their formulas against references, their laws, what is paired and what is independent."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from factory.views import Place, Strategy
from manifests import seeds
from manifests.errors import UserError
from tests.factory.views.spaces import (
    DIM,
    SEED,
    draws,
    latents,
    space,
    strategy,
    truncated,
    truncated_std,
    views_of,
)

LAW = space(tau=0.8, bound=1.7)
STEPS = {
    "gaussian": {"sigma": 0.5},
    "angular": {"sigma": 0.5},
    "ball": {"sigma": 0.5},
    "chunks": {"sigma": 0.5, "blocks": 4, "perturb": [1, 3]},
}
MOVES = [strategy(name, **settings) for name, settings in STEPS.items()]


def reference(name: str, place: Place, sigma: float, bound: float | None = 2.0) -> np.ndarray:
    """Compute a view's z as docs/views.md writes it."""
    z = LAW.tau * truncated(place.group_seed, "anchor", DIM, LAW.bound)
    if name == "ball":
        return z + LAW.tau * sigma * math.sqrt(3) * (2 * seeds.uniform(place.view_seed, "step", DIM) - 1)
    step = LAW.tau * sigma * truncated(place.view_seed, "step", DIM, bound)
    if name == "chunks":
        step = step.reshape(4, -1) * np.array([0.0, 1.0, 0.0, 1.0])[:, None]
    moved = z + step.reshape(-1)
    return moved * math.sqrt((z**2).sum() / (moved**2).sum()) if name == "angular" else moved


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("bound", [2.0, 0.7, None])
def test_a_view_is_its_formula(name: str, bound: float | None) -> None:
    settings = STEPS[name] if name == "ball" else {**STEPS[name], "bound": bound}
    place = Place(SEED, 3, 2, 1)
    found = latents(strategy(name, **settings), [place], LAW)[0]
    np.testing.assert_allclose(found, reference(name, place, 0.5, bound), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("of", MOVES, ids=list(STEPS))
def test_view_0_is_the_anchor_and_rolled_again_it_is_a_view_like_the_others(of: Strategy) -> None:
    first, again, other = draws(of, [Place(SEED, 3, 0), Place(SEED, 3, 0, 1), Place(SEED, 3, 1)], LAW)
    anchor = LAW.tau * truncated(seeds.group_seed(SEED, 3), "anchor", DIM, LAW.bound)
    np.testing.assert_allclose(first.latent, anchor, atol=1e-6)
    assert set(first.columns) == {"tau", "anchor_bound", "psi"}
    assert set(again.columns) == set(other.columns) > set(first.columns)
    assert again.latent not in (first.latent, other.latent)
    assert (again.seed, first.seed) == (seeds.view_seed(SEED, 3, 0, 1), seeds.view_seed(SEED, 3, 0, 0))


@pytest.mark.parametrize("of", MOVES, ids=list(STEPS))
def test_views_groups_and_attempts_have_steps_of_their_own(of: Strategy) -> None:
    places = [Place(SEED, group, view, attempt) for group in range(4) for view in (1, 2) for attempt in (0, 1)]
    anchors = latents(of, [Place(SEED, place.group, 0) for place in places], LAW)
    steps = latents(of, places, LAW) - anchors
    moved = steps[:, np.abs(steps).max(axis=0) > 0]
    alike = np.corrcoef(moved) - np.eye(len(places))
    assert np.abs(alike).max() < 5 / math.sqrt(moved.shape[1])
    assert len({tuple(row) for row in moved.round(6)}) == len(places)


@pytest.mark.parametrize("name", ["gaussian", "ball"])
def test_steps_have_the_deviation_they_ask_for(name: str) -> None:
    places = views_of(400)
    anchors = latents(strategy("none"), places, LAW)
    steps = (latents(strategy(name, sigma=0.5), places, LAW) - anchors) / (LAW.tau * 0.5)
    limit, std = {"gaussian": (2.0, truncated_std(2.0)), "ball": (math.sqrt(3), 1.0)}[name]
    assert 0.98 * limit < np.abs(steps).max() <= limit + 1e-5
    assert abs(steps.mean()) < 5 * std / math.sqrt(steps.size)
    assert steps.std() == pytest.approx(std, rel=0.03)
    alike = np.corrcoef(np.stack([steps.ravel(), anchors.ravel()]))[0, 1]
    assert abs(alike) < 5 / math.sqrt(steps.size)  # of the anchor


@pytest.mark.parametrize("name", ["gaussian", "ball", "chunks"])
def test_a_sweep_over_sigma_is_paired(name: str) -> None:
    """The same draw at every σ: the steps differ by their length alone."""
    places = views_of(5)
    anchors = latents(strategy("none"), places, LAW)
    steps = {
        sigma: (latents(strategy(name, **{**STEPS[name], "sigma": sigma}), places, LAW) - anchors) / sigma
        for sigma in (0.1, 0.5, 4.0)
    }
    np.testing.assert_allclose(steps[0.1], steps[4.0], atol=2e-5)
    np.testing.assert_allclose(steps[0.5], steps[4.0], atol=2e-5)


def test_a_sweep_over_tau_is_paired_and_sigma_is_in_its_units() -> None:
    of, places = strategy("gaussian", sigma=0.5), views_of(5)
    plain, half = (latents(of, places, space(tau=tau, bound=1.7)) for tau in (1.0, 0.5))
    np.testing.assert_allclose(half, 0.5 * plain, atol=1e-6)


def test_angular_views_have_the_length_of_their_own_anchor_row_by_row() -> None:
    places = views_of(50)
    anchors, moved = latents(strategy("none"), places, LAW), latents(strategy("angular", sigma=2.0), places, LAW)
    lengths = np.linalg.norm(anchors, axis=1)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), lengths, rtol=1e-6)
    assert lengths.std() > 0.05  # else a batch's norm would do as well
    cosines = (anchors * moved).sum(axis=1) / lengths**2
    assert (cosines < 0.9).all()


def test_angular_views_turn_less_for_a_smaller_sigma() -> None:
    places = views_of(30)
    anchors = latents(strategy("none"), places, LAW)

    def turn(sigma: float) -> float:
        moved = latents(strategy("angular", sigma=sigma), places, LAW)
        return float(((anchors * moved).sum(axis=1) / (anchors**2).sum(axis=1)).mean())

    assert 1 > turn(0.1) > turn(0.5) > turn(2.0) > turn(50.0)
    assert abs(turn(50.0)) < 0.2


@pytest.mark.parametrize("perturb", [[0], [1, 3], [0, 1, 2, 3]])
def test_chunks_touch_their_blocks_alone_and_all_of_them(perturb: list[int]) -> None:
    of = strategy("chunks", sigma=1.0, blocks=4, perturb=perturb)
    places = views_of(20)
    steps = latents(of, places, LAW) - latents(strategy("none"), places, LAW)
    moved = np.abs(steps).max(axis=0).reshape(4, -1)
    kept = sorted(set(range(4)) - set(perturb))
    assert (moved[perturb] > 0.1).all()
    assert (moved[kept] == 0).all()
    if len(perturb) == 4:
        np.testing.assert_allclose(latents(of, places, LAW), latents(strategy("gaussian", sigma=1.0), places, LAW))
    row = draws(of, places[:1], LAW)[0].columns
    assert (row["blocks"], row["block_count"], row["sigma"], row["bound"]) == (perturb, 4, 1.0, 2.0)


def test_chunks_that_do_not_divide_z_are_refused_when_they_are_opened() -> None:
    with pytest.raises(UserError, match=r"strategy.blocks is 5; expected a divisor of z's 32"):
        strategy("chunks", sigma=1.0, blocks=5, perturb=[0]).open(space())
    with pytest.raises(ValueError, match="blocks from 0 to 3"):
        strategy("chunks", sigma=1.0, blocks=4, perturb=[4])


def test_independent_views_are_draws_of_the_anchors_law() -> None:
    places = [Place(SEED, group, view) for group in range(60) for view in range(4)]
    drawn = latents(strategy("independent"), places, LAW)
    np.testing.assert_array_equal(drawn[::4], latents(strategy("none"), places[::4], LAW))  # view 0 is the anchor
    others = drawn.reshape(60, 4, DIM)[:, 1:]
    assert np.abs(others).max() <= LAW.tau * 1.7
    assert others.std() == pytest.approx(LAW.tau * truncated_std(1.7), rel=0.03)
    alike = np.corrcoef(others.reshape(180, DIM)) - np.eye(180)
    assert np.abs(alike.mean()) < 0.01


def test_none_gives_one_latent_one_noise_and_one_psi_to_all_views_at_each_attempt() -> None:
    law = space(psi=(0.3, 0.9))
    for attempt in (0, 1):
        told = draws(strategy("none"), [Place(SEED, 5, view, attempt) for view in range(4)], law)
        assert len({(one.seed, one.latent, one.columns["psi"]) for one in told}) == 1
    first, again = (draws(strategy("none"), [Place(SEED, 5, 0, attempt)], law)[0] for attempt in (0, 1))
    assert first.latent != again.latent
    assert draws(strategy("none"), [Place(SEED, 6, 0)], law)[0].latent != first.latent


def test_rows_say_the_anchors_law_apart_from_the_steps() -> None:
    row = draws(strategy("gaussian", sigma=0.3, bound=None), views_of(1), space(tau=0.9, bound=2.0, psi=(0.6, 0.6)))[0]
    assert dict(row.columns) == {"tau": 0.9, "anchor_bound": 2.0, "psi": 0.6, "sigma": 0.3, "bound": None}


@pytest.mark.parametrize(
    ("name", "settings"), [*STEPS.items(), ("mixing", {"first_layer": 0, "last_layer": 1})], ids=[*STEPS, "mixing"]
)
def test_a_generator_without_latents_is_refused(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="moves latent vectors"):
        strategy(name, **settings).open(None)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"sigma": 0}, "greater than 0"),
        ({"sigma": float("nan")}, "greater than 0|finite"),
        ({"sigma": float("inf")}, "finite|less than or equal"),
        ({"sigma": 1, "bound": 0}, "greater than 0"),
        ({"sigma": 1, "tau": 1}, "Extra inputs"),
        ({}, "Field required"),
    ],
)
def test_numbers_that_make_no_law_are_refused(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        strategy("gaussian", **settings)
