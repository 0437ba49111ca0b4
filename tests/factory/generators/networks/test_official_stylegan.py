"""Our StyleGANs draw what the official code draws: its pixels, for networks made of integers, are on file."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from factory.gan.discriminator import Discriminator
from factory.generators.networks import build
from factory.generators.networks.stylegan3 import transform_matrix
from tests.factory.generators.networks import seeded

GOLDEN = Path(__file__).parents[3] / "golden" / "official_stylegan.json"
OFFICIAL: dict[str, list[float]] = json.loads(GOLDEN.read_text())
TOLERANCE = 1e-3  # of pixels in [-1, 1] and beyond
CASES = [
    (name, asked)
    for name, (family, _) in seeded.GENERATORS.items()
    for asked in seeded.ASKED
    if family == "stylegan3" or asked != "moved"
]


@pytest.mark.parametrize(("name", "asked"), CASES)
def test_generators_draw_the_official_pixels(name: str, asked: str) -> None:
    images = drawn(name, **seeded.ASKED[asked])
    official = torch.tensor(OFFICIAL[f"{name}/{asked}"]).reshape(seeded.ROWS, 3, 4, 4)
    assert official.std() > 0.05
    torch.testing.assert_close(seeded.thinned(images), official, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def drawn(name: str, *, psi: float, cutoff: int | None, noise: str, **move: float) -> torch.Tensor:
    network = built(name)
    classes = seeded.classes(name, network.num_classes) if network.num_classes else None
    psis = torch.full((seeded.ROWS,), psi)
    given = {
        "const": network.constant_noise(),
        "given": seeded.noise(name, network.noise_shapes),
        "none": None,
    }[noise]
    extra = {"transforms": transform_matrix(**move)} if move else {}
    return network.synthesize(network.map(seeded.latents(name), classes, psis, cutoff), classes, psis, given, **extra)


@cache
@torch.no_grad()
def built(name: str) -> Any:
    family, arguments = seeded.GENERATORS[name]
    network: Any = build(family, arguments)
    seeded.fill(network, name)
    return network


@pytest.mark.parametrize("name", seeded.DISCRIMINATORS)
@torch.no_grad()
def test_discriminators_give_the_official_logits(name: str) -> None:
    network = Discriminator(**seeded.DISCRIMINATORS[name]).eval()
    seeded.fill(network, name)
    logits = network(seeded.pictures(name, network.resolution), seeded.classes(name, network.num_classes, 8))
    torch.testing.assert_close(logits, torch.tensor(OFFICIAL[name]), atol=1e-5, rtol=0)
