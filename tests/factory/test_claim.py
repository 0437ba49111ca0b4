"""A recipe's claim on a folder: refused before it is made where the recipe cannot work, and kept once images are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from factory import job
from factory.clean import clean
from factory.recipe import Recipe
from manifests import open_dataset, verify
from manifests.errors import ConflictError, UserError
from manifests.store import Store
from tests.factory import cheap


def begin(out: Path, recipe: Recipe) -> job.Job:
    return job.begin(recipe, str(out), job.Options(inline=True))


def with_source(**settings: Any) -> Recipe:
    return cheap.recipe(sources=[{"model": "builtin:emoji-diffusion", **settings}])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"width": 63, "height": 64}, "width, height: got 63, 64; this model takes multiples of 8, such as 56, 64"),
        ({"scheduler_options": {"speed": 9}}, "scheduler_options: .* has no speed"),
        ({"scheduler": "EulerDiscreteScheduler", "scheduler_options": {"beta_schedule": "up"}}, "scheduler_options: "),
        ({"scheduler": "EulerDiscreteScheduler", "eta": 0.5}, "eta: got 0.5, but EulerDiscreteScheduler adds no noise"),
        ({"scheduler": "FlowMatchEulerDiscreteScheduler"}, "cannot draw each view's noise"),
    ],
)
def test_what_configuration_files_refuse_claims_no_folder(
    tmp_path: Path, settings: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UserError, match=expected) as error:
        begin(tmp_path / "out", with_source(**settings))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_claim_of_which_nothing_was_rendered_gives_way_to_the_corrected_recipe(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a cat\n")
    mistaken = cheap.recipe(seed=1, groups=99, prompts={"file": str(tmp_path / "p.txt")})
    begin(tmp_path / "out", mistaken)
    assert cheap.make(tmp_path / "out") == cheap.make(tmp_path / "fresh")
    for folder in ("recipes", "segments", "sources"):
        assert names(tmp_path / "out" / folder) == names(tmp_path / "fresh" / folder)
    assert verify(tmp_path / "out", deep=True).problems == []


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*"))


def test_a_folder_with_one_finished_shard_keeps_its_recipe(tmp_path: Path) -> None:
    cheap.make(tmp_path)
    for path in [*tmp_path.glob("versions/*"), tmp_path / "dataset.json", *tmp_path.glob("commits/shard-00000[12]-*")]:
        path.unlink()
    before = names(tmp_path / "recipes"), names(tmp_path / "segments")
    with pytest.raises(ConflictError, match=r"was begun with another recipe.*seed: 3 there, 4 here"):
        begin(tmp_path, cheap.recipe(seed=4))
    assert (names(tmp_path / "recipes"), names(tmp_path / "segments")) == before


def test_a_job_whose_folder_another_took_over_ends_with_its_first_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.crew.Workshop", cheap.CheapWorkshop)
    first = begin(tmp_path / "out", cheap.recipe())
    begin(tmp_path / "out", cheap.recipe(seed=4))
    with pytest.raises(ConflictError, match="another recipe took over this folder"):
        job.run(first)
    with pytest.raises(ConflictError, match="another recipe took over this folder"):
        job.finish(first)
    assert names(tmp_path / "out" / "versions") == []
    root = cheap.make(tmp_path / "out", cheap.recipe(seed=4))
    assert root == cheap.make(tmp_path / "fresh", cheap.recipe(seed=4))
    clean(Store.open(tmp_path / "out"))
    assert names(tmp_path / "out" / "shards") == names(tmp_path / "fresh" / "shards")


@pytest.mark.parametrize("change", [{"name": "other"}, {"licence": "MIT"}])
def test_a_name_or_licence_that_comes_too_late_is_refused_not_ignored(tmp_path: Path, change: dict[str, str]) -> None:
    root = cheap.make(tmp_path)
    with pytest.raises(ConflictError, match="stays as it was published") as error:
        job.finish(begin(tmp_path, cheap.recipe(**change)))
    assert "\n" not in str(error.value)
    assert job.finish(begin(tmp_path, cheap.recipe())) == root == open_dataset(tmp_path).root
    assert open_dataset(tmp_path).version.name == "cheap"


def test_an_address_that_lost_a_slash_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"s3:/bucket/set: expected s3://"):
        job.begin(cheap.recipe(), "s3:/bucket/set", job.Options(inline=True))
    assert list(tmp_path.iterdir()) == []
