"""A navigator and an encoder, each against the other: how far apart can two views of one thing be at a given distance?

min over T, max over f of I_NCE(f(G(z)); f(G(z + σ√D·T(z, n)/‖T(z, n)‖))), COP-Gen (Li et al., NeurIPS 2022), eq. 6,
with a step of fixed length and a noise n for each view. All views of a group are positives of each other, so in half of
the pairs the first image is a view too: else T sends all views of an anchor one way, and they are one image.
Pixels are augmented as for training an encoder.
Invariant: all that is random is a function of (seed, images_seen).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from factory.gan.learner import Player
from factory.walks.config import NavigatorConfig
from factory.walks.frozen import Frozen, Latents
from learning.augment import augment_differentiably, preset
from learning.information import info_nce
from learning.pair_encoder import PairEncoder
from manifests import seeds

Way = Callable[[Tensor, Tensor], Tensor]  # z and noise, in units of τ -> a step


class Navigator(nn.Module):
    """An MLP from z and a noise to a direction; the step along it has always the same length."""

    def __init__(self, z_dim: int, hidden: int, layers: int, sigma: float) -> None:
        super().__init__()
        widths = [2 * z_dim, *[hidden] * (layers - 1), z_dim]
        parts = [part for shape in pairwise(widths) for part in (nn.Linear(*shape), nn.ReLU())]
        self.network = nn.Sequential(*parts[:-1])
        self.sigma = sigma

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        return scaled(self.network(torch.cat([z, noise], dim=1)), self.sigma)


def gaussian_way(sigma: float) -> Way:
    """Return the way that a Gaussian goes, at exactly the navigator's distance."""
    return lambda z, noise: scaled(noise, sigma)


def scaled(way: Tensor, sigma: float) -> Tensor:
    """Give every row the length σ√D. Shapes: [n, D]."""
    length = way.norm(dim=1, keepdim=True).clamp(min=1e-12)
    step: Tensor = way * (sigma * math.sqrt(way.shape[1]) / length)
    return step


class MinMax:
    """Both players; a learner of learning.loop, whose rate is a share of each player's own."""

    def __init__(self, frozen: Frozen, config: NavigatorConfig) -> None:
        self.frozen, self.config = frozen, config
        torch.manual_seed(config.seed)
        z_dim, device = frozen.network.z_dim, frozen.device
        self.navigator = Navigator(z_dim, config.hidden, config.layers, config.sigma).to(device)
        self.encoder = PairEncoder(config.encoder_width).to(device)
        self.guide = Player(self.navigator, _adam(self.navigator, config.navigator_rate))
        self.judge = Player(self.encoder, _adam(self.encoder, config.learning_rate))

    def step(self, images_seen: int, batch_images: int, rate: float) -> dict[str, float]:
        """Let the encoder learn to find partners, then the navigator to hide them from it."""
        latents = self.frozen.latents(self.config.seed, "navigator", images_seen, batch_images)
        steps = pair_steps(self.navigator, latents, self.config.seed, images_seen)
        first, second = self._views(latents, steps, images_seen)
        loss = self._loss(first.detach(), second.detach())
        report = {"loss": loss.item(), "gradient_encoder": self.judge.step(loss, rate)}
        hidden = -self._loss(first, second)
        report |= {"gradient_navigator": self.guide.step(hidden, rate)}
        return {**report, "i_nce_nats": math.log(batch_images) - report["loss"]}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"navigator": self.guide.state(), "encoder": self.judge.state()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint."""
        self.guide.load(state["navigator"])
        self.judge.load(state["encoder"])

    def _loss(self, first: Tensor, second: Tensor) -> Tensor:
        return info_nce(self.encoder(first), self.encoder(second), self.config.temperature)

    def _views(self, latents: Latents, steps: tuple[Tensor, Tensor], images_seen: int) -> tuple[Tensor, Tensor]:
        """Draw both images of each pair and augment them."""
        recipe, size_px = preset(self.config.augmentation), self.config.crop_px

        def augmented(images: Tensor, view: int) -> Tensor:
            own = pixel_seeds(self.config.seed, f"navigator/{images_seen}/{view}", len(images))
            shares = images.clamp(-1, 1) * 0.5 + 0.5
            return augment_differentiably(shares, own.to(images.device), recipe, size_px)

        first, second = (augmented(self.frozen.images(latents, step), view) for view, step in enumerate(steps))
        return first, second


def pair_steps(way: Way, latents: Latents, seed: int, number: int) -> tuple[Tensor, Tensor]:
    """Return the steps to both images of each pair: every other pair's first image is the anchor, a step of 0."""
    first, second = (way(latents.z, step_noise(latents, seed, number, view)) for view in range(2))
    is_view = torch.arange(len(first), device=first.device) % 2
    return first * is_view[:, None], second


def step_noise(latents: Latents, seed: int, number: int, view: int = 1) -> Tensor:
    """Draw the noise that a batch of views goes by. Shapes: as z."""
    drawn = seeds.normal(seeds.derive(seed, f"step/{number}/{view}"), "step", tuple(latents.z.shape))
    return torch.from_numpy(drawn).to(latents.z.device)


def likeness(way: Way, latents: Latents, seed: int) -> float:
    """Return the mean cosine of two views' steps from one anchor: 1 where the noise of a view changes nothing."""
    first, second = (way(latents.z, step_noise(latents, seed, number)) for number in range(2))
    return float(torch.cosine_similarity(first, second).mean())


def pixel_seeds(seed: int, purpose: str, count: int) -> Tensor:
    """Return a seed for each image's augmentation, int64 [count]."""
    return torch.from_numpy(seeds.raw_words(seed, f"pixels/{purpose}", count).view(np.int64).copy())


def _adam(net: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), lr=rate, betas=(0.5, 0.999), fused=True)
