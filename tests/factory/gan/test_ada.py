"""Adaptive augmentation: nothing at p = 0, right maps at p = 1, and p that follows the judge."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from factory.gan.ada import DRAWS, AdaConfig, adapted, augment, colour, draw, geometry
from factory.gan.bank import open_model
from factory.gan.config import CriticConfig
from factory.gan.player import Critic

CPU = torch.device("cpu")


def draws_of(seed: int, images: int) -> torch.Tensor:
    return draw(np.random.default_rng(seed), images, CPU)


def images_of(seed: int, images: int, side_px: int = 16) -> torch.Tensor:
    return torch.from_numpy(
        np.random.default_rng(seed).uniform(-1, 1, (images, 3, side_px, side_px)).astype(np.float32)
    )


def only(column: int, value: float, others: dict[int, float] | None = None) -> torch.Tensor:
    """Draw so that one change alone comes: gates are above p = 0.5, but for its own."""
    draws = torch.full((1, DRAWS), 0.99)
    draws[:, column] = 0.01
    for place, chosen in {**(others or {}), column + 1: value}.items():
        draws[:, place] = chosen
    return draws


def test_at_zero_nothing_changes() -> None:
    images = images_of(0, 5)
    torch.testing.assert_close(augment(images, draws_of(1, 5), 0.0), images, atol=1e-5, rtol=0)


def test_a_share_p_of_images_is_mirrored_half_of_the_time() -> None:
    draws = draws_of(2, 4000)
    draws[:, 2:] = 0.999  # no other gate opens below
    moves = geometry(draws, 0.6, 16)
    assert (moves[:, 0, 0] < 0).float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_a_mirrored_image_is_exactly_that() -> None:
    images = images_of(3, 1)
    torch.testing.assert_close(augment(images, only(0, 0.2), 0.5), images.flip(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_quarter_turns_are_exact(quarter: int) -> None:
    images = images_of(4, 1)
    found = augment(images, only(2, (quarter + 0.5) / 4), 0.5)
    assert any(torch.allclose(found, torch.rot90(images, turn, (2, 3)), atol=1e-5) for turn in (quarter, 4 - quarter))


def test_whole_shifts_move_pixels_and_mirror_what_comes_in() -> None:
    images = images_of(5, 1)
    found = augment(images, only(4, 1 - 1e-6, {6: 0.5}), 0.5)  # 2 px of 16, and not up or down
    torch.testing.assert_close(found[..., :14], images[..., 2:], atol=1e-4, rtol=0)
    torch.testing.assert_close(found[..., 14:], images[..., [15, 14]], atol=1e-4, rtol=0)


def test_turns_and_stretches_have_the_determinant_of_their_scales() -> None:
    draws = draws_of(6, 500)
    determinants = torch.linalg.det(geometry(draws, 1.0, 16)[:, :2, :2]).abs()
    scales = torch.exp2(math.sqrt(2) * torch.erfinv(2 * draws[:, 8] - 1) * 0.2)
    torch.testing.assert_close(determinants, scales.square(), atol=1e-3, rtol=1e-3)


def test_grey_stays_grey_under_hue_and_saturation() -> None:
    matrix, offset = colour(draws_of(7, 200), 1.0)
    grey = matrix @ torch.ones(3, 1) + offset[:, :, None]
    assert (grey.std(1) < 1e-4 * grey.abs().amax(1).clamp(min=1)).all()


def test_colours_are_left_alone_where_no_gate_opens() -> None:
    draws = torch.full((2, DRAWS), 0.99)
    matrix, offset = colour(draws, 0.5)
    torch.testing.assert_close(matrix, torch.eye(3).expand(2, 3, 3))
    assert (offset == 0).all()


def test_an_image_changes_by_its_own_draws_alone_and_passes_its_gradient_on() -> None:
    images, draws = images_of(8, 4).requires_grad_(), draws_of(9, 4)
    together = augment(images, draws, 0.7)
    alone = torch.cat([augment(images[row : row + 1], draws[row : row + 1], 0.7) for row in range(4)])
    torch.testing.assert_close(together, alone)
    (gradient,) = torch.autograd.grad(together.square().sum(), images)
    assert gradient.abs().sum() > 0
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.3, 1.0])
def test_it_is_finite_at_every_p(p: float) -> None:
    assert torch.isfinite(augment(images_of(10, 64), draws_of(11, 64), p)).all()


def test_p_follows_how_sure_the_judge_is() -> None:
    config = AdaConfig(target=0.6, rise_images=1000)
    assert adapted(0.2, 0.9, 100, config) == pytest.approx(0.3)
    assert adapted(0.2, 0.1, 100, config) == pytest.approx(0.1)
    assert adapted(0.05, 0.1, 100, config) == 0
    assert adapted(0.95, 0.9, 100, config) == 1


def test_a_critic_goes_by_its_deepest_place_not_by_the_many_votes_of_a_map() -> None:
    class Sure(Critic):
        """A critic that is sure of every real image at its last place, and of nothing on its map."""

        def judged(self, images: Tensor, class_ids: Tensor | None) -> list[Tensor]:
            asked = self.net.out.plain.bias.sum() * 0
            undecided = torch.tensor([1.0, -1.0]).repeat(len(images), 8)
            return [asked + undecided, asked + images.mean((1, 2, 3))[:, None].sign() * 9]

    config = CriticConfig(model="random@32", head="pooled", width=4, ada=AdaConfig(target=0.3, rise_images=100))
    critic = Sure(config, open_model("random@32"), 0, (0.0, 0.99), is_mixed=False)
    real, fake = torch.ones(8, 3, 8, 8), -torch.ones(8, 3, 8, 8)
    report = critic.learn(real, None, fake, None, 1.0, images=8)
    assert report["accuracy"] == 1
    assert report["p"] == pytest.approx(0.08)
