"""A data set that grows: `--groups +N` appends, first groups stay as they are, a killed append goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from factory.__main__ import _count, app
from factory.job import Options, begin
from factory.recipe import Recipe
from manifests import open_dataset, verify
from manifests.errors import UserError
from tests.factory import cheap, tiny_latent


def settings() -> dict[str, Any]:
    return tiny_latent.settings(strategy={"name": "gaussian", "sigma": 0.5}, groups=4, groups_per_shard=3, views=2)


def render(folder: Path, *words: str) -> list[dict[str, Any]]:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings()), encoding="utf-8")
    result = CliRunner().invoke(app, ["render", str(path), str(folder / "data"), "--inline", *words])
    assert result.exit_code == 0, result.output
    return list(open_dataset(folder / "data").rows().to_pylist())


def test_appended_groups_leave_the_first_ones_as_they_were(tmp_path: Path) -> None:
    first = render(tmp_path)
    grown = render(tmp_path, "--groups", "+3")
    assert grown[: len(first)] == first
    assert [row["group"] for row in grown] == [group for group in range(7) for _ in range(2)]
    assert [row["group"] for row in render(tmp_path, "--groups", "+1")][-1] == 7
    assert open_dataset(tmp_path / "data").version.generation == 2
    assert verify(tmp_path / "data", deep=True).problems == []


def test_a_set_grown_in_steps_shows_what_a_set_made_at_once_shows(tmp_path: Path) -> None:
    (tmp_path / "once").mkdir()
    once = render(tmp_path / "once", "--groups", "7")
    render(tmp_path, "--groups", "+4")  # a set that is not there yet has none
    grown = render(tmp_path, "--groups", "+3")
    shown = ("group", "view", "latent", "view_seed", "sigma")
    assert [[row[name] for name in shown] for row in grown] == [[row[name] for name in shown] for row in once]


def test_an_append_that_was_killed_goes_on_and_does_not_grow_twice(tmp_path: Path) -> None:
    render(tmp_path)
    begin(Recipe.model_validate({**settings(), "groups": 7}), str(tmp_path / "data"), Options(inline=True))
    assert _count("+3", str(tmp_path / "data")) == 7
    assert len(render(tmp_path, "--groups", "+3")) == 14


def test_more_groups_are_counted_from_the_newest_version(tmp_path: Path) -> None:
    out = str(tmp_path / "data")
    assert [_count(one, out) for one in (None, "5", "+5")] == [None, 5, 5]
    cheap.make(tmp_path / "data")
    assert [_count(one, out) for one in ("5", "+5", "+0005")] == [5, 15, 15]


@pytest.mark.parametrize("given", ["0", "+0", "-3", "++3", "+", "3.5", "many", "1e3", "", " 3", "9999999999"])
def test_what_is_no_number_of_groups_is_one_line(given: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--groups .*: expected a number from 1 to 999999999, or \+N for N more"):
        _count(given, str(tmp_path))
