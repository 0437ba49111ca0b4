"""Exit codes are one list: what the page says is what the errors carry, and shells can complete our commands."""

import ast
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import factory
import manifests
import trainer
from manifests.errors import StoreError, UserError

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
WITH_ERRORS = ("manifests.errors", "factory.job", "factory.watchdog")
DONE, FAULT = 0, 1


def all_kinds(kind: type[BaseException]) -> set[type[BaseException]]:
    return {kind}.union(*(all_kinds(child) for child in kind.__subclasses__()))


def sources() -> Iterator[tuple[str, str]]:
    """Give the name and text of every module of ours."""
    for package in (manifests, factory, trainer):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            path = ROOT / Path(*module.name.split(".")).with_suffix(".py")
            if path.is_file():
                yield module.name, path.read_text(encoding="utf-8")


def codes_of_commands() -> dict[str, set[int]]:
    """Return what each module's commands leave with where nothing went wrong: `raise typer.Exit(code)`."""
    found: dict[str, set[int]] = {}
    for name, text in sources():
        for node in ast.walk(ast.parse(text)) if "typer.Exit(" in text else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "typer.Exit":
                (code,) = node.args
                is_name = isinstance(code, ast.Name)
                value = getattr(importlib.import_module(name), code.id) if is_name else ast.literal_eval(code)
                found.setdefault(name, set()).add(value)
    return found


def table(text: str) -> str:
    return text.partition("<!-- exit codes -->")[2].partition("<!-- /exit codes -->")[0]


def codes(text: str) -> set[int]:
    return {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}


def test_the_page_lists_every_exit_code_and_no_other() -> None:
    for name in WITH_ERRORS:
        importlib.import_module(name)
    carried = {kind.exit_code for kind in all_kinds(UserError) | {StoreError}}
    assert codes(table(PAGE)) == {DONE, FAULT} | carried | set.union(*codes_of_commands().values())


def test_no_command_leaves_with_the_code_of_a_fault_of_ours() -> None:
    assert "manifests.commands.parts" in codes_of_commands()
    assert not [name for name, found in codes_of_commands().items() if found & {DONE, FAULT}]


def test_the_trainers_page_lists_what_pretrain_leaves_with() -> None:
    text = (ROOT / "docs" / "trainer.md").read_text(encoding="utf-8")
    here = text.partition("| exit code | means |")[2].partition("\n\n")[0]
    of_a_training = {DONE, *(kind.exit_code for kind in all_kinds(UserError) if kind.__module__ == "manifests.errors")}
    assert codes(here) == of_a_training | {StoreError.exit_code}


def test_no_error_elsewhere_brings_a_code_of_its_own() -> None:
    found = {name for name, text in sources() if re.search(r"^    exit_code = ", text, re.MULTILINE)}
    assert found == set(WITH_ERRORS)


@pytest.mark.parametrize("name", ["factory", "manifests", "trainer"])
def test_a_shell_completes_commands(name: str) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts[f"viewmill-{name}"] == f"{name}.__main__:main"
    program = f"import sys; sys.argv = ['viewmill-{name}']; from {name}.__main__ import main; main()"
    beginning = {"factory": "ren", "manifests": "ver", "trainer": "pre"}[name]
    asked = {
        f"_VIEWMILL_{name.upper()}_COMPLETE": "complete_bash",
        "COMP_WORDS": f"viewmill-{name} {beginning}",
        "COMP_CWORD": "1",
    }
    environment = {**os.environ, **asked, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split()[:1] == [{"ren": "render", "ver": "verify", "pre": "pretrain"}[beginning]], done.stderr
