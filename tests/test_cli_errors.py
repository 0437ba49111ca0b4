"""What nobody can help, and what the user can, is one line and an exit code in every command line."""

import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem
from PIL import Image

from manifests.adopt import adopt
from manifests.errors import StoreError, UserError

ROOT = Path(__file__).parent.parent
BUILDER = "trainer.evaluation.emoji"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make a sound data set of one image."""
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    adopt(tmp_path / "images", tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def broken_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every listing of a folder fail as it does when a disk or a mounted share breaks."""

    def fail(self: LocalFileSystem, path: str, **options: object) -> None:
        raise OSError(errno.EIO, "Input/output error", path)

    monkeypatch.setattr(LocalFileSystem, "ls", fail)


def said(module: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command line as if typed; return its exit code and what it says on stderr."""
    monkeypatch.setattr(sys, "argv", [module, *words])
    line = importlib.import_module(module)
    with pytest.raises(SystemExit) as left:
        line.run_app(line.app)
    captured = capsys.readouterr()
    assert captured.out == ""
    return f"{left.value.code} {captured.err}"


@pytest.mark.parametrize(
    ("module", "words", "expected"),
    [
        ("manifests.__main__", ["show", "OUT/absent"], "there is no such folder"),
        ("manifests.__main__", ["verify", "OUT"], "no finished version"),
        ("factory.__main__", ["render", "no-such-recipe", "OUT/new"], "no-such-recipe"),
        ("factory.__main__", ["status", "OUT/absent"], "there is no such folder"),
        ("trainer.__main__", ["pretrain", "no-such-preset", "--data", "OUT", "--out", "OUT/run"], "no-such-preset"),
        ("trainer.__main__", ["evaluate", "OUT"], "holds no encoder"),
        ("trainer.__main__", ["compare", "OUT"], "holds no encoder"),
        ("trainer.__main__", ["embed", "OUT", "OUT", "OUT/features"], "holds no encoder"),
        (BUILDER, ["OUT/absent", "OUT/new"], "there is no such folder"),
        ("trainer.evaluation.clipart26", ["OUT/file/new"], "a part of the path is a file"),
    ],
)
def test_a_mistake_is_one_line_and_its_exit_code(
    module: str,
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    line = said(module, [word.replace("OUT", str(tmp_path)) for word in words], monkeypatch, capsys)
    assert line.startswith(f"{UserError.exit_code} error: ")
    assert expected in line
    assert line.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("manifests.__main__", ["ls", "DATA"]),
        ("factory.__main__", ["clean", "DATA"]),
        ("trainer.__main__", ["pretrain", "demo", "--data", "DATA", "--out", "NEW"]),
        (BUILDER, ["DATA", "NEW"]),
    ],
)
def test_a_store_that_fails_is_one_line_and_another_exit_code(
    module: str,
    words: list[str],
    data: Path,
    broken_disk: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"DATA": str(data), "NEW": str(tmp_path / "new")}
    line = said(module, [places.get(word, word) for word in words], monkeypatch, capsys)
    assert line.startswith(f"{StoreError.exit_code} error: {data}/")
    assert "Input/output error" in line
    assert "or run the same command again later" in line
    assert line.count("\n") == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("words", [["evaluate", "/nope"], ["compare", "/nope", "/nope"], ["embed", "/nope", "x", "y"]])
def test_a_wrong_folder_is_said_before_a_heavy_library_is_loaded(words: list[str]) -> None:
    program = (
        f"import runpy, sys\nsys.argv = ['trainer', *{words!r}]\n"
        "try: runpy.run_module('trainer', run_name='__main__')\n"
        "finally: print(sorted(set(sys.modules) & {'torch', 'timm', 'accelerate'}))"
    )
    command, environment = [sys.executable, "-c", program], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (UserError.exit_code, "[]\n")
    assert done.stderr.startswith("error: /nope holds no encoder")
