"""The navigator: its length, both players' signs on a generator where the answer is known, resuming, measuring."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from factory.__main__ import app
from factory.walks.config import Estimator, NavigatorConfig
from factory.walks.file import LearnedFacts, parse_learned, read_bytes, to_bytes
from factory.walks.frozen import Frozen, LatentLaw
from factory.walks.information import compare, report
from factory.walks.navigation import MinMax, Navigator, gaussian_way, likeness, pair_steps, step_noise
from factory.walks.steering import layer_arrays
from factory.walks.train_navigator import NavigatorRun, is_enough, way_of
from learning import loop
from learning.information import info_nce
from tests.factory.walks.toys import CPU, Spot, spot, tiny_folder

ESTIMATOR = {"training_images": 64, "epochs": 1, "test_images": 64, "batch_images": 16, "seeds": 2}
SHORT = {
    "images": 32,
    "batch_images": 8,
    "checkpoint_images": 16,
    "warmup_images": 8,
    "encoder_width": 8,
    "crop_px": 16,
}


def config(**more: Any) -> NavigatorConfig:
    return NavigatorConfig.model_validate({**SHORT, "estimator": ESTIMATOR, **more})


def silent(line: Any) -> None:
    pass


def test_a_step_is_exactly_as_long_as_the_gaussians() -> None:
    torch.manual_seed(0)
    z, noise = torch.randn(50, 12), torch.randn(50, 12)
    for way in (Navigator(12, 16, 3, 0.7), gaussian_way(0.7)):
        torch.testing.assert_close(way(z, noise).norm(dim=1), torch.full((50,), 0.7 * math.sqrt(12)))
    torch.testing.assert_close(gaussian_way(0.7)(z, noise), noise / noise.norm(dim=1)[:, None] * 0.7 * math.sqrt(12))


def test_views_that_ignore_their_noise_are_told_from_gaussian_ones() -> None:
    latents = spot().latents(1, "look", 0, 400)
    assert likeness(lambda z, noise: z, latents, 0) == pytest.approx(1)
    assert abs(likeness(gaussian_way(0.5), latents, 0)) < 5 / math.sqrt(6 * 400)


def test_every_other_pair_is_an_anchor_with_a_view_and_the_rest_are_two_views() -> None:
    latents = spot().latents(1, "look", 0, 8)
    first, second = pair_steps(gaussian_way(0.5), latents, 3, 0)
    lengths = torch.full((4,), 0.5 * math.sqrt(6))
    assert (first[0::2] == 0).all()
    torch.testing.assert_close(first[1::2].norm(dim=1), lengths)
    torch.testing.assert_close(second[0::2].norm(dim=1), lengths)
    assert (torch.cosine_similarity(first[1::2], second[1::2]) < 0.999).all()


def test_a_file_goes_where_its_module_goes() -> None:
    navigator = Navigator(6, 8, 3, 0.4)
    facts = LearnedFacts(kind="navigator", generator_sha256="ab" * 32, sigma=0.4)
    learned = parse_learned(to_bytes(facts, layer_arrays(navigator.network)), "navigator", "file")
    z, noise = torch.randn(5, 6), torch.randn(5, 6)
    torch.testing.assert_close(way_of(learned)(z, noise), navigator(z, noise).detach(), atol=1e-5, rtol=1e-5)


def test_info_nce_is_the_mean_cross_entropy_of_both_directions() -> None:
    first, second = torch.nn.functional.normalize(torch.randn(2, 7, 4, dtype=torch.float64), dim=2)
    logits = first @ second.T / 0.1
    expected = -(logits.log_softmax(1).diagonal().mean() + logits.T.log_softmax(1).diagonal().mean()) / 2
    torch.testing.assert_close(info_nce(first, second, 0.1), expected)


def test_each_player_steps_against_the_other() -> None:
    """One step of the encoder lowers the loss of the batch, one of the navigator raises it."""
    game = MinMax(spot(), config(augmentation="none", learning_rate=1e-3, navigator_rate=1e-3))
    latents = game.frozen.latents(1, "navigator", 0, 32)

    def loss() -> torch.Tensor:
        return game._loss(*game._views(latents, pair_steps(game.navigator, latents, 1, 0), 0))

    before = loss()
    game.judge.step(loss(), 1.0)
    between = loss()
    game.guide.step(-loss(), 1.0)
    assert between < before
    assert loss() > between


def test_the_navigator_goes_where_images_change_most(tmp_path: Path) -> None:
    """Two of the spot's six directions move it: a Gaussian spends a third of its step there, the navigator most."""
    frozen = spot()
    assert isinstance(frozen.network, Spot)
    settings = {"images": 1920, "batch_images": 32, "learning_rate": 2e-3, "navigator_rate": 5e-3, "sigma": 0.8}
    game = MinMax(frozen, config(**settings, augmentation="none", checkpoint_images=1920))
    loop.train(game, game.config.schedule, tmp_path, silent)
    latents = frozen.latents(2, "held-out", 0, 200)
    noise = step_noise(latents, 2, 0)
    plane = torch.stack([frozen.network.across, frozen.network.down])
    shares = {
        name: float(((way(latents.z, noise).detach() @ plane.T).square().sum(1) / (0.8**2 * 6)).mean())
        for name, way in {"navigator": game.navigator, "gaussian": gaussian_way(0.8)}.items()
    }
    assert shares["gaussian"] == pytest.approx(1 / 3, abs=0.06)
    assert shares["navigator"] > 0.7


