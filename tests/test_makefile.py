"""The Makefile: every target is told by `make help`, none goes on in another's folder, and `clean` spares results."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TARGETS = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf8"), re.MULTILINE)[1].split()

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


def make(*arguments: str) -> str:
    # What the make that runs these tests was told is not for this one.
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    command = ["make", "--no-print-directory", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_can_be_made_and_is_told_by_help(target: str) -> None:
    assert make("-n", target).strip()
    assert re.search(rf"^  make {target} +\S", make("help"), re.MULTILINE)


def test_targets_that_are_no_files_are_all_of_them() -> None:
    written = re.findall(r"^([a-z-]+):(?! OUT)", (ROOT / "Makefile").read_text(encoding="utf8"), re.MULTILINE)
    assert sorted(written) == sorted(TARGETS)


def test_what_is_made_without_a_name_has_a_folder_of_its_own() -> None:
    targets = ("demo", "shards", "pretrain")
    folders = [
        set(re.findall(r"out/[a-z]+$", line)) for t in targets for line in [make("-n", t).splitlines()[-1].strip()]
    ]
    assert folders == [{"out/demo"}, {"out/shards"}, {"out/run"}]
    assert make("-n", "shards", "OUT=elsewhere").rstrip().endswith(" elsewhere")


def test_clean_spares_results() -> None:
    removed = make("-n", "clean").split()
    assert not [word for word in removed if word.startswith(("out", ".venv"))]
    assert make("-n", "clean-out").strip() == "rm -rf out"
