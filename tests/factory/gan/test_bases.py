"""Every base trains: StyleGAN2 with path lengths, StyleGAN3, DCGAN; their statistics are learned and kept."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from factory.gan.learner import GanLearner
from factory.gan.losses import path_lengths
from factory.generators.networks import build
from manifests.errors import UserError
from tests.factory.gan import tiny
from tests.factory.gan.test_learner import learner_of

BASES: dict[str, dict[str, object]] = {
    "stylegan3": {
        "generator": "{family: stylegan3, resolution: 16, z_dim: 8, w_dim: 8, layers: 4, margin_size: 2,"
        " channel_base: 64, channel_max: 8}"
    },
    "dcgan": {"generator": "{family: dcgan, resolution: 16, z_dim: 8, channel_base: 64, channel_max: 8}"},
}


def base_of(data: Path, family: str, **more: object) -> GanLearner:
    kept = {name: value for name, value in tiny.SETTINGS.items() if not name.startswith("generator.")}
    changes = [f"{name.replace('__', '.')}={value}" for name, value in {**kept, **BASES[family], **more}.items()]
    from factory.gan.config import GanConfig
    from factory.gan.data import open_pictures
    from manifests import settings

    raw = settings.override({}, [change for change in changes if not change.startswith("preset")])
    config = settings.validated(GanConfig, raw, "test")
    training, _ = open_pictures(str(data), size_px=16, is_conditional=config.conditional, held_out="test")
    return GanLearner(config, training, torch.device("cpu"))


@pytest.mark.parametrize("family", BASES)
def test_a_base_learns_and_goes_on_from_a_checkpoint_as_if_nothing_had_been(shapes: Path, family: str) -> None:
    first, other = base_of(shapes, family), base_of(shapes, family)
    before = {name: value.clone() for name, value in first.generator.state_dict().items()}
    assert np.isfinite(list(first.step(0, 4, 1.0).values())).all()
    moved = [name for name, value in first.generator.state_dict().items() if not torch.equal(value, before[name])]
    assert any("weight" in name for name in moved)
    other.load(copy.deepcopy(first.state()))
    assert first.step(4, 4, 1.0) == other.step(4, 4, 1.0)


@pytest.mark.parametrize(("family", "statistic"), [("stylegan3", "magnitude_ema"), ("dcgan", "running_mean")])
def test_statistics_are_found_in_training_and_fixed_in_use(shapes: Path, family: str, statistic: str) -> None:
    learner = base_of(shapes, family)
    learner.step(0, 4, 1.0)
    buffers = {name: value.clone() for name, value in learner.generator.named_buffers() if statistic in name}
    fresh = build(family, learner.config.generator.arguments(2))
    assert any(not torch.equal(value, fresh.get_buffer(name)) for name, value in buffers.items())  # type: ignore[attr-defined]
    average = learner.average.module
    z, ids, psi = torch.randn(3, 8), torch.tensor([0, 1, 1]), torch.ones(3)
    whole = average.synthesize(average.map(z, ids, psi), ids, psi)
    one = average.synthesize(average.map(z[:1], ids[:1], psi[:1]), ids[:1], psi[:1])
    torch.testing.assert_close(whole[:1], one, atol=1e-5, rtol=0)
    for name, value in average.named_buffers():
        if statistic in name:
            assert torch.equal(value, buffers[name]), "drawing changes nothing"


def test_a_dcgan_of_the_config_has_the_resolution_asked_for() -> None:
    from factory.gan.bases import DcganConfig

    for resolution in (8, 16, 64):
        config = DcganConfig(resolution=resolution, channel_base=256, channel_max=32, z_dim=4)
        assert build("dcgan", config.arguments(3)).image_size == (resolution, resolution)


def test_a_path_is_as_long_as_finite_differences_say() -> None:
    torch.manual_seed(0)
    weight = torch.randn(2 * 5, 3 * 4 * 4, dtype=torch.float64)
    ws = torch.randn(3, 2, 5, dtype=torch.float64, requires_grad=True)
    images = torch.tanh(ws.flatten(1) @ weight).view(3, 3, 4, 4)
    directions = torch.randn(3, 3, 4, 4, dtype=torch.float64)
    found = path_lengths(images, ws, directions).detach()
    for row in range(3):
        slopes = torch.zeros(2, 5, dtype=torch.float64)
        for layer in range(2):
            for place in range(5):
                sides = []
                for step in (1e-6, -1e-6):
                    moved = ws.detach().clone()
                    moved[row, layer, place] += step
                    drawn = torch.tanh(moved.flatten(1) @ weight).view(3, 3, 4, 4)
                    sides.append((drawn[row] * directions[row]).sum() / 4)
                slopes[layer, place] = (sides[0] - sides[1]) / 2e-6
        assert found[row].item() == pytest.approx(slopes.square().sum(1).mean().sqrt().item(), rel=1e-5)


def test_paths_are_straightened_once_in_their_interval_and_their_mean_is_kept(shapes: Path) -> None:
    settings = {"path_length": "{penalty_every_images: 8, average_half_life_images: 16}"}
    first, other = learner_of(shapes, **settings), learner_of(shapes, **settings)
    reports = [first.step(seen, 4, 1.0) for seen in range(0, 16, 4)]
    assert ["path_length" in report for report in reports] == [True, False, True, False]
    assert first.mean_length.item() > 0
    other.load(copy.deepcopy(first.state()))
    assert first.step(16, 4, 1.0) == other.step(16, 4, 1.0)


def test_only_stylegan2_has_paths_to_straighten(shapes: Path) -> None:
    with pytest.raises(UserError, match="path_length=null: only StyleGAN2"):
        base_of(shapes, "dcgan", path_length="{weight: 1}")


def test_the_discriminators_own_ada_moves_and_is_kept(shapes: Path) -> None:
    settings = {"discriminator__ada": "{target: -1, rise_images: 40}", "augment": "[]"}
    first, other = learner_of(shapes, **settings), learner_of(shapes, **settings)
    assert [first.step(seen, 4, 1.0)["p"] for seen in (0, 4)] == pytest.approx([0.1, 0.2])
    other.load(copy.deepcopy(first.state()))
    assert first.step(8, 4, 1.0) == other.step(8, 4, 1.0)
