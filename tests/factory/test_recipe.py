"""The recipe: what it refuses and how it says so, what its identity covers, and where it can be read from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from factory.recipe import difference, identity, load_recipe, presets, stream_id
from manifests.errors import UserError

MINIMAL: dict[str, Any] = {
    "name": "tiny",
    "groups": 10,
    "views": 2,
    "sources": [{"model": "some/folder"}],
    "prompts": {"texts": ["a cat"]},
}


def write(folder: Path, **changes: Any) -> str:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**MINIMAL, **changes}), encoding="utf-8")
    return str(path)


def said(folder: Path, *changes: str, **fields: Any) -> str:
    with pytest.raises(UserError) as error:
        load_recipe(write(folder, **fields), changes)
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("groups=-3", "groups: got -3, expected greater than or equal to 1"),
        ("views=101", "views: got 101, expected less than or equal to 100"),
        ("batch=0", "batch: got 0, expected greater than or equal to 1 or 'auto'"),
        ("batch=many", "batch: got 'many', expected a valid integer or 'auto'"),
        ("seed=-1", "seed: got -1, expected greater than or equal to 0"),
        ("sead=1", "sead: unknown key; did you mean seed?"),
        ("encode.qualty=90", "encode.qualty: unknown key; did you mean quality?"),
        ("encode={codec: png, quality: 80}", "encode: expected no quality beside codec png, which keeps every pixel"),
        ("sources.0.step=3", "sources.0.step: unknown key; did you mean steps?"),
        ("sources=[]", "sources: expected at least 1"),
        ("strategy.name=zigzag", "strategy.name: got 'zigzag', expected one of independent, none, gaussian"),
        ("prompts.words.a=[b]", "prompts: expected templates beside words; words fill the {names} of templates"),
        ("prompts.file=a.txt", "prompts: expected exactly one of file, texts and templates, found file and texts"),
        ("prompts=[a cat]", "prompts: expected a valid dictionary or instance of PromptConfig"),
        ("device=tpu", "device: got 'tpu', expected String should match pattern"),
    ],
)
def test_a_mistake_is_one_line_with_the_file_the_key_what_was_given_and_what_was_expected(
    tmp_path: Path, change: str, line: str
) -> None:
    message = said(tmp_path, change)
    assert "\n" not in message
    assert message.startswith(f"{tmp_path / 'recipe.yaml'}: {line}")


def test_each_of_several_mistakes_has_its_own_line(tmp_path: Path) -> None:
    lines = said(tmp_path, "groups=0", "views=0", "sources.0.steps=0").splitlines()
    assert [line.split(": ")[1] for line in lines] == ["groups", "views", "sources.0.steps"]


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "bare.yaml").write_text("name: bare\n")
    with pytest.raises(UserError, match=r"bare\.yaml: groups: missing; it must be given"):
        load_recipe(str(tmp_path / "bare.yaml"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[1, 2]", "expected a mapping"), ("a: [", "not valid YAML"), ("!!python/object:os.system {}", "not valid YAML")],
)
def test_a_file_that_is_no_recipe_is_refused_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=expected) as error:
        load_recipe(str(path))
    assert "\n" not in str(error.value)


def test_an_absent_file_and_an_unknown_preset_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file; expected a recipe"):
        load_recipe(str(tmp_path / "none.yaml"))
    with pytest.raises(UserError, match="did you mean demo"):
        load_recipe("demoo")


@pytest.mark.parametrize("change", ["seed", "=3", "sources.5.model=a", "seed=[", "sources.x.model=a"])
def test_a_change_that_fits_nothing_is_refused_by_name(tmp_path: Path, change: str) -> None:
    assert said(tmp_path, change).startswith(f"--set {change}: ")


def test_changes_are_typed_and_may_reach_into_lists(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path), ["sources.0.guidance_scale=[2, 3.5]", "encode.mark=true", "seed=7"])
    assert (recipe.sources[0].guidance_grid, recipe.encode.mark, recipe.seed) == ((2.0, 3.5), True, 7)


def test_a_preset_is_changed_key_by_key_and_lists_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("preset: demo\nseed: 99\nencode: {quality: 80}\nsources: [{model: my/folder}]\n")
    mine, demo = load_recipe(str(path)), load_recipe("demo")
    assert (mine.seed, mine.encode.quality, mine.sources[0].model) == (99, 80, "my/folder")
    assert (mine.views, mine.encode.codec, mine.prompts) == (demo.views, demo.encode.codec, demo.prompts)


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_a_valid_recipe(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert all("@" in one.model or one.model.startswith(("builtin:", "package:", "runs/")) for one in recipe.sources)
    assert recipe.description
    assert recipe.licence


def test_files_in_a_recipe_are_sought_beside_it_and_those_of_a_change_where_one_stands(tmp_path: Path) -> None:
    (tmp_path / "places.txt").write_text("rome\n\n  oslo \n")
    prompts = {"templates": ["a cat in {place}"], "words": {"place": "places.txt"}}
    recipe = load_recipe(write(tmp_path, prompts=prompts))
    assert recipe.prompts.words == {"place": ("rome", "oslo")}
    beside = load_recipe(write(tmp_path, prompts={"file": "a.csv"})).prompts.file
    given = load_recipe(write(tmp_path, prompts={"file": "a.csv"}), ["prompts.file=b.csv"]).prompts.file
    assert (beside, given) == (str(tmp_path / "a.csv"), "b.csv")


WEIGHTS = [{"sha256": "ab"}]


def stream(folder: Path, *changes: str, weights: list[dict[str, str]] = WEIGHTS) -> str:
    return stream_id(identity(load_recipe(write(folder), changes), weights, None))


@pytest.mark.parametrize(
    "change", ["groups=99", "name=other", "description=long", "licence=mit", "device=cpu", "sources.0.model=elsewhere"]
)
def test_the_identity_leaves_out_what_decides_no_pixel(tmp_path: Path, change: str) -> None:
    assert stream(tmp_path, change) == stream(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "views=3",
        "groups_per_shard=8",
        "batch=4",
        "threads=2",
        "encode.quality=90",
        "judge.attempts=5",
        "prompts.texts=[a dog]",
        "prompts.order=shuffled",
        "sources.0.steps=7",
        "sources.0.guidance_scale=3",
        "sources.0.weight=2",
        "sources.0.dtype=float16",
    ],
)
def test_the_identity_covers_what_decides_a_pixel(tmp_path: Path, change: str) -> None:
    assert stream(tmp_path, change) != stream(tmp_path)


def test_the_identity_follows_the_weights_and_not_where_they_lie(tmp_path: Path) -> None:
    assert stream(tmp_path, weights=[{"sha256": "cd"}]) != stream(tmp_path)


def test_defaults_written_out_change_no_identity(tmp_path: Path) -> None:
    written = ["encode.quality=95", "threads=1", "prompts.order=sequential", "strategy.name=independent"]
    assert stream(tmp_path, *written) == stream(tmp_path)


def test_a_difference_names_each_key_and_both_values() -> None:
    old = {"seed": 1, "sources": [{"steps": 5}], "encode": {"quality": 90}}
    new = {"seed": 2, "sources": [{"steps": 6}]}
    assert difference(old, new) == [
        "encode: {'quality': 90} there, the default here",
        "seed: 1 there, 2 here",
        "sources.0.steps: 5 there, 6 here",
    ]
