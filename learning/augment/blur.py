"""Gaussian blur with every image's own width: two passes of shifted, weighted sums over reflected borders."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad


def gaussian_blur(images: Tensor, sigmas_px: Tensor, largest_sigma_px: float) -> Tensor:
    """Blur each image; kernels end at three times `largest_sigma_px` and sum to 1.

    Shapes: float32 [B, C, H, W], sigmas float64 [B] -> [B, C, H, W].
    """
    radius = min(math.ceil(3 * largest_sigma_px), min(images.shape[2:]) - 1)  # a reflection needs that much image
    weights = _kernel(sigmas_px, radius)
    padded = pad(images, (radius, radius, radius, radius), mode="reflect")
    return _weigh(_weigh(padded, weights, dim=2), weights, dim=3)


def _kernel(sigmas_px: Tensor, radius: int) -> Tensor:
    """Weights of distance 0 to radius, float32 [radius + 1, B, 1, 1, 1]."""
    distances = torch.arange(radius + 1, device=sigmas_px.device, dtype=torch.float64)[:, None]
    weights = (-0.5 * (distances / sigmas_px).square()).exp()  # [radius + 1, B]
    total = weights[0]
    for weight in weights[1:]:
        total = total + 2 * weight
    return (weights / total).float()[:, :, None, None, None]


def _weigh(images: Tensor, weights: Tensor, dim: int) -> Tensor:
    radius = len(weights) - 1
    size = images.shape[dim] - 2 * radius
    total = images.narrow(dim, radius, size) * weights[0]
    for distance in range(1, radius + 1):
        pair = images.narrow(dim, radius - distance, size) + images.narrow(dim, radius + distance, size)
        total += pair.mul_(weights[distance])
    return total
