"""Views that edit styles, and views along learned steps: formulas, ranges, laws of α, files that do not fit."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from factory.views import Place
from manifests import seeds
from manifests.errors import UserError
from tests.factory.views import learned
from tests.factory.views.spaces import (
    DIM,
    LAYERS,
    SEED,
    W_DIM,
    draws,
    latents,
    space,
    strategy,
    truncated,
    truncated_std,
    views_of,
)

LAW = space(tau=0.8, bound=1.7)
RANGE = {"first_layer": 2, "last_layer": 4}


def test_a_step_in_w_is_its_formula_in_its_layers_and_leaves_z_alone() -> None:
    place = Place(SEED, 3, 1)
    told = draws(strategy("layers", sigma=0.3, **RANGE), [place], LAW)[0]
    assert told.edit is not None
    assert (told.edit.kind, told.edit.first_layer, told.edit.last_layer) == ("add", 2, 4)
    np.testing.assert_allclose(told.edit.vector, 0.3 * truncated(place.view_seed, "step", W_DIM, 2.0), atol=1e-6)
    np.testing.assert_allclose(told.latent, 0.8 * truncated(place.group_seed, "anchor", DIM, 1.7), atol=1e-6)
    assert dict(told.columns) == {"tau": 0.8, "anchor_bound": 1.7, "psi": 1.0, "sigma": 0.3, "bound": 2.0}


def test_steps_in_w_have_their_law_and_are_paired_over_sigma() -> None:
    steps = {
        sigma: np.array(
            [one.edit.vector for one in draws(strategy("layers", sigma=sigma, **RANGE), views_of(400), LAW)]
        )
        for sigma in (0.5, 2.0)
    }
    np.testing.assert_allclose(steps[2.0], 4 * steps[0.5], rtol=1e-5)
    assert np.abs(steps[0.5]).max() <= 2 * 0.5 + 1e-6
    assert steps[0.5].std() == pytest.approx(0.5 * truncated_std(2.0), rel=0.03)


def test_mixing_takes_the_styles_of_a_fresh_latent_of_the_anchors_law() -> None:
    told = draws(strategy("mixing", **RANGE), views_of(100), LAW)
    others = np.array([one.edit.vector for one in told])
    place = Place(SEED, 7, 1)
    np.testing.assert_allclose(others[7], 0.8 * truncated(place.view_seed, "anchor", DIM, 1.7), atol=1e-6)
    assert {(one.edit.kind, one.edit.first_layer, one.edit.last_layer) for one in told} == {("mix", 2, 4)}
    anchors = latents(strategy("none"), views_of(100), LAW)
    np.testing.assert_array_equal([one.latent for one in told], anchors)
    assert abs((others * anchors).mean()) < 5 * 0.8**2 / math.sqrt(anchors.size)


@pytest.mark.parametrize("name", ["layers", "mixing"])
def test_an_anchor_is_not_edited_until_it_is_rolled_again(name: str) -> None:
    settings = {**RANGE, "sigma": 1.0} if name == "layers" else RANGE
    first, again = draws(strategy(name, **settings), [Place(SEED, 3, 0), Place(SEED, 3, 0, 1)], LAW)
    assert first.edit is None
    assert again.edit is not None
    assert again.latent == first.latent


def test_layers_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UserError, match=rf"last_layer is {LAYERS}; expected at most {LAYERS - 1}"):
        strategy("mixing", first_layer=0, last_layer=LAYERS).open(LAW)
    strategy("mixing", first_layer=LAYERS - 1, last_layer=LAYERS - 1).open(LAW)
    with pytest.raises(ValueError, match="a last_layer from first_layer, 3, on, not 2"):
        strategy("mixing", first_layer=3, last_layer=2)


def alphas_of(place: Place) -> dict[str, float]:
    """Draw α as docs/views.md says."""
    return {
        name: low + (high - low) * float(seeds.uniform(place.view_seed, f"alpha/{name}", 1)[0])
        for name, (low, high) in learned.LAWS.items()
    }


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_a_steered_view_is_the_sum_of_its_walks(tmp_path: Path, scale: float) -> None:
    file = learned.read(learned.write_walks(tmp_path / "walks", DIM), "walks")
    place = Place(SEED, 3, 2)
    told = draws(strategy("steer", walks="w", scale=scale), [place], LAW, file)[0]
    steps = sum(scale * alpha * learned.vectors(DIM)[name] for name, alpha in alphas_of(place).items())
    anchor = 0.8 * truncated(place.group_seed, "anchor", DIM, 1.7)
    np.testing.assert_allclose(told.latent, anchor + 0.8 * steps, atol=1e-5)
    assert told.columns["walks"] == ["zoom", "shift_x"]
    np.testing.assert_allclose(told.columns["alphas"], [scale * one for one in alphas_of(place).values()])


def test_alphas_follow_their_laws_and_no_two_views_share_one(tmp_path: Path) -> None:
    file = learned.read(learned.write_walks(tmp_path / "walks", DIM), "walks")
    places = views_of(500) + views_of(500, view=2) + views_of(10, attempt=1)
    told = np.array([one.columns["alphas"] for one in draws(strategy("steer", walks="w"), places, LAW, file)])
    assert len(set(told.ravel().tolist())) == told.size
    for drawn, (low, high) in zip(told.T, learned.LAWS.values(), strict=True):
        assert low <= drawn.min() < drawn.max() < high
        assert drawn.mean() == pytest.approx((low + high) / 2, abs=5 * (high - low) / math.sqrt(12 * len(told)))
        assert drawn.std() == pytest.approx((high - low) / math.sqrt(12), rel=0.05)
    assert abs(np.corrcoef(told.T)[0, 1]) < 5 / math.sqrt(len(told))


def test_chosen_walks_have_the_alphas_that_they_have_among_all(tmp_path: Path) -> None:
    file = learned.read(learned.write_walks(tmp_path / "walks", DIM), "walks")
    whole, chosen = (
        draws(strategy("steer", walks="w", **along), views_of(3), LAW, file) for along in ({}, {"along": ["shift_x"]})
    )
    assert [one.columns["alphas"][1:] for one in whole] == [one.columns["alphas"] for one in chosen]
    assert chosen[0].columns["walks"] == ["shift_x"]
    assert "walks" not in draws(strategy("steer", walks="w"), [Place(SEED, 0, 0)], LAW, file)[0].columns


def test_walks_in_w_are_a_step_in_all_layers(tmp_path: Path) -> None:
    file = learned.read(learned.write_walks(tmp_path / "walks", W_DIM, "w"), "walks")
    place = Place(SEED, 3, 2)
    told = draws(strategy("steer", walks="w"), [place], LAW, file)[0]
    expected = sum(alpha * learned.vectors(W_DIM)[name] for name, alpha in alphas_of(place).items())
    assert (told.edit.kind, told.edit.first_layer, told.edit.last_layer) == ("add", 0, LAYERS - 1)
    np.testing.assert_allclose(told.edit.vector, expected, atol=1e-6)
    assert told.latent == draws(strategy("none"), [place], LAW)[0].latent


def navigated(z: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Run the network of learned.py by hand, in float64."""
    arrays = {name: one.astype(np.float64) for name, one in learned.layers(DIM).items()}
    hidden = np.maximum(arrays["layer/0/weight"] @ np.concatenate([z, noise]) + arrays["layer/0/bias"], 0)
    way = arrays["layer/1/weight"] @ hidden + arrays["layer/1/bias"]
    return way / np.linalg.norm(way)


