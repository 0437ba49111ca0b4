"""Where a Debian package's data are found: installed in the very version, or downloaded."""

from pathlib import Path

import pytest

from manifests.errors import UserError
from trainer.evaluation import debian, idx, stamps
from trainer.evaluation.debian import folder_of

INSIDE = Path("usr/share/things")


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Stand in for dpkg and apt: things 2 is installed, and nothing can be downloaded."""
    for name, line in (("dpkg-query", "printf 2"), ("apt-get", "echo no network >&2; exit 1")):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "root" / INSIDE).mkdir(parents=True)
    return tmp_path / "root"


def test_what_is_installed_is_used_if_it_is_the_very_version(tools, tmp_path):
    assert folder_of({"things": ("2", "ab")}, INSIDE, tmp_path, system=tools) == tools / INSIDE
    with pytest.raises(UserError, match="no network"):
        folder_of({"things": ("1", "ab")}, INSIDE, tmp_path, system=tools)
    with pytest.raises(UserError, match="no network"):
        folder_of({"things": ("2", "ab")}, Path("usr/share/else"), tmp_path, system=tools)


def test_without_debians_tools_the_line_says_so(tools, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get not found: this set is built on Debian or Ubuntu"):
        folder_of({"things": ("2", "ab")}, INSIDE, tmp_path, system=tools)


def test_both_sets_look_in_this_one_way():
    assert idx.folder_of is stamps.folder_of is debian.folder_of