def test_held_out_encoders_tell_far_views_from_near_ones() -> None:
    ways = {"far": gaussian_way(2.0), "near": gaussian_way(0.05)}
    estimator = {**ESTIMATOR, "training_images": 256, "epochs": 4, "test_images": 64, "learning_rate": 3e-3}
    chosen = config(augmentation="none", estimator=estimator)
    table = compare(spot(), ways, chosen, "held-out", 2)
    assert table.shape == (2, 2, 4)
    found = report(table, chosen.estimator)
    assert found["lowers"]
    assert found["difference_nats"] == pytest.approx(float((table[0] - table[1]).mean()))
    assert table.max() <= math.log(16) + 1e-6


def test_a_difference_that_seeds_disagree_on_is_no_evidence() -> None:
    noise = np.random.default_rng(0).normal(size=(2, 3, 40)) * 0.1
    table = noise + np.array([1.0, 2.0])[:, None, None]
    assert report(table, Estimator())["lowers"]
    table[0, 1] += 1.5
    assert not report(table, Estimator())["lowers"]
    assert not report(noise, Estimator())["lowers"]


def test_training_ends_when_patience_does() -> None:
    assert not is_enough([], 2)
    assert not is_enough([3.0, 2.0, 2.5], 2)
    assert is_enough([3.0, 2.0, 2.5, 2.0], 2)
    assert not is_enough([3.0, 2.0, 2.5, 1.9], 2)


def test_a_resumed_game_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    frozen = Frozen.open(str(tiny_folder(tmp_path / "model")), LatentLaw(), CPU)

    def play(folder: str, *lengths: int) -> dict[str, torch.Tensor]:
        for images in lengths:
            game = MinMax(frozen, config(images=images))
            loop.train(game, game.config.schedule, tmp_path / folder, silent)
        return {**game.navigator.state_dict(), **game.encoder.state_dict()}

    whole, parts = play("whole", 32), play("parts", 16, 32)
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_a_checkpoint_that_was_never_considered_is_considered_on_resume(tmp_path: Path) -> None:
    model, out = str(tiny_folder(tmp_path / "model")), tmp_path / "n.safetensors"
    run = NavigatorRun(model, out, config(images=16), silent)
    loop.train(run.learner, run.config.schedule, run.folder, silent)  # killed before its candidate was measured
    again = NavigatorRun(model, out, config(images=16), silent)
    again.facts = {"code": None}
    again._catch_up()
    assert [line["images_seen"] for line in again._considered()] == [16]
    again._catch_up()
    assert len(again._considered()) == 1


def test_the_command_writes_a_navigator_only_if_it_wins(tmp_path: Path) -> None:
    model, out = tiny_folder(tmp_path / "model"), tmp_path / "navigator.safetensors"
    settings = {**SHORT, **{f"estimator.{key}": value for key, value in ESTIMATOR.items()}}
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    done = CliRunner().invoke(app, ["train-navigator", str(model), str(out), *options, "--json"])
    lines = (tmp_path / "navigator.run" / "candidates.jsonl").read_text().splitlines()
    assert [json.loads(line)["images_seen"] for line in lines] == [16, 32]
    if done.exit_code:
        assert "not written: no lower" in str(done.exception)
        assert not out.exists()
    else:
        assert parse_learned(read_bytes(out, "navigator"), "navigator", "file").facts.sigma == 0.5
