"""The downstream smoke: both arms are one recipe on two generators."""

from __future__ import annotations

from experiments.better_generator import arms
from factory.recipe import load_recipe
from tests.factory import tiny_latent


def test_the_arms_differ_in_the_generator_alone() -> None:
    folders = tiny_latent.folder("stylegan2"), tiny_latent.folder("dcgan")
    recipes = [load_recipe(arm.recipe, arm.recipe_changes) for arm in arms(*folders, "demo", 100)]
    assert [recipe.sources[0].model for recipe in recipes] == [str(folder.resolve()) for folder in folders]
    told = [recipe.model_dump(exclude={"name", "sources"}) for recipe in recipes]
    assert told[0] == told[1]
    assert recipes[0].strategy.name == "gaussian"