def test_a_navigated_view_goes_where_its_network_says_as_far_as_a_gaussian_step(tmp_path: Path) -> None:
    file = learned.read(learned.write_navigator(tmp_path / "n", DIM, sigma=0.5), "navigator")
    places = views_of(40)
    told = draws(strategy("navigator", navigator="n"), places, LAW, file)
    anchors = latents(strategy("none"), places, LAW)
    steps = np.array([one.latent for one in told]) - anchors
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), 0.8 * 0.5 * math.sqrt(DIM), rtol=1e-5)
    noise = truncated(places[5].view_seed, "step", DIM, None)
    expected = 0.8 * 0.5 * math.sqrt(DIM) * navigated(anchors[5] / 0.8, noise)
    np.testing.assert_allclose(steps[5], expected, atol=1e-5)
    assert told[0].columns["sigma"] == 0.5
    unbound = latents(strategy("gaussian", sigma=0.5, bound=None), places, LAW) - anchors
    assert (unbound**2).sum(axis=1).mean() == pytest.approx((steps**2).sum(axis=1).mean(), rel=0.15)


def test_views_of_a_navigator_differ_by_their_noise(tmp_path: Path) -> None:
    file = learned.read(learned.write_navigator(tmp_path / "n", DIM), "navigator")
    places = [Place(SEED, 3, view, attempt) for view in range(3) for attempt in range(2)]
    assert len({one.latent for one in draws(strategy("navigator", navigator="n"), places, LAW, file)}) == 6


@pytest.mark.parametrize("dimensions", [DIM - 1, DIM + 1, W_DIM])
def test_steps_of_another_length_are_refused(tmp_path: Path, dimensions: int) -> None:
    walks = learned.read(learned.write_walks(tmp_path / "walks", dimensions), "walks")
    navigator = learned.read(learned.write_navigator(tmp_path / "n", dimensions), "navigator")
    with pytest.raises(UserError, match=rf"w: steps of {dimensions} numbers, but the generator's z has {DIM}"):
        strategy("steer", walks="w").open(LAW, walks)
    with pytest.raises(UserError, match=rf"n: steps of {dimensions} numbers, but the generator's z has {DIM}"):
        strategy("navigator", navigator="n").open(LAW, navigator)


def test_a_walk_that_is_not_in_the_file_is_refused_by_name(tmp_path: Path) -> None:
    file = learned.read(learned.write_walks(tmp_path / "walks", DIM), "walks")
    with pytest.raises(UserError, match=r"strategy\.along: w has no 'spin'; it has zoom, shift_x"):
        strategy("steer", walks="w", along=["zoom", "spin"]).open(LAW, file)
