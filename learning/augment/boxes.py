"""Random crop boxes: area and aspect drawn ten times, the first that fits is taken (Inception's crop)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TRIES = 10


def random_boxes(
    draws: Tensor, height: int, width: int, area: tuple[float, float], aspect: tuple[float, float]
) -> Tensor:
    """Return boxes (top, left, height, width) from uniform draws float64 [B, 22], int64 [B, 4].

    A box's area is uniform in `area` times the image's, its log aspect uniform in log `aspect`; where none of ten fits,
    the middle of the image with the nearest possible aspect is taken.
    """
    pixels = height * width * (area[0] + (area[1] - area[0]) * draws[:, :_TRIES])
    low, high = math.log(aspect[0]), math.log(aspect[1])
    ratio = (low + (high - low) * draws[:, _TRIES : 2 * _TRIES]).exp()
    heights, widths = (pixels / ratio).sqrt().round().long(), (pixels * ratio).sqrt().round().long()  # [B, tries]
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    first = fits.int().argmax(dim=1, keepdim=True)
    found = fits.any(dim=1)
    fallback_height, fallback_width = _middle(height, width, aspect)
    box_height = torch.where(found, heights.gather(1, first)[:, 0], fallback_height)
    box_width = torch.where(found, widths.gather(1, first)[:, 0], fallback_width)
    random_top = (draws[:, -2] * (height - box_height + 1)).long()
    random_left = (draws[:, -1] * (width - box_width + 1)).long()
    top = torch.where(found, random_top, (height - fallback_height) // 2)
    left = torch.where(found, random_left, (width - fallback_width) // 2)
    return torch.stack([top, left, box_height, box_width], dim=1)


def _middle(height: int, width: int, aspect: tuple[float, float]) -> tuple[int, int]:
    if width < height * aspect[0]:
        return min(height, round(width / aspect[0])), width
    if width > height * aspect[1]:
        return height, min(width, round(height * aspect[1]))
    return height, width
