"""The losses against float64 formulas and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from factory.gan.losses import discriminator_loss, generator_loss, lazy_adam, squared_gradient

LOGITS = st.lists(st.floats(-60, 60), min_size=1, max_size=9)


def negative_log_chance(logits: list[float]) -> float:
    return float(np.mean([np.logaddexp(0.0, -value) for value in logits]))


@given(LOGITS, LOGITS)
def test_the_judge_loses_by_the_chance_it_gives_to_what_is_wrong(real: list[float], fake: list[float]) -> None:
    found = discriminator_loss([torch.tensor(real, dtype=torch.float64)], [torch.tensor(fake, dtype=torch.float64)])
    assert found.item() == pytest.approx(
        negative_log_chance(real) + negative_log_chance([-value for value in fake]), rel=1e-6, abs=1e-9
    )


@given(LOGITS)
def test_the_drawer_loses_by_the_chance_of_not_being_taken_for_real(fake: list[float]) -> None:
    assert generator_loss([torch.tensor(fake, dtype=torch.float64)]).item() == pytest.approx(
        negative_log_chance(fake), rel=1e-6, abs=1e-9
    )


@given(LOGITS, LOGITS, st.floats(0, 0.4))
def test_smoothing_is_the_cross_entropy_to_a_lower_target_of_real_images_alone(
    real: list[float], fake: list[float], smoothing: float
) -> None:
    found = discriminator_loss(
        [torch.tensor(real, dtype=torch.float64)], [torch.tensor(fake, dtype=torch.float64)], "logistic", smoothing
    )
    opposite = negative_log_chance([-value for value in real])
    on_real = (1 - smoothing) * negative_log_chance(real) + smoothing * opposite
    expected = on_real + negative_log_chance([-value for value in fake])
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(LOGITS, LOGITS, st.floats(0, 0.4))
def test_the_hinge_asks_for_a_margin(real: list[float], fake: list[float], smoothing: float) -> None:
    tensors = [torch.tensor(real, dtype=torch.float64)], [torch.tensor(fake, dtype=torch.float64)]
    expected = np.maximum(0, 1 - smoothing - np.array(real)).mean() + np.maximum(0, 1 + np.array(fake)).mean()
    assert discriminator_loss(*tensors, "hinge", smoothing).item() == pytest.approx(expected, abs=1e-9)
    assert generator_loss(tensors[1], "hinge").item() == pytest.approx(-np.mean(fake), abs=1e-9)


def test_places_of_judgement_are_added_whatever_their_number_of_logits() -> None:
    one, many = torch.randn(4, 1).double(), torch.randn(4, 9).double()
    both = discriminator_loss([one, many], [many, one])
    apart = discriminator_loss([one], [many]) + discriminator_loss([many], [one])
    assert both.item() == pytest.approx(apart.item())
    assert generator_loss([one, many]).item() == pytest.approx((generator_loss([one]) + generator_loss([many])).item())


def test_a_drawer_that_fools_nobody_still_has_a_gradient() -> None:
    logits = torch.tensor([-30.0], requires_grad=True)
    generator_loss([logits]).backward()
    assert logits.grad is not None
    assert logits.grad.item() == pytest.approx(-1)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Conv2d(4, 4, 3), nn.Tanh(), nn.Flatten())
    return nn.Sequential(layers, nn.Linear(4 * 4, 1), nn.Flatten(0)).double()


def numeric_gradient(net: nn.Module, image: torch.Tensor, step: float = 1e-5) -> np.ndarray:
    """Central differences of one image's logit in each of its numbers."""
    flat = image.reshape(-1)
    ahead = torch.stack([flat + step * (torch.arange(len(flat)) == i) for i in range(len(flat))])
    behind = torch.stack([flat - step * (torch.arange(len(flat)) == i) for i in range(len(flat))])
    with torch.no_grad():
        up, down = (net(moved.reshape(-1, *image.shape)) for moved in (ahead, behind))
    return ((up - down) / (2 * step)).numpy()


def test_the_squared_gradient_is_that_of_finite_differences(net: nn.Module) -> None:
    images = torch.randn(3, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    found = squared_gradient(net(images), images).detach().numpy()
    expected = [np.square(numeric_gradient(net, image)).sum() for image in images.detach()]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_penalty_moves_the_weights_as_finite_differences_of_it_would(net: nn.Module) -> None:
    images = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    weight = net.get_parameter("1.weight")
    (found,) = torch.autograd.grad(squared_gradient(net(images), images).mean(), weight)
    for column in range(0, weight.shape[1], 5):
        sides = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight[0, column] += step
            sides.append(np.mean([np.square(numeric_gradient(net, image)).sum() for image in images.detach()]))
            with torch.no_grad():
                weight[0, column] -= step
        assert found[0, column].item() == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-3)


def test_a_linear_judge_has_the_square_of_its_weights_as_squared_gradient() -> None:
    weights = torch.randn(3 * 2 * 2, dtype=torch.float64)
    images = torch.randn(5, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    found = squared_gradient(images.flatten(1) @ weights, images)
    np.testing.assert_allclose(found.detach(), np.full(5, np.square(weights.numpy()).sum()), rtol=1e-12)


def test_a_lazily_penalised_player_keeps_its_pace_over_an_interval() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    group = lazy_adam([parameter], learning_rate=0.01, betas=(0.5, 0.9), interval=16).param_groups[0]
    assert group["lr"] * 17 == pytest.approx(0.01 * 16)
    assert [beta**17 for beta in group["betas"]] == pytest.approx([0.5**16, 0.9**16])
    plain = lazy_adam([parameter], learning_rate=0.01, betas=(0.5, 0.9), interval=None).param_groups[0]
    assert (plain["lr"], plain["betas"]) == (0.01, (0.5, 0.9))


def test_a_first_step_of_adam_is_the_learning_rate_long() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = lazy_adam([parameter], learning_rate=0.25, betas=(0.0, 0.99), interval=None)
    (parameter * torch.tensor([3.0, -0.1, 20.0])).sum().backward()
    optimizer.step()
    assert parameter.tolist() == pytest.approx([-0.25, 0.25, -0.25], rel=1e-5)
