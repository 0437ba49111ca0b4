"""The public command line, frozen: an option that comes or goes must come or go here too."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer

FROZEN = Path(__file__).parent / "golden" / "cli.json"


def surface(command: Any) -> dict[str, object]:
    if hasattr(command, "commands"):
        return {name: surface(child) for name, child in sorted(command.commands.items())}
    return {"parameters": sorted(" ".join(sorted(p.opts + p.secondary_opts)) for p in command.params)}


def public_surface() -> dict[str, object]:
    import demo.__main__
    import factory.__main__
    import manifests.__main__
    import trainer.__main__

    modules = {
        "demo": demo.__main__,
        "factory": factory.__main__,
        "manifests": manifests.__main__,
        "trainer": trainer.__main__,
    }
    return {name: surface(typer.main.get_command(module.app)) for name, module in modules.items()}


def test_the_command_line_is_what_it_was() -> None:
    assert public_surface() == json.loads(FROZEN.read_text()), (
        "the command line changed; if it was meant: python -m tests.test_cli_is_frozen, and say so in CHANGELOG.md"
    )


@pytest.mark.parametrize("name", ["factory", "manifests", "trainer"])
def test_every_command_says_what_it_does(name: str) -> None:
    module = __import__(f"{name}.__main__", fromlist=["app"])
    command = typer.main.get_command(module.app)
    assert all(child.help for child in command.commands.values())


if __name__ == "__main__":
    FROZEN.write_text(json.dumps(public_surface(), indent=1) + "\n")
