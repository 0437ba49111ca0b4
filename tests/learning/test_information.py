"""Bounds on correlated Gaussians, whose mutual information is known: -d/2 · log(1 - ρ²)."""

import math

import pytest
import torch

from learning.information import batches, fit, i_nce, info_nce, is_near_ceiling, log_mean_exp_apart, nwj, smile
from learning.pair_encoder import PairEncoder

DIMENSIONS = 4


def gaussians(nats, count, seed):
    """Pairs [count, d] whose coordinates are correlated so that they share so many nats."""
    draw = torch.Generator().manual_seed(seed)
    rho = math.sqrt(1 - math.exp(-2 * nats / DIMENSIONS))
    x, noise = torch.randn(2, count, DIMENSIONS, generator=draw, dtype=torch.float64)
    return x, rho * x + math.sqrt(1 - rho**2) * noise, rho


def log_ratios(x, y, rho):
    """log p(x, y) / p(x)p(y) of every x with every y, from the densities alone."""
    variance = 1 - rho**2
    conditional = -((y[None] - rho * x[:, None]) ** 2) / (2 * variance) - 0.5 * math.log(variance)
    return (conditional + y[None] ** 2 / 2).sum(dim=2)


def mean_over_batches(bound, nats, *, batch, count, shift=0.0):
    x, y, rho = gaussians(nats, batch * count, seed=1)
    rows = batches(torch.arange(len(x)), batch)
    return sum(float(bound(log_ratios(x[of], y[of], rho) + shift)) for of in rows) / count


@pytest.mark.parametrize("nats", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", ["i_nce", "nwj", "smile"])
def test_with_the_true_density_ratio_every_bound_is_within_5_percent(name, nats):
    bound = {"i_nce": i_nce, "nwj": lambda s: nwj(s, 3.0), "smile": lambda s: smile(s, 3.0)}[name]
    found = mean_over_batches(bound, nats, batch=512, count=24, shift=3.0)
    assert found == pytest.approx(nats, rel=0.05)


def test_i_nce_stops_at_log_k_and_says_so_where_the_others_go_on():
    found = mean_over_batches(i_nce, 6.0, batch=32, count=200)
    assert found < math.log(32)
    assert is_near_ceiling(found, 32)
    assert not is_near_ceiling(mean_over_batches(i_nce, 1.0, batch=32, count=50), 32)
    beyond = mean_over_batches(lambda s: smile(s, 0.0), 6.0, batch=32, count=200)
    assert beyond > 1.2 * math.log(32)
    assert mean_over_batches(lambda s: nwj(s, 0.0), 4.0, batch=32, count=500) > math.log(32)


def test_i_nce_is_log_k_minus_the_loss():
    first, second = torch.nn.functional.normalize(torch.randn(2, 9, 5, dtype=torch.float64), dim=2)
    found = i_nce(first @ second.T / 0.2)
    assert found.item() == pytest.approx(math.log(9) - info_nce(first, second, 0.2).item(), abs=1e-12)


def test_a_baseline_takes_a_constant_away_and_a_wrong_one_only_lowers_nwj():
    scores = torch.randn(16, 16, dtype=torch.float64) + 4 * torch.eye(16, dtype=torch.float64)
    assert nwj(scores + 7, 7.0).item() == pytest.approx(nwj(scores, 0.0).item(), abs=1e-12)
    assert smile(scores + 7, 7.0).item() == pytest.approx(smile(scores, 0.0).item(), abs=1e-12)
    best = float(log_mean_exp_apart(scores))
    assert nwj(scores, best) > max(nwj(scores, best - 0.5), nwj(scores, best + 0.5))
    assert smile(scores, 0.0, clip_nats=100).item() == pytest.approx(scores.diagonal().mean().item() - best, abs=1e-12)


class Towers(torch.nn.Module):
    """A critic that must find out by itself: an MLP for each side, and a product."""

    def __init__(self):
        super().__init__()
        sides = [
            torch.nn.Sequential(torch.nn.Linear(DIMENSIONS, 64), torch.nn.SiLU(), torch.nn.Linear(64, 24))
            for _ in range(2)
        ]
        self.sides = torch.nn.ModuleList(sides)

    def forward(self, x, y):
        return self.sides[0](x), self.sides[1](y)


@pytest.mark.parametrize("nats", [1.0, 2.0])
def test_a_learned_critic_is_within_5_percent_on_pairs_it_has_not_seen(nats):
    torch.manual_seed(0)
    x, y, _ = (part.float() if torch.is_tensor(part) else part for part in gaussians(nats, 60_000, seed=2))
    critic = Towers()
    fit(
        critic,
        lambda rows, seen: info_nce(*critic(x[rows], y[rows]), 1.0),
        [torch.arange(50_000)] * 6,
        batch_images=250,
        learning_rate=1e-2,
    )
    with torch.no_grad():
        of_training, test = ([critic(x[r], y[r]) for r in batches(part, 250)] for part in split(50_000, 60_000))
        scores = [one @ two.T for one, two in test]
        baseline = float(torch.stack([log_mean_exp_apart(one @ two.T) for one, two in of_training]).mean())
    for bound in (i_nce, lambda s: nwj(s, baseline), lambda s: smile(s, baseline)):
        found = float(torch.stack([bound(one) for one in scores]).mean())
        assert found == pytest.approx(nats, rel=0.05)


def split(first, last):
    return torch.arange(first), torch.arange(first, last)


def test_a_batch_that_is_not_full_is_left_out_of_training_and_measuring():
    assert [len(rows) for rows in batches(torch.arange(10), 4)] == [4, 4]
    seen = []
    critic = torch.nn.Linear(1, 1)
    fit(
        critic,
        lambda rows, images: (seen.append(images), critic.weight.sum())[1],
        [torch.arange(10)] * 2,
        batch_images=4,
        learning_rate=1e-3,
    )
    assert seen == [4, 8, 12, 16]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_network_takes_what_a_split_leaves(channels):
    codes = PairEncoder(8, channels)(torch.rand(4, channels, 16, 16))
    assert torch.allclose(codes.norm(dim=1), torch.ones(4), atol=1e-5)
