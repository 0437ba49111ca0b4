"""One step of the two players: what moves, what stays, what is left out."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from factory.gan import learner as module
from factory.gan.data import open_pictures
from factory.gan.learner import GanLearner
from tests.factory.gan import tiny

CPU = torch.device("cpu")


def learner_of(data: Path, **more: object) -> GanLearner:
    config = tiny.config(**more)
    training, _ = open_pictures(str(data), size_px=16, is_conditional=config.conditional, held_out="test")
    return GanLearner(config, training, CPU)


def weights(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def is_same(before: dict[str, torch.Tensor], net: torch.nn.Module) -> bool:
    return all(torch.equal(value, before[name]) for name, value in net.state_dict().items() if "w_avg" not in name)


def test_a_step_moves_both_players_and_is_the_same_again(shapes: Path) -> None:
    first, again = learner_of(shapes), learner_of(shapes)
    before = weights(first.generator), weights(first.discriminator)
    reports = [learner.step(0, 4, 1.0) for learner in (first, again)]
    assert reports[0] == reports[1]
    assert not is_same(before[0], first.generator)
    assert not is_same(before[1], first.discriminator)
    assert is_same(weights(first.generator), again.generator)


def test_the_same_images_seen_give_the_same_draws_whatever_was_drawn_elsewhere(shapes: Path) -> None:
    first, again = learner_of(shapes), learner_of(shapes)
    torch.manual_seed(99)
    torch.randn(7)
    np.random.seed(5)
    assert first.step(8, 4, 1.0) == again.step(8, 4, 1.0)


@pytest.mark.parametrize(("player", "other"), [("generator", "discriminator"), ("discriminator", "generator")])
def test_a_player_whose_loss_is_not_finite_skips_its_step_and_the_other_goes_on(
    shapes: Path, monkeypatch: pytest.MonkeyPatch, player: str, other: str
) -> None:
    learner = learner_of(shapes)
    true_loss = getattr(module, f"{player}_loss")
    monkeypatch.setattr(module, f"{player}_loss", lambda *logits: true_loss(*logits) * float("nan"))
    kept, moved = getattr(learner, player), getattr(learner, other)
    before = weights(kept), weights(moved)
    report = learner.step(4, 4, 1.0)
    assert is_same(before[0], kept)
    assert not is_same(before[1], moved)
    assert report["skipped"] == 1


def test_the_penalty_comes_once_in_its_interval_and_weighs_as_much_as_all_of_it(
    shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = learner_of(shapes, discriminator__gamma=3.0)
    losses: list[float] = []
    true_step = learner.judge.step
    monkeypatch.setattr(learner.judge, "step", lambda loss, rate: losses.append(loss.item()) or true_step(loss, rate))
    reports = [learner.step(seen, 4, 1.0) for seen in range(0, 32, 4)]
    assert ["squared_gradient" in report for report in reports] == [True, False, False, False] * 2
    assert losses[1] == pytest.approx(3.0 / 2 * 4 * reports[0]["squared_gradient"])


def test_without_a_weight_there_is_no_penalty(shapes: Path) -> None:
    assert "squared_gradient" not in learner_of(shapes, discriminator__gamma=0).step(0, 4, 1.0)


def test_the_mean_style_and_the_average_follow_the_players(shapes: Path) -> None:
    learner = learner_of(shapes, average_half_life_images=4, w_average_half_life_images=4)
    for seen in range(0, 120, 4):
        learner.step(seen, 4, 0.0)
    z = np.random.default_rng(0).standard_normal((512, 8), np.float32)
    ids, psi = torch.arange(512) % 2, torch.zeros(512)
    styles = learner.generator.map(torch.from_numpy(z), ids, torch.ones(512))[:, 0]
    average = learner.generator.map(torch.from_numpy(z), ids, psi)[:, 0]
    assert (average == average[0]).all()
    spread = styles.std(0)
    assert ((average[0] - styles.mean(0)).abs() < spread).all()
    for name, value in learner.average.module.named_parameters():
        torch.testing.assert_close(value, learner.generator.get_parameter(name))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_styles_mix_in_the_share_of_images_that_is_asked_for(shapes: Path, share: float) -> None:
    learner = learner_of(shapes, style_mixing=share)
    is_second = learner._is_second(np.random.default_rng(0), 400).numpy()
    assert not is_second[:, 0].any(), "the first layer keeps the first style"
    assert (np.diff(is_second.astype(int), axis=1) >= 0).all(), "from some layer on"
    firsts = is_second.shape[1] - is_second.sum(1)
    assert set(firsts) == (set(range(1, is_second.shape[1])) if share else {is_second.shape[1]})


def test_an_unconditional_gan_needs_no_labels(shapes: Path) -> None:
    learner = learner_of(shapes, conditional=False)
    report = learner.step(0, 4, 1.0)
    assert np.isfinite(list(report.values())).all()
    assert learner.generator.num_classes == 0


def test_a_loaded_state_goes_on_as_the_one_it_was_saved_from(shapes: Path) -> None:
    first, other = learner_of(shapes), learner_of(shapes)
    first.step(0, 4, 1.0)
    other.load(copy.deepcopy(first.state()))
    assert first.step(4, 4, 1.0) == other.step(4, 4, 1.0)
