"""Whole runs: killed and gone on with, refused, diverged, and what they leave behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from factory.__main__ import app
from factory.gan import quality
from factory.gan.train import Run
from factory.generators.latent_folder import GeneratorFile
from factory.generators.networks import build
from learning import checkpoint
from manifests import open_dataset
from manifests.errors import ConflictError, UserError
from tests.factory.gan import tiny

ROOT = Path(__file__).parents[3]

KILLED_AT_STEP = """
import os, signal, sys
from factory.__main__ import app
from factory.gan.learner import GanLearner
step = GanLearner.step
def deadly(self, images_seen, batch_images, rate):
    if images_seen == {images_seen}:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, images_seen, batch_images, rate)
GanLearner.step = deadly
app(sys.argv[1:])
"""


def command(data: Path, out: Path, *more: str, **settings: object) -> list[str]:
    words = [word for change in tiny.changes(**settings) for word in ("--set", change)]
    return ["train-gan", str(data), str(out), *words, *more]


def start(program: list[str], words: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *program, *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.fixture(scope="module")
def straight(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    out = tmp_path_factory.mktemp("straight") / "gan"
    tiny.run(shapes, out).go()
    return out


def lines(out: Path) -> list[dict[str, float]]:
    found = map(json.loads, (out / "training" / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name != "images_per_s"} for line in found]


def test_five_steps_a_kill_and_five_more_are_ten_steps_bit_for_bit(
    shapes: Path, straight: Path, tmp_path: Path
) -> None:
    out = tmp_path / "gan"
    killed = start(["-c", KILLED_AT_STEP.format(images_seen=28)], command(shapes, out))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (out / "training" / "checkpoints" / "ckpt-000000000040").exists()
    finished = start(["-m", "factory"], command(shapes, out))
    assert finished.returncode == 0, finished.stderr
    tiny.assert_same_state(out, straight)
    for file in ("generator.safetensors", "training/G.safetensors", "training/grids/000000040.png"):
        assert (out / file).read_bytes() == (straight / file).read_bytes(), file
    assert lines(out) == lines(straight)


def test_the_folder_rebuilds_the_generator_that_was_trained(shapes: Path, straight: Path) -> None:
    described = json.loads((straight / "generator.json").read_text())
    net = build(described["family"], described["arguments"])
    weights = load_file(straight / described["weights"])
    assert {value.dtype for value in weights.values()} == {torch.float16}
    net.load_state_dict({name: value.float() for name, value in weights.items()})
    trained = tiny.run(shapes, straight)
    found = checkpoint.load_newest(straight / "training/checkpoints")
    assert found is not None
    trained.learner.load(found[1])
    z = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    ids, psi = torch.arange(6) % 2, torch.full((6,), 0.7)
    images = [
        each.synthesize(each.map(z, ids, psi, None), ids, psi, each.constant_noise())
        for each in (net, trained.learner.average.module)
    ]
    torch.testing.assert_close(images[0], images[1], atol=2e-2, rtol=0)  # half precision's
    assert images[0].std() > 0.01


def test_in_float32_the_folder_holds_the_very_weights_and_a_discriminator_that_fits(
    shapes: Path, straight: Path, tmp_path: Path
) -> None:
    from factory.gan.discriminator import Discriminator

    run = tiny.run(shapes, tmp_path / "gan", images=20, dtype="float32")
    run.go()
    described = json.loads((tmp_path / "gan/generator.json").read_text())
    net = build(described["family"], described["arguments"])
    net.load_state_dict(load_file(tmp_path / "gan/generator.safetensors"))
    z, ids, psi = torch.randn(3, 8), torch.tensor([0, 1, 1]), torch.ones(3)
    average = run.learner.average.module
    assert torch.equal(net.map(z, ids, psi, None), average.map(z, ids, psi, None))
    ws = net.map(z, ids, psi, None)
    noise = net.constant_noise()
    assert torch.equal(net.synthesize(ws, ids, psi, noise), average.synthesize(ws, ids, psi, noise))
    judge = Discriminator(**described["discriminator"])
    judge.load_state_dict(load_file(tmp_path / "gan/training/D.safetensors"))
    images = torch.rand(4, 3, 16, 16)
    class_ids = torch.tensor([0, 1, 0, 1])
    assert torch.equal(judge(images, class_ids), run.learner.discriminator(images, class_ids))


def test_the_factory_can_render_from_the_folder(straight: Path) -> None:
    described = GeneratorFile.model_validate_json((straight / "generator.json").read_text())
    assert described.weights_sha256 == hashlib.sha256((straight / described.weights).read_bytes()).hexdigest()


def test_the_folder_says_where_it_came_from(shapes: Path, straight: Path) -> None:
    described = json.loads((straight / "generator.json").read_text())
    assert (described["format"], described["licence"], described["class_names"]) == (1, "CC-BY-4.0", ["discs", "bars"])
    made_from = described["made_from"]
    assert made_from["data_root"] == open_dataset(str(shapes)).root
    assert (made_from["images_seen"], made_from["training_images"]) == (40, 24)
    assert made_from["config"]["generator"]["z_dim"] == 8
    assert "code" in made_from
    names = sorted(path.name for path in (straight / "training").iterdir())
    assert names == ["D.safetensors", "G.safetensors", "checkpoints", "grids", "metrics.jsonl", "run.json"]


def test_a_finished_run_may_be_made_longer_not_shorter_and_another_is_refused(shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "gan"
    tiny.run(shapes, out, images=8, checkpoint_images=8).go()
    tiny.run(shapes, out, images=12, checkpoint_images=8).go()
    assert json.loads((out / "generator.json").read_text())["made_from"]["images_seen"] == 12
    tiny.run(shapes, out, images=4, checkpoint_images=8).go()
    assert json.loads((out / "generator.json").read_text())["made_from"]["images_seen"] == 12, "it cannot be shorter"
    with pytest.raises(ConflictError, match=r"another run: discriminator.gamma: 0.1 there, 5.0 here"):
        tiny.run(shapes, out, discriminator__gamma=5)


def test_a_folder_with_other_things_in_it_is_left_alone(shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="is no run of train-gan"):
        tiny.run(shapes, tmp_path)


def test_divergence_stops_with_one_line_that_says_what_to_do(shapes: Path, tmp_path: Path) -> None:
    run = tiny.run(shapes, tmp_path / "gan", learning_rate="1e30", warmup_images=1, images=4000)
    with pytest.raises(UserError, match=r"training diverged.*lower the learning rate") as caught:
        run.go()
    assert "\n" not in str(caught.value)


def test_a_hopeless_game_stops_too(shapes: Path, tmp_path: Path) -> None:
    run = tiny.run(shapes, tmp_path / "gan")
    with pytest.raises(UserError, match=r"diverged: losses 61 and 0\.01 at 20 images.*raise discriminator.gamma"):
        run._tell({"images_seen": 20, "images_per_s": 1.0, "loss_g": 61.0, "loss_d": 0.01})


def test_a_dry_run_prints_the_resolved_whole_and_writes_nothing(shapes: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, command(shapes, tmp_path / "gan", "--dry-run"), catch_exceptions=False)
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["config"]["betas"] == [0.0, 0.99]
    assert told["data"]["training_images"] == 24
    assert told["parameters"]["generator"] > 0
    assert not (tmp_path / "gan").exists()


def test_quality_is_measured_on_the_way_and_at_the_end(shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "gan"
    measured = {"quality": "{every_images: 20, samples_images: 12}", "images": 24, "checkpoint_images": 20}
    tiny.run(shapes, out, **measured).go()
    found = quality.measured(out / "training" / "quality.jsonl")
    assert sorted(found) == [20, 24]
    assert found[24]["frechet_samples_to_training"] > found[24]["frechet_held_out_to_training"] > 0
    assert found[24]["samples_images"] == 12
    best = min(found, key=lambda seen: found[seen]["frechet_samples_to_training"])
    assert json.loads((out / "generator.json").read_text())["made_from"]["quality"] == found[best]
    assert found[24]["extractor"] == "efficientnet-lite0@128"
    assert 0 <= found[24]["coverage"] <= 1
    real = np.load(next((out / "training").glob("features-training-*.npy")))
    assert real.shape == (24, 1280)


def test_the_folder_holds_the_best_generator_and_the_checkpoint_the_newest(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Yardstick:
        distances = iter((5.0, 3.0, 9.0, 7.0))

        def __init__(self, *_: object) -> None: ...

        def measure(self, *_: object) -> dict[str, object]:
            return {quality.MEASURE: next(self.distances), "extractor_sha256": "ab"}

        def measure_held_out(self) -> dict[str, object]:
            return {}

    monkeypatch.setattr(quality, "Yardstick", Yardstick)
    out, every = tmp_path / "gan", {"quality": "{every_images: 8}", "checkpoint_images": 8, "dtype": "float32"}
    run = tiny.run(shapes, out, images=32, cooldown_images=1, **every)
    kept: dict[int, dict[str, torch.Tensor]] = {}
    keep = run._keep
    run._keep = lambda seen: (kept.update({seen: _weights(run)}), keep(seen))  # type: ignore[method-assign]
    run.go()
    described = json.loads((out / "generator.json").read_text())
    assert described["made_from"]["images_seen"] == 16
    assert described["made_from"]["quality"][quality.MEASURE] == 3
    ours = load_file(out / "generator.safetensors")
    assert all(torch.equal(ours[name], value) for name, value in kept[16].items())
    assert any(not torch.equal(ours[name], value) for name, value in kept[32].items())
    newest = checkpoint.load_newest(out / "training/checkpoints")
    assert newest is not None
    assert newest[0] == 32


def _weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.learner.average.module.state_dict().items()}


def test_the_best_is_the_earliest_of_the_nearest_by_the_newest_extractor() -> None:
    def line(distance: float, extractor: str) -> dict[str, object]:
        return {quality.MEASURE: distance, "extractor_sha256": extractor}

    assert quality.best({}) is None
    assert quality.best({10: line(1, "a"), 20: line(5, "b"), 30: line(4, "b"), 40: line(4, "b")}) == 30
    assert quality.best({10: {quality.MEASURE: 2.0}, 20: {quality.MEASURE: 3.0}}) == 10, "of a run of older code"
