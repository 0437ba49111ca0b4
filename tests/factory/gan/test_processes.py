"""Training in several real processes: the same run as in one, up to the order of sums."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from manifests.errors import UserError
from tests.distributed.harness import run_processes
from tests.factory.gan import tiny
from tests.factory.gan.test_learner import learner_of
from tests.factory.gan.test_train import ROOT, command


def stepped(data: str, batch_images: int) -> dict[str, torch.Tensor]:
    """Take two steps, the first of them with a penalty; return the weights of both players."""
    learner = learner_of(Path(data), batch_images=batch_images, precision="float32", learning_rate="1e-4")
    for seen in (0, batch_images):
        learner.step(seen, batch_images, 1.0)
    nets = {"G": learner.generator, "D": learner.discriminator, "average": learner.average.module}
    return {f"{name}.{key}": value for name, net in nets.items() for key, value in net.state_dict().items()}


def test_two_processes_take_the_steps_of_one(shapes: Path) -> None:
    alone = stepped(str(shapes), 16)
    for found in run_processes(2, stepped, str(shapes), 16):
        assert found.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(found[name], value, atol=2e-4, rtol=1e-3, msg=name)


def refused(data: str) -> str:
    """Try a batch that two processes cannot share evenly."""
    try:
        stepped(data, 12)
    except UserError as error:
        return str(error)
    return ""


def test_a_batch_that_cannot_be_shared_is_refused(shapes: Path) -> None:
    assert all("batch_images: got 12 for 2 processes" in told for told in run_processes(2, refused, str(shapes)))


@pytest.mark.slow
def test_a_whole_run_in_two_processes_writes_one_folder(shapes: Path, tmp_path: Path) -> None:
    words = command(shapes, tmp_path / "gan", precision="float32", batch_images=8)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*launch, "-m", "factory", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    described = json.loads((tmp_path / "gan" / "generator.json").read_text())
    assert described["made_from"]["images_seen"] == 40
    tiny.run(shapes, tmp_path / "alone", precision="float32", batch_images=8).go()
    ours, theirs = (load_file(tmp_path / name / "training" / "G.safetensors") for name in ("gan", "alone"))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=5e-2, rtol=5e-2, msg=name)
