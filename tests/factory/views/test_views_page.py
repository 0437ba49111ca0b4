"""docs/views.md says what strategies there are, what they take and what they leave in the rows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from factory.recipe import load_recipe, presets
from factory.views import AnyStrategy
from manifests.schema import VIEW_SCHEMA
from tests.factory.views.spaces import truncated_std

PAGE = (Path(__file__).parents[3] / "docs" / "views.md").read_text(encoding="utf-8")
STRATEGIES: dict[str, type[BaseModel]] = {
    get_args(model.model_fields["name"].annotation)[0]: model for model in get_args(get_args(AnyStrategy)[0])
}
HEADS = {"both families": {"diffusion", "latent"}, "`family: latent`": {"latent"}, "`family: diffusion`": {"diffusion"}}


def rows() -> dict[str, tuple[set[str], set[str], set[str]]]:
    """Return each strategy's families, parameters and columns as the page has them."""
    told = {}
    for head, families in HEADS.items():
        table = PAGE.split(f"For {head}:\n")[1].strip().split("\n\n")[0]
        for line in table.splitlines()[2:]:
            name, _, parameters, columns, _ = (cell.strip() for cell in line.strip("|").split("|"))
            told[name.strip("`")] = (families, *(set(re.findall(r"`(\w+)`", one)) for one in (parameters, columns)))
    return told


def test_every_strategy_stands_there_with_its_family_and_its_parameters() -> None:
    expected = {name: (set(one.FAMILIES), set(one.model_fields) - {"name"}) for name, one in STRATEGIES.items()}
    assert {name: (families, parameters) for name, (families, parameters, _) in rows().items()} == expected


def test_the_columns_are_those_of_the_format() -> None:
    assert {column for _, _, columns in rows().values() for column in columns} <= set(VIEW_SCHEMA.names)


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_the_recipes_on_the_page_are_recipes(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    assert load_recipe(str(tmp_path / "r.yaml")).name == yaml.safe_load(text)["name"]


def test_every_strategy_has_a_preset_of_its_name() -> None:
    found = {name: load_recipe(name).strategy.name for name in presets() if name.startswith("views-")}
    assert found.pop("views-seeds") == "independent"
    assert found == {f"views-{name}": name for name in STRATEGIES}


def test_the_deviation_of_a_cut_step_is_the_closed_forms() -> None:
    assert f"{truncated_std(2.0):.3f} σ" in PAGE
