"""Steps run, resume, are left out when nothing changed, and fail with the exit code of what failed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.steps import Journal, Step, StepError, run_all


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write modules that stand for commands, where `python -m` of a child finds them."""
    (tmp_path / "count_up.py").write_text(
        "import pathlib, sys\np = pathlib.Path(sys.argv[1])\n"
        "p.write_text(str(1 + int(p.read_text()) if p.exists() else 1))\n"
    )
    (tmp_path / "say.py").write_text("import sys\nprint(open(sys.argv[1]).read())\n")
    (tmp_path / "fail.py").write_text("import sys\nprint('half')\nsys.exit(int(sys.argv[1]))\n")
    (tmp_path / "die.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    (tmp_path / "linger.py").write_text(
        "import pathlib, signal, sys, time\np = pathlib.Path(sys.argv[1])\n"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5), p.write_text('safe'), sys.exit(75)))\n"
        "p.write_text('begun')\ntime.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def counter(folder: Path, inputs: tuple[Path, ...] = ()) -> Step:
    return Step("count", ("count_up", str(folder / "count")), folder / "count", inputs)


def test_a_step_that_resumes_by_itself_is_run_again_and_adds_no_time(modules: Path) -> None:
    journal = Journal(modules / "steps.json")
    run_all([counter(modules)], journal)
    seconds = journal.seconds(counter(modules))
    run_all([counter(modules)], Journal(modules / "steps.json"))
    assert (modules / "count").read_text() == "2"
    assert Journal(modules / "steps.json").seconds(counter(modules)) == seconds > 0


def test_a_step_with_inputs_is_left_out_until_they_change(modules: Path) -> None:
    source = modules / "source"
    source.write_text("one")
    step = Step("say", ("say", str(source)), modules / "said", inputs=(source,), captured=True)
    run_all([step], Journal(modules / "steps.json"))
    assert Journal(modules / "steps.json").is_current(step)
    source.write_text("two")
    assert not Journal(modules / "steps.json").is_current(step)
    run_all([step], Journal(modules / "steps.json"))
    assert (modules / "said").read_text() == "two\n"
    (modules / "said").unlink()
    assert not Journal(modules / "steps.json").is_current(step)


def test_another_command_under_the_same_name_starts_anew(modules: Path) -> None:
    run_all([counter(modules)], Journal(modules / "steps.json"))
    other = Step("count", ("count_up", str(modules / "other")), modules / "other")
    assert Journal(modules / "steps.json").seconds(other) == 0


def test_a_failure_stops_the_chain_with_its_exit_code_and_half_an_output_gets_no_name(modules: Path) -> None:
    failing = Step("fail", ("fail", "3"), modules / "half", captured=True)
    with pytest.raises(StepError, match=r"“fail” failed .exit code 3.: python -m fail 3") as raised:
        run_all([failing, counter(modules)], Journal(modules / "steps.json"))
    assert raised.value.exit_code == 3
    assert not (modules / "half").exists()
    assert not (modules / "count").exists()


def test_the_time_of_a_killed_run_counts_and_the_signal_is_named(modules: Path) -> None:
    step = Step("die", ("die",), modules / "never")
    with pytest.raises(StepError, match="killed by SIGKILL") as raised:
        run_all([step], Journal(modules / "steps.json"))
    assert raised.value.exit_code == 128 + 9
    first = Journal(modules / "steps.json").seconds(step)
    with pytest.raises(StepError):
        run_all([step], Journal(modules / "steps.json"))
    assert Journal(modules / "steps.json").seconds(step) > first > 0


def test_the_journal_names_no_interpreter(modules: Path) -> None:
    run_all([counter(modules)], Journal(modules / "steps.json"))
    saved = json.loads((modules / "steps.json").read_text())
    assert saved["count"]["command"].startswith("python -m count_up ")
    assert sys.executable not in saved["count"]["command"]


def test_a_polite_stop_reaches_the_command_and_waits_until_it_is_safe(modules: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from demo.steps import *\n"
        "folder = Path(sys.argv[1]); step = Step('linger', ('linger', str(folder / 'state')), folder / 'never')\n"
        "try: run_all([step], Journal(folder / 'steps.json'))\nexcept StepError as error: sys.exit(error.exit_code)\n"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", program, str(modules)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": f"{modules}{os.pathsep}."},
    )
    state = modules / "state"
    deadline = time.monotonic() + 60
    while not (state.exists() and state.read_text() == "begun") and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.terminate()
    assert driver.wait(timeout=60) == 75
    assert state.read_text() == "safe"
    assert json.loads((modules / "steps.json").read_text())["linger"]["finished"] is False
