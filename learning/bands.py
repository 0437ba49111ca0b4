"""Splits images into views that share a thing: a colour space's channels, or coarse and fine structure."""

from __future__ import annotations

import torch
from torch import Tensor

from learning.augment.blur import gaussian_blur


def channel_views(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first channel and the others. Shapes: [n, 3, H, W] -> [n, 1, H, W], [n, 2, H, W]."""
    return images[:, :1], images[:, 1:]


def frequency_views(images: Tensor, sigma_px: float) -> tuple[Tensor, Tensor]:
    """Return the images blurred, and what the blur took away; their sum is the images. Shapes: [n, C, H, W] each."""
    sigmas = torch.full((len(images),), sigma_px, dtype=torch.float64, device=images.device)
    low = gaussian_blur(images, sigmas, sigma_px)
    return low, images - low
