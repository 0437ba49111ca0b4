"""docs/format.md says what the code does."""

from pathlib import Path

import pyarrow as pa
import pytest

from manifests import seeds
from manifests.schema import VIEW_SCHEMA
from manifests.version import VersionDoc

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")


def column_table() -> str:
    lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    for field in VIEW_SCHEMA:
        kind = f"list<{field.type.value_type}>" if pa.types.is_list(field.type) else str(field.type)
        kind += "" if field.nullable else ", never null"
        lines.append(
            f"| `{field.name}` | {kind} | {field.metadata[b'unit'].decode()} | {field.metadata[b'meaning'].decode()} |"
        )
    return "\n".join(lines)


def test_the_table_of_columns_is_the_schema_s():
    written = PAGE.split("test_format_page.py -->\n")[1].split("\n<!-- /columns")[0]
    assert written == column_table(), f"paste this into docs/format.md:\n{column_table()}"


@pytest.mark.parametrize(
    "value",
    [
        seeds.group_seed(0, 0),
        seeds.view_seed(0, 1, 2, 3),
        seeds.derive(7, "sampler"),
        seeds.prompt_positive_id("a red fox"),
        *seeds.uniform(1, "u", 2).tolist(),
        " ".join(map(str, seeds.permutation(1, "order", 6).tolist())),
    ],
)
def test_the_values_for_checking_are_the_code_s(value):
    assert str(value) in PAGE


def test_every_field_of_a_version_is_on_the_page():
    assert [name for name in VersionDoc.model_fields if f'"{name}"' not in PAGE] == []
