"""Training in several real processes: the same run as in one, up to the order of sums."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from manifests.errors import UserError
from tests.distributed.harness import run_processes
from tests.factory.gan.test_bank import exported
from tests.factory.gan.test_learner import learner_of
from tests.factory.gan.test_phases import settings as aided
from tests.factory.gan.test_train import ROOT, command


def stepped(data: str, batch_images: int) -> tuple[dict[str, float], torch.Tensor, torch.Tensor]:
    """Take a step with a penalty, short enough that what follows it is as before.

    Returns what it reports, both players' last gradients (Adam's first moment, as its first beta is 0), all weights.
    """
    rates = {"learning_rate": "1e-6", "discriminator__learning_rate": "1e-6"}
    learner = learner_of(Path(data), batch_images=batch_images, precision="float32", **rates)
    report = learner.step(0, batch_images, 1.0)
    players = learner.drawer, learner.judge
    gradients = [state["exp_avg"] for player in players for state in player.optimizer.state.values()]
    nets = learner.generator, learner.discriminator, learner.average.module
    weights = [parameter.detach() for net in nets for parameter in net.parameters()]
    return report, *(torch.cat([each.flatten() for each in found]) for found in (gradients, weights))


def test_two_processes_take_the_step_of_one(shapes: Path) -> None:
    report, gradients, _ = stepped(str(shapes), 16)
    first, second = run_processes(2, stepped, str(shapes), 16)
    assert torch.equal(first[2], second[2]), "all processes hold the same weights to the bit"
    assert first[0] == second[0]
    for name, value in report.items():
        assert first[0][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    torch.testing.assert_close(first[1], gradients, rtol=1e-2, atol=1e-4 * gradients.abs().max().item())


def refused(data: str) -> str:
    """Try a batch that two processes cannot share evenly."""
    try:
        stepped(data, 12)
    except UserError as error:
        return str(error)
    return ""


def test_a_batch_that_cannot_be_shared_is_refused(shapes: Path) -> None:
    assert all("batch_images: got 12 for 2 processes" in told for told in run_processes(2, refused, str(shapes)))


def launched(words: list[str]) -> str:
    """Run a command in two processes; return what it says."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "factory"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*launch, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_whole_run_in_two_processes_writes_one_folder(shapes: Path, tmp_path: Path) -> None:
    said = launched(command(shapes, tmp_path / "gan", precision="float32", batch_images=8))
    described = json.loads((tmp_path / "gan" / "generator.json").read_text())
    assert described["made_from"]["images_seen"] == 40
    lines = (tmp_path / "gan/training/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["images_seen"] for line in lines] == [24, 40], "one process writes"
    assert len(said.splitlines()) == 3, "and one talks"


@pytest.mark.slow
def test_a_critic_comes_in_to_all_processes_alike(shapes: Path, tmp_path: Path) -> None:
    sizes = {"img_size": 16, "patch_size": 8, "depth": 1, "num_heads": 2}
    models = [str(exported(tmp_path / f"w{w}", embed_dim=w, **sizes)) for w in (8, 16, 24)]
    settings = {**aided(models), "precision": "float32", "batch_images": 8}
    launched(command(shapes, tmp_path / "gan", **settings))
    record = json.loads((tmp_path / "gan/training/phase-2/phase.json").read_text())
    assert len(record["critics"]) == 2
    assert (tmp_path / "gan/generator.json").exists()
    lines = (tmp_path / "gan/training/quality.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["images_seen"] >= 60
