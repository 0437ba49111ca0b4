"""What a recipe points to: files of learned steps are data of the data set, prompts must suit the strategy."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from factory import job
from factory.job import Options, begin, finish
from factory.recipe import Recipe, load_recipe
from factory.resolve import resolve
from manifests import open_dataset, verify
from manifests.canonical import sha256_hex
from manifests.errors import UserError
from tests.factory import recipes, tiny_latent
from tests.factory.tiny_latent import DIM
from tests.factory.views import learned


def steered(walks: Path, **changes: Any) -> Recipe:
    strategy = {"name": "steer", "walks": str(walks), **changes}
    return Recipe.model_validate(tiny_latent.settings(strategy=strategy, groups=2))


def make(recipe: Recipe, out: Path) -> str:
    work = begin(recipe, str(out), Options(inline=True))
    job.run(work)
    return finish(work)


def test_learned_steps_are_kept_in_the_data_set_which_makes_itself_again_without_the_file(tmp_path: Path) -> None:
    walks = learned.write_walks(tmp_path / "walks.safetensors", DIM)
    digest = sha256_hex(walks.read_bytes())
    root = make(steered(walks), tmp_path / "one")
    walks.unlink()
    assert sha256_hex((tmp_path / "one" / "sources" / digest).read_bytes()) == digest
    assert verify(tmp_path / "one", deep=True).problems == []
    assert make(load_recipe(str(tmp_path / "one" / "dataset.json")), tmp_path / "two") == root
    (tmp_path / "one" / "sources" / digest).unlink()
    assert any("learned steps" in problem for problem in verify(tmp_path / "one").problems)


def test_the_stream_is_of_what_was_learned_and_not_of_the_files_place(tmp_path: Path) -> None:
    walks = learned.write_walks(tmp_path / "walks", DIM)
    moved = shutil.copy(walks, tmp_path / "moved")
    others = learned.facts_of("walks", laws={"zoom": {"low": 0.0, "high": 1.0, "unit": "octaves"}})
    learned.write_learned(tmp_path / "others", others, {"direction/zoom": learned.vectors(DIM)["zoom"]})
    plain, same, other, scaled = (
        resolve(recipe).stream_id
        for recipe in (steered(walks), steered(moved), steered(tmp_path / "others"), steered(walks, scale=2.0))
    )
    assert plain == same
    assert len({plain, other, scaled}) == 3


def test_steps_that_were_learned_on_another_generator_are_refused(tmp_path: Path) -> None:
    facts = learned.facts_of("walks", laws={"zoom": {"low": 0.0, "high": 1.0, "unit": "octaves"}})
    others = facts.model_copy(update={"generator_sha256": "ab" * 32})
    learned.write_learned(tmp_path / "walks", others, {"direction/zoom": learned.vectors(DIM)["zoom"]})
    with pytest.raises(UserError, match=r"learned on the generator abababababab, but local:[0-9a-f]{12} is"):
        resolve(steered(tmp_path / "walks"))


def test_a_recipes_walks_are_sought_beside_it(tmp_path: Path) -> None:
    learned.write_walks(tmp_path / "walks", DIM)
    path = recipes.write(tmp_path / "r.yaml", sources=[tiny_latent.source()], prompts=None)
    loaded = load_recipe(str(path), ["strategy={name: steer, walks: w}"])
    assert loaded.strategy.walks == "w"  # a change counts from where one stands
    path.write_text(path.read_text() + "strategy: {name: steer, walks: walks}\n")
    assert load_recipe(str(path)).strategy.walks == str(tmp_path / "walks")


def test_prompts_without_variants_are_refused_before_anything_is_claimed(tmp_path: Path) -> None:
    recipe = Recipe.model_validate(recipes.settings(strategy={"name": "variants"}))
    with pytest.raises(UserError, match=r"strategy: prompt 'a cat' has no variants; give strategy\.templates"):
        begin(recipe, str(tmp_path / "data"), Options(inline=True))
    assert not (tmp_path / "data").exists()


def test_variants_of_a_prompt_file_reach_the_rows_of_groups_that_are_positives_of_themselves(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "a cat", "variants": ["Katze", "chat"]}\n')
    settings = recipes.settings(
        strategy={"name": "variants"}, prompts={"file": str(tmp_path / "p.jsonl")}, groups=2, views=3
    )
    make(Recipe.model_validate(settings), tmp_path / "data")
    data = open_dataset(tmp_path / "data")
    for group in (0, 1):
        told = {row["prompt"] for row in data.rows().to_pylist() if row["group"] == group}
        assert told == {"a cat", "Katze", "chat"}
    assert len(data.rows(["positive_id"])["positive_id"].unique()) == 2  # no one prompt is that of all views
