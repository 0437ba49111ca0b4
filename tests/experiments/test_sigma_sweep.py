"""The arms and claims of the σ sweep."""

from experiments.plot import sweep_plot
from experiments.sigma_sweep import SIGMAS, arms, claims
from factory.recipe import load_recipe

ARMS = arms("emoji-gan", "demo", 30_000)


def test_every_arm_is_a_recipe_and_differs_from_the_others_in_name_and_strategy_alone():
    recipes = [load_recipe(one.recipe, one.recipe_changes) for one in ARMS]
    others = [recipe.model_dump(exclude={"name", "strategy"}) for recipe in recipes]
    assert all(one == others[0] for one in others)
    assert [recipe.strategy.sigma for recipe in recipes if recipe.strategy.name == "gaussian"] == list(SIGMAS)


def test_every_claim_is_about_two_arms_that_are_trained():
    names = {one.name for one in ARMS}
    assert all({above, below} <= names and above != below for above, below in claims().values())


def test_the_plot_has_a_point_for_each_sigma_and_bands_for_the_others():
    one = {"linear": {"mean": 0.3, "low": 0.28, "high": 0.32}}
    result = {"set": "clipart26", "split": "dev", "seeds": 3, "images": 9, "scores": {arm.name: one for arm in ARMS}}
    points = {sigma: f"gaussian-{sigma:g}" for sigma in SIGMAS}
    drawn = sweep_plot(result, points, ("independent", "none"), "σ")
    assert drawn.count("<circle") == len(SIGMAS)
    assert ">independent</text>" in drawn
    assert ">none</text>" in drawn
