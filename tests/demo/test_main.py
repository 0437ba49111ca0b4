"""`python -m demo`: a failing step is the end of it, said in its own words."""

import subprocess
import sys
from pathlib import Path

from demo.__main__ import demo_steps

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
