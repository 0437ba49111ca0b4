"""Kernels against numerical integration of the diffusions as their paper writes them."""

import math

import numpy as np
import pytest
import torch

from learning.sde import EARLIEST, VarianceExploding, VariancePreserving, spread_times

LOG_RATIO = math.log(50 / 0.01)


def exploding(t):
    """f(t) and g(t)² of dx = f(t) x dt + g(t) dw (arXiv:2011.13456 eq. 30)."""
    sigma = 0.01 * (50 / 0.01) ** t
    return 0.0, sigma**2 * 2 * LOG_RATIO


def preserving(t):
    """The same of eq. 32."""
    beta = 0.1 + t * (20 - 0.1)
    return -beta / 2, beta


CASES = {
    "ve": (VarianceExploding(), exploding, 0.01**2),  # sigma_min is already there at 0
    "vp": (VariancePreserving(), preserving, 0.0),
}


def moments(coefficients, variance, time, steps=4000):
    """Mean and variance of x_t for x_0 = 1 by Runge-Kutta: dm/dt = f m, dv/dt = 2 f v + g²."""

    def slope(t, state):
        f, g2 = coefficients(t)
        return np.array([f * state[0], 2 * f * state[1] + g2])

    state, h = np.array([1.0, variance]), time / steps
    for step in range(steps):
        t = step * h
        a = slope(t, state)
        b = slope(t + h / 2, state + h / 2 * a)
        c = slope(t + h / 2, state + h / 2 * b)
        d = slope(t + h, state + h * c)
        state = state + h / 6 * (a + 2 * b + 2 * c + d)
    return state


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("time", [0.003, 0.1, 0.5, 0.9, 1.0])
def test_kernels_are_what_integrating_the_diffusion_gives(name, time):
    sde, coefficients, variance = CASES[name]
    mean, std = sde.kernel(torch.tensor([time], dtype=torch.float64))
    expected_mean, expected_variance = moments(coefficients, variance, time)
    assert mean.item() == pytest.approx(expected_mean, rel=1e-8)
    assert std.item() ** 2 == pytest.approx(expected_variance, rel=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_paths_of_the_diffusion_end_with_the_kernels_moments(name):
    sde, coefficients, variance = CASES[name]
    rng, paths, steps, time = np.random.default_rng(0), 40_000, 400, 0.6
    x = 0.7 + math.sqrt(variance) * rng.standard_normal(paths)
    for step in range(steps):  # Euler-Maruyama at the middle of each step
        f, g2 = coefficients((step + 0.5) * time / steps)
        x = x + f * x * time / steps + math.sqrt(g2 * time / steps) * rng.standard_normal(paths)
    mean, std = sde.kernel(torch.tensor([time], dtype=torch.float64))
    assert x.mean() == pytest.approx(0.7 * mean.item(), abs=4 * std.item() / math.sqrt(paths) + 2e-3)
    assert x.std() == pytest.approx(std.item(), rel=0.015)


@pytest.mark.parametrize("name", CASES)
def test_the_time_of_a_std_is_the_kernels_inverse(name):
    sde = CASES[name][0]
    times = torch.tensor([EARLIEST, 1e-3, 0.05, 0.4, 0.99], dtype=torch.float64)
    assert torch.allclose(sde.time_of(sde.kernel(times)[1]), times, rtol=1e-7, atol=1e-12)


def test_times_or_stds_are_uniform():
    uniforms, sde = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000, VarianceExploding()
    times = spread_times(uniforms, sde, "time")
    assert times.min() >= EARLIEST
    assert torch.allclose(times.diff(), times.diff().mean(), rtol=1e-6)
    stds = sde.kernel(spread_times(uniforms, sde, "sigma"))[1]
    assert torch.allclose(stds.diff(), stds.diff().mean(), rtol=1e-6)
    assert stds.median().item() == pytest.approx(25, rel=0.01)  # half of the draws see almost no image
    assert sde.kernel(times)[1].median().item() == pytest.approx(math.sqrt(0.01 * 50), rel=0.01)


def test_preserved_variance_is_preserved():
    mean, std = VariancePreserving().kernel(torch.linspace(0, 1, 7, dtype=torch.float64))
    assert torch.allclose(mean.square() + std.square(), torch.ones(7, dtype=torch.float64))
