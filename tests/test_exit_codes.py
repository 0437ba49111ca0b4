"""Exit codes are one list: what the page says is what the errors carry, and shells can complete our commands."""

import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import factory
import manifests
import trainer
from manifests.errors import StoreError, UserError

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
WITH_ERRORS = ("manifests.errors", "factory.job", "factory.watchdog", "trainer.distributed")
OF_COMMANDS = {0, 1, 75}  # done, a fault of ours, and what `pretrain` leaves with after a signal


def all_kinds(kind: type[BaseException]) -> set[type[BaseException]]:
    return {kind}.union(*(all_kinds(child) for child in kind.__subclasses__()))


def test_the_page_lists_every_exit_code_and_no_other() -> None:
    for name in WITH_ERRORS:
        importlib.import_module(name)
    table = PAGE.partition("<!-- exit codes -->")[2].partition("<!-- /exit codes -->")[0]
    written = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    carried = {kind.exit_code for kind in all_kinds(UserError) | {StoreError}}
    assert written == carried | OF_COMMANDS


def test_no_error_elsewhere_brings_a_code_of_its_own() -> None:
    found = set()
    for package in (manifests, factory, trainer):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            path = ROOT / Path(*module.name.split(".")).with_suffix(".py")
            if path.is_file() and re.search(r"^    exit_code = ", path.read_text(encoding="utf-8"), re.MULTILINE):
                found.add(module.name)
    assert found <= set(WITH_ERRORS)


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
