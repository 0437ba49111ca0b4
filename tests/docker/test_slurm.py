"""The Slurm scripts run here; of Slurm and Ray there is only who is called, and with what code it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer.data import make_dataset

ROOT = Path(__file__).parents[2]
SLURM = ROOT / "docker" / "slurm"
REQUEUED = "scontrol requeue 7"


def submit(script: str, folder: Path, commands: dict[str, int], **variables: str) -> tuple[int, list[str]]:
    """Run a script; each of the commands writes down that it was called and ends with its code."""
    calls = folder / "calls"
    calls.touch()
    for name, code in commands.items():
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" | head -n 1 >> {calls}\necho node\nexit {code}\n')
        (folder / name).chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node", "SLURM_CPUS_PER_TASK": "32", "PATH": path}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **job, **variables}
    done = subprocess.run(
        ["bash", str(SLURM / script)], env=environment, cwd=folder, capture_output=True, timeout=120, check=False
    )
    return done.returncode, calls.read_text().splitlines()


def trained(folder: Path, config: str = "stablerep", data: str = "", **variables: str) -> tuple[int, list[str]]:
    codes = {"scontrol": 0, "srun": 1}  # as torchrun always ends
    data = data or str(make_dataset(folder / "data", groups=80, views=6))
    return submit("train.sbatch", folder, codes, CONFIG=config, DATA=data, OUT="run", **variables)


def rendered(folder: Path, code: int, **variables: str) -> tuple[int, list[str]]:
    codes = {"scontrol": 0, "srun": 0, "ray": 0, "python": code}
    return submit("render.sbatch", folder, codes, RECIPE="demo", OUT="out", **variables)


def test_a_training_that_ended_goes_on_but_not_for_ever(tmp_path: Path) -> None:
    code, calls = trained(tmp_path, SLURM_RESTART_COUNT="19")
    assert code == 1
    assert REQUEUED in calls


def test_a_training_that_fails_again_and_again_is_let_be(tmp_path: Path) -> None:
    code, calls = trained(tmp_path, SLURM_RESTART_COUNT="20")
    assert code == 1
    assert any(call.startswith("srun --cpus-per-task=32 ") for call in calls)  # Slurm 22.05 and newer: else one CPU
    assert REQUEUED not in calls


def test_a_mistake_in_a_config_ends_the_training_before_any_node_works(tmp_path: Path) -> None:
    code, calls = trained(tmp_path, config="stablereq")
    assert code == 2
    assert calls == ["scontrol show hostnames node"]


def test_data_that_are_not_there_end_the_training_before_any_node_works(tmp_path: Path) -> None:
    code, calls = trained(tmp_path, data=str(tmp_path / "nowhere"))
    assert code == 2
    assert calls == ["scontrol show hostnames node"]


@pytest.mark.parametrize(
    ("code", "restarts", "is_again"),
    [(5, 0, True), (6, 19, True), (5, 20, False), (4, 2, True), (4, 3, False), (2, 0, False), (0, 0, False)],
)
def test_rendering_is_queued_again_where_that_may_help(
    tmp_path: Path, code: int, restarts: int, is_again: bool
) -> None:
    ended, calls = rendered(tmp_path, code, SLURM_RESTART_COUNT=str(restarts))
    assert ended == code
    assert (REQUEUED in calls) == is_again
