"""`python -m demo`: a failing step is the end of it, said in its own words."""

import subprocess
import sys
from pathlib import Path

import pytest

from demo.__main__ import app, demo_steps
from manifests.command_line import run_app

ROOT = Path(__file__).parents[2]


def run_demo(*arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=timeout_s, check=False)


def test_a_mistake_in_a_step_ends_the_demo_with_its_message_and_exit_code(tmp_path: Path) -> None:
    done = run_demo("--out", str(tmp_path / "demo"), "--recipe", "no-such-recipe")
    assert done.returncode == 2
    assert "no-such-recipe" in done.stderr.splitlines()[0]
    assert "the step “render” failed (exit code 2): python -m factory render no-such-recipe" in done.stderr
    assert "Traceback" not in done.stderr
    assert "[2/4]" not in done.stdout


def test_the_steps_are_the_commands_one_would_type() -> None:
    steps = demo_steps(Path("out"), "demo", "demo", seed=3, groups=12)
    assert [step.text for step in steps[:3]] == [
        "python -m factory render demo out/data --groups 12",
        "python -m trainer pretrain demo --data out/data --out out/run --set seed=3",
        "python -m trainer evaluate out/run --set clipart26 --split dev --json > out/evaluation.json",
    ]
    assert steps[3].arguments[:3] == ("trainer", "embed", "out/run")
    assert steps[3].arguments[3].endswith("trainer/evaluation/sets/clipart26")


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("file", "a part of the path is a file: choose another target"),
        ("file/demo", "a part of the path is a file: choose another target"),
        ("/proc/nope", "there is no such bucket or folder"),
        ("s3://bucket/demo", "s3://bucket/demo: expected a local path"),
        ("damaged", "steps.json is damaged: delete it"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "steps.json").write_text('{"render": ')
    monkeypatch.setattr(sys, "argv", ["demo", "--out", out])
    with pytest.raises(SystemExit) as left:
        run_app(app)
    assert left.value.code == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert words in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged", "file"]
