"""docs/recipe.md says what a recipe takes."""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from factory.encode import EncodeConfig
from factory.generators.diffusion_config import DiffusionSource, Lora
from factory.generators.latent_config import Classes, LatentSource
from factory.generators.layouts import LAYOUTS, UNET_SCHEDULERS
from factory.judge import JudgeConfig, RealismConfig
from factory.prompts import PromptConfig, Role
from factory.recipe import Recipe
from factory.views import AnyStrategy

PAGE = (Path(__file__).parents[2] / "docs" / "recipe.md").read_text(encoding="utf-8")
MODELS: dict[str, type[BaseModel]] = {
    "recipe": Recipe,
    "sources": DiffusionSource,
    "lora": Lora,
    "latent": LatentSource,
    "classes": Classes,
    "prompts": PromptConfig,
    "encode": EncodeConfig,
    "judge": JudgeConfig,
    "realism": RealismConfig,
}
STRATEGIES: tuple[type[BaseModel], ...] = get_args(get_args(AnyStrategy)[0])
PLAIN = {int: "whole number", float: "number", str: "text", bool: "true or false"}
BOUNDS = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}"}


def kind(annotation: Any, metadata: list[Any]) -> str:
    """Put a field's type and bounds in words."""
    origin, inner = get_origin(annotation), [a for a in get_args(annotation) if a not in (type(None), Ellipsis)]
    if origin is Annotated:
        return kind(inner[0], getattr(inner[1], "metadata", []))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(kind(one, metadata) for one in inner))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is tuple and Ellipsis not in get_args(annotation):
        return f"{len(inner)} {kind(inner[0], [])}s"
    if origin is tuple:
        return "list of " + " or ".join(f"{one}s" for one in kind(inner[0], []).split(" or "))
    if origin is dict:
        return "mapping"
    if annotation not in PLAIN:
        return "section"
    bounds = [text.format(getattr(m, name)) for m in metadata for name, text in BOUNDS.items() if hasattr(m, name)]
    return " ".join([PLAIN[annotation], *bounds])


def default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if field.is_required():
        return "**required**"
    if value in (None, "", (), {}) or isinstance(value, BaseModel):
        return ""
    written = yaml.safe_dump(list(value) if isinstance(value, tuple) else value, default_flow_style=True)
    return f"`{written.splitlines()[0]}`"


def strategies_table() -> str:
    lines = ["| strategy | key | type | default | meaning |", "|---|---|---|---|---|"]
    for model in STRATEGIES:
        for name, field in sorted(model.model_fields.items(), key=lambda one: one[0] != "name"):
            means = f"{kind(field.annotation, field.metadata)} | {default(field)} | {field.description} |"
            told = (
                f"| {kind(field.annotation, [])} | | | | {field.description} |"
                if name == "name"
                else f"| | `{name}` | {means}"
            )
            lines.append(told)
    return "\n".join(lines)


def table(model: type[BaseModel]) -> str:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        lines.append(
            f"| `{name}` | {kind(field.annotation, field.metadata)} | {default(field)} | {field.description} |"
        )
    return "\n".join(lines)


def written(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("name", MODELS)
def test_each_table_of_keys_is_the_models(name: str) -> None:
    assert written(name) == table(MODELS[name]), f"paste this into docs/recipe.md:\n{table(MODELS[name])}"
    assert all(field.description for field in MODELS[name].model_fields.values())


def test_the_table_of_strategies_names_every_one_and_its_keys() -> None:
    assert written("strategies") == strategies_table(), f"paste this into docs/recipe.md:\n{strategies_table()}"
    assert all(field.description for model in STRATEGIES for field in model.model_fields.values())


def test_the_pipeline_classes_are_those_that_are_supported() -> None:
    rows = re.findall(r"^\| `(\w+Pipeline)` \| [^|]+ \| (yes|no) \| ([^|]+) \|", PAGE, re.MULTILINE)
    told = {name: (negative == "yes", schedulers) for name, negative, schedulers in rows}
    assert told == {
        name: (
            bool(layout.negatives),
            "those below" if layout.schedulers == UNET_SCHEDULERS else f"`{next(iter(layout.schedulers))}`",
        )
        for name, layout in LAYOUTS.items()
    }


def test_the_schedulers_and_the_roles_of_columns_are_the_codes() -> None:
    listed = PAGE.split("Schedulers around a UNet: ")[1].split(".")[0]
    assert set(re.findall(r"`(\w+)Scheduler`", listed)) == {name.removesuffix("Scheduler") for name in UNET_SCHEDULERS}
    assert [role for role in get_args(Role) if f"`{role}`" not in PAGE] == []


def test_the_recipe_on_the_page_is_a_recipe() -> None:
    recipe = Recipe.model_validate(yaml.safe_load(PAGE.split("```yaml\n")[1].split("```")[0]))
    assert len(recipe.sources[0].guidance_grid) > 1
