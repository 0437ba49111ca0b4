"""Denoising score matching: guess the noise in x_t, and with a code of x_0 guess it better.

A network's output is scaled so that 0 is the exact answer for Gaussian data of `data_std`; the score is
-noise / std(t), and the loss its squared error times std(t)², half summed over an image.
Sources: Vincent 2011 (denoising); arXiv:2105.14257 eq. 8 (with a code); arXiv:2206.00364 eq. 7 (the scaling).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from learning.augment.draws import uniform
from learning.sde import Sde

Network = Callable[[Tensor, Tensor, Tensor], Tensor]  # images [n, C, H, W], times [n], codes [n, D] -> [n, C, H, W]


def diffused(images: Tensor, noise: Tensor, times: Tensor, sde: Sde) -> Tensor:
    """Return x_t. Shapes: images and noise [n, …], times [n]."""
    mean, std = (_column(factor, images) for factor in sde.kernel(times))
    return mean * images + std * noise


def guessed_noise(network: Network, noisy: Tensor, times: Tensor, codes: Tensor, sde: Sde, data_std: float) -> Tensor:
    """Return the noise that a network sees in x_t: the best linear guess, and its correction. Shapes: as `noisy`."""
    mean, std = (_column(factor, noisy) for factor in sde.kernel(times))
    signal = mean * data_std
    total = (signal.square() + std.square()).sqrt()
    seen = noisy / total
    return std / total * seen + signal / total * network(seen, times.to(noisy.dtype), codes)


def score_loss(guessed: Tensor, noise: Tensor) -> Tensor:
    """Return λ/2 · |score - ∇log p(x_t | x_0)|² with λ = std², of every image. Shapes: [n, …] -> [n]."""
    return (guessed - noise).flatten(1).square().sum(dim=1) / 2


def normal(seeds: Tensor, purpose: int, shape: tuple[int, ...]) -> Tensor:
    """Draw each sample's standard normal numbers by its own seed (Box-Muller).

    Shapes: int64 [n] -> float64 [n, *shape].
    """
    count = 1
    for side in shape:
        count *= side
    draws = uniform(seeds, purpose, 2 * count)  # [n, 2 · count]
    radius = (-2 * torch.log1p(-draws[:, :count])).sqrt()
    return (radius * (2 * torch.pi * draws[:, count:]).cos()).view(len(seeds), *shape)


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) ‖ N(0, 1)) in nats. Shapes: [n, D] -> [n]."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1) / 2


def _column(values: Tensor, images: Tensor) -> Tensor:
    return values.to(images.dtype).view(-1, *[1] * (images.ndim - 1))
