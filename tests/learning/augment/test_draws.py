"""The vectorised generator is SplitMix64 word for word, and its numbers look random."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from learning.augment.draws import uniform

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def splitmix64(state: int) -> int:
    """The published generator's output for a state, in Python's integers."""
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def reference(seed: int, purpose: int, count: int) -> list[float]:
    key = splitmix64((seed + purpose * GOLDEN) & MASK)
    return [(splitmix64((key + i * GOLDEN) & MASK) >> 11) / 2**53 for i in range(1, count + 1)]


def test_the_reference_is_the_published_generator() -> None:
    """Vigna's splitmix64.c from state 0 starts with this word."""
    assert splitmix64(GOLDEN) == 0xE220A8397B1DCDAF


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 1000))
def test_words_equal_the_integer_reference(seed: int, purpose: int) -> None:
    assert uniform(torch.tensor([seed]), purpose, 3)[0].tolist() == reference(seed, purpose, 3)


def test_a_row_depends_on_its_own_seed_only() -> None:
    seeds = torch.tensor([5, -9, 2**62, 5])
    together = uniform(seeds, 3, 7)
    assert all(torch.equal(uniform(seeds[i : i + 1], 3, 7)[0], together[i]) for i in range(4))
    assert torch.equal(together[0], together[3])


def test_a_longer_draw_begins_with_the_shorter() -> None:
    seeds = torch.arange(4)
    assert torch.equal(uniform(seeds, 1, 9)[:, :4], uniform(seeds, 1, 4))


def test_consecutive_seeds_and_purposes_are_uniform_and_uncorrelated() -> None:
    draws = np.concatenate([uniform(torch.arange(4096), purpose, 4).numpy() for purpose in range(4)], axis=1)
    counts, _ = np.histogram(draws, bins=64, range=(0, 1))
    expected = draws.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 120  # chi-square, 63 degrees: p < 2e-5
    correlation = np.corrcoef(np.concatenate([draws[:-1], draws[1:]], axis=1), rowvar=False)
    assert np.abs(correlation - np.eye(32)).max() < 5 / 64  # five standard errors
