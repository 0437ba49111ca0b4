"""What an installed wheel holds besides Python files: all that the repository has in the packages."""

import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no git checkout to compare with")
def test_every_data_file_of_a_package_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["setuptools"]
    packages = [name.rstrip("*") for name in declared["packages"]["find"]["include"]]
    tracked = subprocess.run(["git", "ls-files", *packages], cwd=ROOT, capture_output=True, text=True, check=True)
    data = {name for name in tracked.stdout.split("\n") if name and not name.endswith(".py")}
    patterns = [(package, pattern) for package, globs in declared["package-data"].items() for pattern in globs]
    shipped = {str(path.relative_to(ROOT)) for package, pattern in patterns for path in (ROOT / package).glob(pattern)}
    assert "factory/recipes/demo.yaml" in data
    assert data <= shipped
