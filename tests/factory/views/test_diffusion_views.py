"""Views of prompts: their guidance, noise, wording and first image."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from factory.generators.noise import first_noise
from factory.generators.protocol import ViewRequest
from factory.views import Draw, Place, Subject
from manifests import seeds
from manifests.errors import UserError
from tests.factory.views.spaces import SEED, draws, strategy, views_of

SHAPE = (4, 16, 16)


def noise_of(place: Place, draw: Draw) -> np.ndarray:
    """Return the first noise of a view, float64 and flat."""
    wanted = ViewRequest(place.group, place.view, place.attempt, draw.seed, columns=draw.columns)
    return first_noise([replace(wanted, group_seed=place.group_seed)], SHAPE).numpy().astype(np.float64).ravel()


def noises(name: str, places: list[Place], **settings: float) -> np.ndarray:
    told = draws(strategy(name, **settings), places, None)
    return np.stack([noise_of(*pair) for pair in zip(places, told, strict=True)])


def test_seeds_gives_each_view_and_each_attempt_a_noise_of_its_own() -> None:
    places = [Place(SEED, group, view, attempt) for group in (0, 1) for view in (0, 1) for attempt in (0, 1)]
    drawn = noises("independent", places)
    for place, one in zip(places, drawn, strict=True):
        np.testing.assert_array_equal(one, seeds.normal(place.view_seed, "noise", SHAPE).ravel())
    assert np.abs(np.corrcoef(drawn) - np.eye(len(places))).max() < 5 / math.sqrt(drawn.shape[1])


def test_none_gives_every_view_one_noise() -> None:
    drawn = noises("none", [Place(SEED, 2, view) for view in range(3)])
    assert (drawn == drawn[0]).all()
    assert not (noises("none", [Place(SEED, 2, 1, 1)]) == drawn[0]).any()


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 3.0])
def test_noises_around_the_groups_have_unit_variance_and_its_correlation(sigma: float) -> None:
    places = [Place(SEED, group, view) for group in range(8) for view in (1, 2)]
    drawn = noises("noise", places, sigma=sigma)
    shared = np.stack([seeds.normal(place.group_seed, "noise", SHAPE).ravel() for place in places])
    assert drawn.std() == pytest.approx(1.0, rel=5 / math.sqrt(2 * drawn.size))
    expected = 1 / math.sqrt(1 + sigma**2)
    with_group = (drawn * shared).mean()
    assert with_group == pytest.approx(expected, abs=5 / math.sqrt(drawn.size))
    siblings = (drawn[::2] * drawn[1::2]).mean()
    assert siblings == pytest.approx(expected**2, abs=5 / math.sqrt(drawn.size / 2))


def test_a_noise_around_the_groups_is_its_formula_and_the_anchors_is_the_groups_own() -> None:
    place = Place(SEED, 3, 1)
    own, shared = (seeds.normal(seed, "noise", SHAPE).ravel() for seed in (place.view_seed, place.group_seed))
    expected = (shared.astype(np.float64) + 0.7 * own) / math.sqrt(1 + 0.7**2)
    np.testing.assert_allclose(noises("noise", [place], sigma=0.7)[0], expected, atol=1e-6)
    np.testing.assert_array_equal(noises("noise", [Place(SEED, 3, 0)], sigma=0.7)[0], shared)


def test_a_sweep_over_the_noises_sigma_is_paired() -> None:
    place = Place(SEED, 3, 1)
    shared = seeds.normal(place.group_seed, "noise", SHAPE).ravel()
    own = [
        (noises("noise", [place], sigma=sigma)[0] * math.sqrt(1 + sigma**2) - shared) / sigma for sigma in (0.5, 2.0)
    ]
    np.testing.assert_allclose(own[0], own[1], atol=1e-5)


def test_an_anchor_that_is_rolled_again_is_a_noise_around_the_groups() -> None:
    first, again = draws(strategy("noise", sigma=0.7), [Place(SEED, 3, 0), Place(SEED, 3, 0, 1)], None)
    assert (first.columns["sigma"], again.columns["sigma"]) == (0.0, 0.7)


def test_guidance_is_drawn_evenly_from_its_ladder_and_stays_when_a_view_is_rolled_again() -> None:
    of = strategy("guidance", low=1.0, high=4.0, levels=4)
    told = [one.guidance_scale for one in draws(of, views_of(1000), None)]
    assert set(told) == {1.0, 2.0, 3.0, 4.0}
    assert min(Counter(told).values()) > 250 - 5 * math.sqrt(1000 * 3 / 16)
    assert [one.guidance_scale for one in draws(of, views_of(20, attempt=2), None)] == told[:20]
    assert [one.guidance_scale for one in draws(of, views_of(20, view=2), None)] != told[:20]
    assert len({one.seed for one in draws(of, views_of(20, attempt=2) + views_of(20), None)}) == 40


def test_a_ladder_that_does_not_rise_is_refused() -> None:
    with pytest.raises(ValueError, match=r"high above low, 2\.0, not 2\.0"):
        strategy("guidance", low=2.0, high=2.0)


def wordings(count: int, group: int = 0, **settings: object) -> list[str | None]:
    subject = Subject("a fox", ("a red fox", "Fuchs", "a fox"))
    drawer = strategy("variants", **settings).open(None)
    return [drawer(Place(SEED, group, view), subject).prompt for view in range(count)]


def test_wordings_do_not_repeat_until_all_are_used_up() -> None:
    all_of_them = {"a fox", "a red fox", "Fuchs", "the a fox", "a fox!"}  # one that stands there twice counts once
    told = wordings(10, templates=["the {prompt}", "{prompt}!"])
    assert set(told[:5]) == set(told[5:]) == all_of_them
    assert len(set(told[:5])) == 5
    assert told[:5] == told[5:]


def test_groups_have_orders_of_their_own_and_a_view_keeps_its_wording_when_rolled_again() -> None:
    assert len({tuple(wordings(3, group)) for group in range(30)}) == 6  # all orders of three
    drawer, subject = strategy("variants").open(None), Subject("a fox", ("b", "c"))
    first, again = (drawer(Place(SEED, 0, 1, attempt), subject) for attempt in (0, 1))
    assert first.prompt == again.prompt
    assert first.seed != again.seed


def test_a_prompt_without_variants_is_an_error_that_names_it() -> None:
    with pytest.raises(UserError, match=r"prompt 'a fox' has no variants; give strategy.templates"):
        strategy("variants").open(None)(Place(SEED, 0, 0), Subject("a fox"))


@pytest.mark.parametrize(
    "template",
    ["no name", "{other}", "{prompt} {prompt}", "{prompt!r}", "{prompt:>10}", "{{prompt}}", "{prompt} {", "{}"],
)
def test_templates_have_the_prompt_once_and_nothing_else_in_braces(template: str) -> None:
    with pytest.raises(ValueError, match=r"templates with \{prompt\} in them once"):
        strategy("variants", templates=[template])


def test_img2img_sets_out_from_the_groups_own_seed_and_marks_the_others_with_their_strength() -> None:
    anchor, view, again = draws(
        strategy("img2img", strength=0.5), [Place(SEED, 3, 0), Place(SEED, 3, 1), Place(SEED, 3, 0, 1)], None
    )
    assert (anchor.seed, dict(anchor.columns)) == (seeds.group_seed(SEED, 3), {})
    assert (view.seed, dict(view.columns)) == (seeds.view_seed(SEED, 3, 1), {"strength": 0.5})
    assert (again.seed, dict(again.columns)) == (seeds.view_seed(SEED, 3, 0, 1), {})
