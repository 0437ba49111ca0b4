"""`python -m factory import`: which kind of weights it takes for what, and one line for a mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from factory.__main__ import app
from manifests.errors import UserError
from tests.factory.gan.importing import official_networks as official


def test_a_network_pickle_becomes_a_folder(tmp_path: Path) -> None:
    source, out = official.snapshot(tmp_path / "network.pkl"), tmp_path / "out"
    done = CliRunner().invoke(app, ["import", str(source), str(out)], catch_exceptions=False)
    assert (done.exit_code, done.stdout) == (0, f"{out}\n")
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
    assert names == ["generator.json", "generator.safetensors", "training/D.safetensors", "training/G.safetensors"]
    assert json.loads((out / "generator.json").read_text())["family"] == "stylegan2"


def test_a_hostile_pickle_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "network.pkl"
    path.write_bytes(b"cos\nsystem\n.")
    command = [sys.executable, "-m", "factory", "import", str(path), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {path}: refused")
    assert "os.system" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("name", "told"), [("w.pth", "w.pth"), ("folder", "no BigGAN"), ("w.pkl", "refused")])
def test_the_kind_of_weights_is_told_by_what_they_lie_in(tmp_path: Path, name: str, told: str) -> None:
    source = tmp_path / name
    if name == "folder":
        source.mkdir()
    else:
        source.write_bytes(b"not a pickle")
    with pytest.raises(UserError, match=told):
        CliRunner().invoke(app, ["import", str(source), str(tmp_path / "out")], catch_exceptions=False)
