"""docs/gan-training.md says what a bank takes, which models there are, and how they are got."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from factory.gan.ada import AdaConfig
from factory.gan.bank import PACKAGED, PUBLISHED, RANDOM
from factory.gan.config import PRESETS, BankConfig, CriticConfig, GanConfig, presets
from manifests import settings
from tests.factory.test_recipe_page import table

PAGE = (Path(__file__).parents[3] / "docs" / "gan-training.md").read_text(encoding="utf-8")
SECTIONS = {"bank": BankConfig, "members": CriticConfig, "ada": AdaConfig}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_key_stands_on_the_page(name: str) -> None:
    written = re.search(rf"<!-- {name} -->\n(.*?)\n?<!-- /{name} -->", PAGE, re.DOTALL)
    assert written is not None
    expected = table(SECTIONS[name])
    assert all(field.description for field in SECTIONS[name].model_fields.values())
    assert written[1] == expected, f"paste this into docs/gan-training.md:\n{expected}"


def test_every_model_and_preset_is_named_with_its_licence() -> None:
    for word, (_, licence) in PUBLISHED.items():
        assert re.search(rf"`{word}`.*\| {re.escape(licence)} \|", PAGE), word
    assert all(f"`{word}`" in PAGE for word in (*PACKAGED, RANDOM, *presets()))


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_every_config_on_the_page_is_one(example: str, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(example)
    read = settings.read_settings(str(path), PRESETS, "a config", "neither")
    assert settings.validated(GanConfig, read, "example").name == yaml.safe_load(example)["name"]
