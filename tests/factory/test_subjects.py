"""What groups show: classes in balance or drawn, labels that agree by name between families, refusals."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from factory.prompts import read_prompts
from factory.recipe import Recipe
from factory.subjects import Subjects, subjects_of
from manifests.errors import UserError

NAMES = ("cat", "dog", "fox", "owl")


def recipe(prompts: Any = None, **classes: Any) -> Recipe:
    sources: list[dict[str, Any]] = [{"family": "latent", "model": "m", "classes": classes}]
    sources += [{"model": "d", "guidance_scale": 2.0}] if prompts else []
    return Recipe.model_validate(
        {"name": "t", "seed": 5, "groups": 10, "views": 2, "sources": sources, "prompts": prompts}
    )


def subjects(of: Recipe, names: tuple[str, ...] = NAMES) -> Subjects:
    prompts = read_prompts(of.prompts)[0] if of.prompts else None
    return subjects_of(of, prompts, [names, ()][: len(of.sources)])


def shown(of: Recipe, groups: int, names: tuple[str, ...] = NAMES) -> list[int | None]:
    laid_out = subjects(of, names)
    return [laid_out.row(of, 0, group).class_id for group in range(groups)]


def test_balanced_classes_all_come_once_before_any_comes_again() -> None:
    told = shown(recipe(), 40)
    assert all(sorted(told[start : start + 4]) == [0, 1, 2, 3] for start in range(0, 40, 4))
    assert len({tuple(told[start : start + 4]) for start in range(0, 40, 4)}) > 3  # in changing order


def test_sampled_classes_are_independent_draws() -> None:
    told = shown(recipe(order="sampled"), 4000)
    counts = Counter(told)
    assert all(abs(count - 1000) < 5 * 27.4 for count in counts.values())  # binomial deviation of 27.4
    pairs = Counter(zip(told[::2], told[1::2], strict=True))
    assert len(pairs) == 16
    assert all(abs(count - 125) < 5 * 10.9 for count in pairs.values())
    assert any(len(set(told[start : start + 4])) < 4 for start in range(0, 40, 4))


@pytest.mark.parametrize("order", ["balanced", "sampled"])
def test_a_group_shows_the_same_class_however_many_there_are(order: str) -> None:
    assert shown(recipe(order=order), 10) == shown(recipe(order=order), 50)[:10]


def test_classes_are_asked_for_by_number_or_name() -> None:
    assert set(shown(recipe(only=[3, "cat"]), 20)) == {0, 3}
    assert set(shown(recipe(only=["1"]), 5, ("0", "1", "2"))) == {1}


@pytest.mark.parametrize("wanted", [4, -1, "wolf", "Fox"])
def test_a_class_that_does_not_exist_is_refused_by_name(wanted: int | str) -> None:
    with pytest.raises(UserError, match=r"classes\.only: m has no class .*; it has 4, from 0"):
        subjects(recipe(only=[wanted]))


def test_a_class_of_nearly_that_name_is_suggested() -> None:
    with pytest.raises(UserError, match="did you mean fox"):
        subjects(recipe(only=["foxx"]))


def test_an_unconditional_generator_shows_nothing_in_particular() -> None:
    row = subjects(recipe(), ()).row(recipe(), 0, 3)
    assert (row.class_id, row.label, row.prompt, row.prompt_id) == (None, None, "", None)


def captions(path: Path, *labels: Any) -> dict[str, Any]:
    lines = ["prompt,label", *(f"p{number},{label}" for number, label in enumerate(labels))]
    path.write_text("\n".join(lines) + "\n")
    return {"file": str(path)}


def test_labels_agree_by_name_between_prompts_and_classes(tmp_path: Path) -> None:
    of = recipe(captions(tmp_path / "p.csv", "wolf", "fox"))
    laid_out = subjects(of)
    assert laid_out.label_names == ("fox", "wolf", "cat", "dog", "owl")
    by_prompt = {laid_out.label_names[laid_out.row(of, 1, group).label or 0] for group in range(2)}
    assert by_prompt == {"wolf", "fox"}
    for group in range(8):
        row = laid_out.row(of, 0, group)
        assert row.label is not None
        assert laid_out.label_names[row.label] == NAMES[row.class_id or 0]


def test_labels_that_are_numbers_are_refused_beside_classes_with_names(tmp_path: Path) -> None:
    of = recipe(captions(tmp_path / "p.csv", 0, 1))
    with pytest.raises(UserError, match="labels are numbers, but a source's classes have names"):
        subjects(of)
    assert subjects(of, ()).label_names == ()


def test_prompts_are_for_sources_that_read_them() -> None:
    with pytest.raises(ValueError, match=r"no prompts, since no source reads them; sources\.0\.classes"):
        Recipe.model_validate({**recipe().model_dump(), "prompts": {"texts": ["a"]}})
    with pytest.raises(ValueError, match="prompts beside a text-to-image source"):
        Recipe.model_validate({**recipe({"texts": ["a"]}).model_dump(), "prompts": None})
    with pytest.raises(ValueError, match="another strategy: gaussian is not for diffusion sources"):
        Recipe.model_validate({**recipe({"texts": ["a"]}).model_dump(), "strategy": {"name": "gaussian", "sigma": 1}})
    with pytest.raises(ValueError, match="another strategy: guidance is not for latent sources"):
        Recipe.model_validate({**recipe().model_dump(), "strategy": {"name": "guidance", "low": 1, "high": 2}})


@pytest.mark.parametrize("strategy", [{"name": "none"}, {"name": "img2img", "strength": 0.5}])
def test_views_of_one_image_want_one_guidance_scale(strategy: dict[str, Any]) -> None:
    plain = recipe({"texts": ["a"]}).model_dump()
    source = {"model": "d", "guidance_scale": [2.0, 4.0]}
    with pytest.raises(
        ValueError, match=rf"one sources\.0\.guidance_scale, which the views of {strategy['name']} share"
    ):
        Recipe.model_validate({**plain, "sources": [source], "strategy": strategy})


def test_a_strength_below_one_step_is_refused_with_the_least_one() -> None:
    plain = recipe({"texts": ["a"]}).model_dump()
    given = {**plain, "sources": [{"model": "d", "steps": 8, "guidance_scale": 2.0}]}
    with pytest.raises(ValueError, match=r"a strategy\.strength of 0\.125 or more, one of the 8 steps of sources\.0"):
        Recipe.model_validate({**given, "strategy": {"name": "img2img", "strength": 0.12}})
    Recipe.model_validate({**given, "strategy": {"name": "img2img", "strength": 0.125}})
