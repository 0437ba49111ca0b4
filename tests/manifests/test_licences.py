"""What licences ask of users: those that the recipes name are known, by the kind that their texts have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from manifests.licences import CREDIT, NOT_COMMERCIAL, RESTRICTED, asks, kind

RECIPES = Path(__file__).parents[2] / "factory" / "recipes"


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("LicenseRef-NVIDIA-Source-Code", NOT_COMMERCIAL),
        ("LicenseRef-sai-nc-community", NOT_COMMERCIAL),
        ("LicenseRef-stabilityai-ai-community", RESTRICTED),
        ("LicenseRef-CreativeML-OpenRAIL-M", RESTRICTED),
        ("Apache-2.0", CREDIT),
        ("made up", ""),
    ],
)
def test_a_licence_is_of_the_kind_that_its_text_has(licence: str, expected: str) -> None:
    assert kind(licence) == expected


def test_every_licence_that_a_recipe_names_is_known_to_the_card() -> None:
    named = {m[1] for path in RECIPES.glob("*.yaml") if (m := re.search(r"^licence: (\S+)$", path.read_text(), re.M))}
    assert len(named) > 3
    assert not [licence for licence in named - {"unknown"} if asks(licence).startswith("unknown")]
