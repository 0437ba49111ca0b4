"""Tiny files of learned steps with known numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from factory.generators.facts import facts_of as known_of
from factory.generators.latent_config import LatentSource
from factory.walks.file import AlphaLaw, Kind, Learned, LearnedFacts, parse_learned, read_bytes, write_learned
from tests.factory import tiny_latent

LAWS = {"zoom": (-1.0, 1.0), "shift_x": (0.25, 0.5)}


def vectors(size: int, seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {name: draw.normal(size=size).astype(np.float32) for name in LAWS}


def write_walks(path: Path, size: int, space: str = "z") -> Path:
    """Write two directions."""
    laws = {name: AlphaLaw(low=low, high=high, unit="widths") for name, (low, high) in LAWS.items()}
    facts = facts_of("walks", space=space, laws=laws)
    write_learned(path, facts, {f"direction/{name}": one for name, one in vectors(size).items()})
    return path


def layers(z_dim: int, hidden: int = 8) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    shapes = {"layer/0/weight": (hidden, 2 * z_dim), "layer/0/bias": (hidden,)}
    shapes |= {"layer/1/weight": (z_dim, hidden), "layer/1/bias": (z_dim,)}
    return {name: (draw.normal(size=shape) / 4).astype(np.float32) for name, shape in shapes.items()}


def write_navigator(path: Path, z_dim: int, sigma: float = 0.5) -> Path:
    """Write a network of two layers."""
    write_learned(path, facts_of("navigator", sigma=sigma), layers(z_dim))
    return path


def facts_of(kind: Kind, **changes: Any) -> LearnedFacts:
    """Say that it was learned on the tiny StyleGAN2."""
    generator = known_of(LatentSource.model_validate(tiny_latent.source())).fingerprint["sha256"]
    return LearnedFacts.model_validate({"kind": kind, "generator_sha256": generator, **changes})


def read(path: Path, kind: Kind) -> Learned:
    return parse_learned(read_bytes(path, kind), kind, path.name)
