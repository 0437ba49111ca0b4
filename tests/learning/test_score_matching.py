"""Score matching against the closed form of a Gaussian, for which score, least loss and posterior are known."""

import math

import pytest
import torch

from learning.score_matching import (
    diffused,
    guessed_noise,
    kl_to_standard_normal,
    normal,
    score_loss,
)
from learning.score_net import ScoreNet
from learning.sde import VarianceExploding, VariancePreserving

SDES = {"ve": VarianceExploding(), "vp": VariancePreserving()}
DATA_STD = 0.8


def draws(n, size=4):
    seeds = torch.arange(n)
    return DATA_STD * normal(seeds, 1, (size,)), normal(seeds, 2, (size,)), torch.rand(n, dtype=torch.float64)


def nothing(images, times, codes):
    return torch.zeros_like(images)


def at(sde, time):
    return [float(factor) for factor in sde.kernel(torch.tensor([time], dtype=torch.float64))]


@pytest.mark.parametrize("name", SDES)
@pytest.mark.parametrize("time", [0.05, 0.4, 0.8])
def test_an_untrained_net_is_the_exact_score_of_a_gaussian(name, time):
    sde = SDES[name]
    clean, noise, _ = draws(64)
    times = torch.full((64,), time, dtype=torch.float64)
    noisy = diffused(clean, noise, times, sde)
    guessed = guessed_noise(nothing, noisy, times, torch.zeros(64, 1), sde, DATA_STD)
    mean, std = at(sde, time)
    score = -noisy / ((mean * DATA_STD) ** 2 + std**2)  # ∇log N(0, mean² s² + std²)
    assert torch.allclose(-guessed / std, score, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SDES)
@pytest.mark.parametrize("time", [0.1, 0.5])
def test_the_least_loss_without_a_code_is_the_closed_forms(name, time):
    """E λ/2 |∇log p(x_t|x_0) - ∇log p_t|², λ = std²: half of mean² s² / (mean² s² + std²) a dimension."""
    sde, n = SDES[name], 40_000
    clean, noise, _ = draws(n)
    times = torch.full((n,), time, dtype=torch.float64)
    noisy = diffused(clean, noise, times, sde)
    losses = score_loss(guessed_noise(nothing, noisy, times, torch.zeros(n, 1), sde, DATA_STD), noise)
    mean, std = at(sde, time)
    signal = (mean * DATA_STD) ** 2
    assert losses.mean().item() == pytest.approx(4 / 2 * signal / (signal + std**2), rel=0.02)


def test_a_code_that_is_the_image_leaves_no_loss():
    sde, (clean, noise, times) = SDES["ve"], draws(200)
    times = 0.02 + 0.9 * times
    noisy = diffused(clean, noise, times, sde)

    def net(seen, times, codes):  # what solves x_t = x_0 + std ε for ε, given x_0
        std = sde.kernel(times)[1][:, None]
        total = (DATA_STD**2 + std**2).sqrt()
        return (((seen * total - codes) / std) - std / total * seen) * total / DATA_STD

    assert score_loss(guessed_noise(net, noisy, times, clean, sde, DATA_STD), noise).max() < 1e-12


def test_minimising_the_loss_finds_the_score_of_a_gaussian_that_was_not_told():
    """Data N(1, 0.5²) in one dimension, the scaling told 0.8 and mean 0: the minimiser must make up for both."""
    sde, time, n = SDES["vp"], 0.3, 4096
    seeds = torch.arange(n)
    clean, noise = 1 + 0.5 * normal(seeds, 1, (1,)), normal(seeds, 2, (1,))
    times = torch.full((n,), time, dtype=torch.float64)
    noisy = diffused(clean, noise, times, sde)
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, tolerance_grad=1e-12, tolerance_change=0)

    def net(seen, times, codes):
        return weights[0] * seen + weights[1]

    def loss():
        optimizer.zero_grad()
        value = score_loss(guessed_noise(net, noisy, times, codes=clean, sde=sde, data_std=DATA_STD), noise).mean()
        value.backward()
        return value

    optimizer.step(loss)
    mean, std = at(sde, time)
    x = torch.linspace(-1, 2, 7, dtype=torch.float64)[:, None]
    guessed = guessed_noise(net, x, times[:7], x, sde, DATA_STD).detach()
    exact = -(x - mean) / (mean**2 * 0.25 + std**2)
    assert torch.allclose(-guessed / std, exact, atol=0.08)


def test_each_sample_draws_its_own_normal_numbers():
    drawn = normal(torch.arange(2000), 7, (5, 4))
    assert drawn.mean().abs() < 0.01
    assert drawn.std().item() == pytest.approx(1, abs=0.01)
    assert (drawn.abs() > 3).double().mean().item() == pytest.approx(0.0027, abs=5e-4)
    assert torch.equal(normal(torch.tensor([17, 3]), 7, (5, 4)), drawn[[17, 3]])
    assert not torch.equal(normal(torch.arange(4), 8, (5, 4)), drawn[:4])


def test_the_divergence_is_that_of_torchs_distributions():
    mean, log_variance = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = torch.distributions.kl_divergence(posterior, prior).sum(dim=1)
    assert torch.allclose(kl_to_standard_normal(mean, log_variance), expected)


@pytest.mark.parametrize(("multipliers", "blocks"), [((1,), 1), ((1, 2), 2), ((1, 2, 2), 1)])
def test_the_net_keeps_shapes_reads_time_and_code_and_begins_at_zero(multipliers, blocks):
    torch.manual_seed(0)
    net = ScoreNet(5, width=8, multipliers=multipliers, blocks=blocks).double()
    images, times = torch.randn(3, 3, 16, 16).double(), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    codes = torch.randn(3, 5).double()
    assert torch.equal(net(images, times, codes), torch.zeros_like(images))
    torch.nn.init.normal_(net.leave[2].weight)
    plain = net(images, times, codes)
    assert plain.shape == images.shape
    assert not torch.allclose(net(images, times.flip(0), codes), plain)
    assert not torch.allclose(net(images, times, codes.flip(0)), plain)
    plain.square().sum().backward()
    assert all(parameter.grad is not None and math.isfinite(parameter.grad.sum()) for parameter in net.parameters())
