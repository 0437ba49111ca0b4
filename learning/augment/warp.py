"""Rotation, shear and translation of whole images, each image its own, bilinear, in elementwise steps only.

What comes from outside the image is filled; within it the border's pixels reach half a pixel out: as in PIL, whose
convention the six coefficients follow too. An output pixel at (x, y) reads from (a x + b y + c, d x + e y + f), with
centres of pixels at halves.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
    """Shift a row by `across` for each pixel it lies below the top, a column by `down`. Shapes: float64 [B] -> [B, 6]."""
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
    left, right, to_right = _neighbours(across, width)
    above, below, to_below = _neighbours(down, height)
    upper = _blend(_pick(images, above, left), _pick(images, above, right), to_right)
    lower = _blend(_pick(images, below, left), _pick(images, below, right), to_right)
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    return torch.where(inside[:, None], _blend(upper, lower, to_below), images.new_tensor(fill)[:, None, None])


def _neighbours(positions: Tensor, size_px: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the two nearest pixels, and the second one's weight."""
    low = (positions - 0.5).floor()
    share = (positions - 0.5 - low).float()
    indices = low.long()
    return indices.clamp(0, size_px - 1), (indices + 1).clamp(0, size_px - 1), share[:, None]


def _pick(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    batch, channels, _, width = images.shape
    places = (rows * width + columns).flatten(1)[:, None].expand(batch, channels, -1)
    return images.flatten(2).gather(2, places).view_as(images)


def _blend(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    return first * (1 - share) + second * share
