"""A small latent space to draw views in, and references that import nothing of what they check."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from factory.views import AnyStrategy, Draw, LatentSpace, Place, Strategy, Subject
from manifests import seeds

DIM, W_DIM, LAYERS = 32, 24, 6
SEED = 11


def space(**changes: Any) -> LatentSpace:
    return LatentSpace(**{"z_dim": DIM, "w_dim": W_DIM, "num_layers": LAYERS, **changes})


def strategy(name: str, **settings: Any) -> Strategy:
    found: Strategy = TypeAdapter(AnyStrategy).validate_python({"name": name, **settings})
    return found


def draws(of: Strategy, places: Iterable[Place], within: LatentSpace | None, learned: Any = None) -> list[Draw]:
    drawer = of.open(within, learned)
    return [drawer(place, Subject("a fox")) for place in places]


def latents(of: Strategy, places: Iterable[Place], within: LatentSpace, learned: Any = None) -> np.ndarray:
    """Return the z of views, float64 [n, z_dim]."""
    return np.array([one.latent for one in draws(of, places, within, learned)])


def views_of(groups: int, view: int = 1, attempt: int = 0) -> list[Place]:
    return [Place(SEED, group, view, attempt) for group in range(groups)]


def quantile(level: float, bound: float) -> float:
    """Find by bisection where N(0, 1) cut at ±bound reaches a level."""

    def below(x: float) -> float:
        whole = math.erf(bound / math.sqrt(2))
        return 0.5 * (math.erf(x / math.sqrt(2)) + whole) / whole

    low, high = -bound, bound
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < level else (low, middle)
    return (low + high) / 2


def truncated(seed: int, purpose: str, size: int, bound: float | None) -> np.ndarray:
    """Draw a truncated normal vector as docs/views.md says."""
    if bound is None:
        return seeds.normal(seed, purpose, size).astype(np.float64)
    return np.array([quantile(level, bound) for level in seeds.uniform(seed, purpose, size)])


def truncated_std(bound: float) -> float:
    """Return the standard deviation of N(0, 1) cut at ±bound: 1 - 2bφ(b)/(2Φ(b) - 1) is the variance."""
    density = math.exp(-bound * bound / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * bound * density / math.erf(bound / math.sqrt(2)))
