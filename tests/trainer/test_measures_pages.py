"""The pages about views, representations and measures: their commands are understood, their links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from manifests.__main__ import app as manifests_app
from trainer.__main__ import app as trainer_app
from trainer.config import load_config, preset_names

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("diffusion-representations", "evaluation", "inversion", "learned-views", "mutual-information")
TEXTS = {name: (DOCS / f"{name}.md").read_text(encoding="utf-8").replace("\\\n", " ") for name in PAGES}
COMMANDS = [
    (page, line.split("  #")[0])
    for page, text in TEXTS.items()
    for line in re.findall(r"^    python -m ((?:trainer|manifests) .*)$", text, re.MULTILINE)
]


def test_every_page_shows_commands():
    assert {page for page, _ in COMMANDS} == set(PAGES)


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_of_the_pages_is_one_that_is_understood(page, command):
    program, *words = shlex.split(command)
    group = typer.main.get_command({"trainer": trainer_app, "manifests": manifests_app}[program])
    with group.make_context(program, list(words)) as context:
        name, subcommand, rest = group.resolve_command(context, list(words))
        subcommand.make_context(name, rest, parent=context)


@pytest.mark.parametrize(("page", "command"), [one for one in COMMANDS if " pretrain " in f" {one[1]} "])
def test_every_training_of_the_pages_is_a_config(page, command):
    words = shlex.split(command)
    settings = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    assert words[2] in preset_names()
    load_config(words[2], settings)


@pytest.mark.parametrize("page", PAGES)
def test_links_and_programs_of_the_pages_are_there(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", TEXTS[page]):
        assert (DOCS / target).is_file(), target
    for module in re.findall(r"python -m ((?:trainer\.evaluation|experiments)\.\w+)", TEXTS[page]):
        assert (DOCS.parent / f"{module.replace('.', '/')}.py").is_file(), module


@pytest.mark.parametrize("page", PAGES)
def test_settings_that_the_pages_name_can_be_set(page):
    known = (
        load_config("learned_views").model_dump(),
        load_config("vdrl").model_dump(),
        load_config("invert").model_dump(),
    )
    for section, key in re.findall(r"`(objective|encoder)\.(\w+)", TEXTS[page]):
        assert any(key in config[section] for config in known), f"{section}.{key}"
