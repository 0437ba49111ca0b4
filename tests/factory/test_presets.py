"""Every preset renders a group on the models that ship with ViewMill: its own, or one of them in its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from factory.job import Options, begin, finish
from factory.job import run as work
from factory.recipe import PRESETS, Recipe, load_recipe, presets
from manifests import open_dataset

DIFFUSION = ["model=builtin:emoji-diffusion", "width=64", "height=64", "steps=2", "variant=null", "dtype=float32"]
LATENT = ["model=builtin:emoji-stylegan2", "dtype=float32", "resize_px=32"]
SMALL = ["groups=2", "groups_per_shard=2", "batch=4", "seed=5", "device=cpu"]


def on_built_in_models(name: str) -> Recipe:
    """Load a preset, small, with a model that is here wherever its own is not."""
    changes = list(SMALL)
    for place, source in enumerate(yaml.safe_load((PRESETS / f"{name}.yaml").read_text()).get("sources", [])):
        if not source["model"].startswith("builtin:"):
            family = LATENT if source.get("family") == "latent" else DIFFUSION
            changes += [f"sources.{place}.{change}" for change in family]
    return load_recipe(name, changes)


@pytest.mark.parametrize("name", presets())
def test_every_preset_renders_on_the_built_in_models(name: str, tmp_path: Path) -> None:
    recipe = on_built_in_models(name)
    job = begin(recipe, str(tmp_path / "data"), Options(inline=True))
    work(job)
    finish(job)
    rows = open_dataset(str(tmp_path / "data")).rows(ok_only=True)
    assert len(rows) == recipe.groups * recipe.views
    assert set(rows["strategy"].to_pylist()) == {recipe.strategy.name}
