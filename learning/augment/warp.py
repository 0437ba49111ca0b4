"""Rotation, shear and translation of whole images, each image its own, bilinear.

What comes from outside the image is filled; within it the border's pixels reach half a pixel out: as in PIL, whose
convention the six coefficients follow too. An output pixel at (x, y) reads from (a x + b y + c, d x + e y + f), with
centres of pixels at halves.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def rotation(degrees: Tensor, height: int, width: int) -> Tensor:
    """Turn counter-clockwise around the middle. Shapes: float64 [B] -> [B, 6]."""
    angles = degrees.contiguous() * (math.pi / 180)
    cosine, sine = angles.cos(), angles.sin()
    x, y = width / 2, height / 2
    return torch.stack(
        [cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y],
        dim=1,
    )


def shear(across: Tensor, down: Tensor) -> Tensor:
    """Shift a row by `across` for each pixel it lies below the top, a column by `down`.

    Shapes: float64 [B] -> [B, 6].
    """
    one, zero = torch.ones_like(across), torch.zeros_like(across)
    return torch.stack([one, across, zero, down, one, zero], dim=1)


def translation(across_px: Tensor, down_px: Tensor) -> Tensor:
    """Read that far to the right and below. Shapes: float64 [B] -> [B, 6]."""
    one, zero = torch.ones_like(across_px), torch.zeros_like(across_px)
    return torch.stack([one, zero, across_px, zero, one, down_px], dim=1)


def warp(images: Tensor, coefficients: Tensor, fill: tuple[float, ...]) -> Tensor:
    """Return the images as seen through the coefficients.

    Shapes: float32 [B, C, H, W], float64 [B, 6], one fill value a channel -> [B, C, H, W].
    """
    height, width = images.shape[2:]
    a, b, c, d, e, f = coefficients[:, :, None, None].unbind(dim=1)  # [B, 1, 1]
    x = torch.arange(width, device=images.device, dtype=torch.float64) + 0.5
    y = torch.arange(height, device=images.device, dtype=torch.float64)[:, None] + 0.5
    across, down = a * x + b * y + c, d * x + e * y + f  # [B, H, W]
    sizes = images.new_tensor([width, height])
    grid = torch.stack([across, down], dim=3).float() / sizes * 2 - 1  # the image's border at -1 and 1
    seen = grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    return torch.where(inside[:, None], seen, images.new_tensor(fill)[:, None, None])
