"""Brightness, contrast, saturation, hue and grayscale of float images in [0, 1], each image its own factor.

All work in place on [B, 3, H, W] and in elementwise steps, so that a sample's bits do not depend on its batch.
The formulas are torchvision's (ITU-R 601 luma, HSV hexcone, a clamp after each blend).
"""

from __future__ import annotations

import torch
from torch import Tensor

_LUMA = (0.2989, 0.587, 0.114)


def luma(images: Tensor) -> Tensor:
    """Return the grey image. Shapes: [B, 3, H, W] -> [B, 1, H, W]."""
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    return (red * _LUMA[0]).add_(green * _LUMA[1]).add_(blue * _LUMA[2])


def adjust_brightness_(images: Tensor, factors: Tensor) -> Tensor:
    """Scale by the factor. Shapes: factors [B]."""
    return images.mul_(_per_image(factors)).clamp_(0, 1)


def adjust_contrast_(images: Tensor, factors: Tensor) -> Tensor:
    """Blend with the mean grey: factor 0 is flat, 1 the image. Shapes: factors [B]."""
    mean = _mean_in_order(luma(images).flatten(1))
    return images.mul_(_per_image(factors)).add_(_per_image((1 - factors) * mean)).clamp_(0, 1)


def adjust_saturation_(images: Tensor, factors: Tensor) -> Tensor:
    """Blend with the grey image: factor 0 is grey, 1 the image. Shapes: factors [B]."""
    grey = luma(images).mul_(_per_image(1 - factors))
    return images.mul_(_per_image(factors)).add_(grey).clamp_(0, 1)


def grayscale_(images: Tensor) -> Tensor:
    """Replace the channels by the grey image."""
    return images.copy_(luma(images).expand_as(images))


def shift_hue_(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue, value and saturation kept. Shapes: turns [B].

    With the hue in sixths of a turn and k = (n + hue) mod 6, the channels n = 5, 3, 1 are
    value - chroma * clamp(min(k, 4 - k), 0, 1).
    """
    source = images.clone() if images.requires_grad else images  # a gradient needs what is written over here
    red, green, blue = source[:, 0:1], source[:, 1:2], source[:, 2:3]
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    scale = chroma.clamp(min=torch.finfo(images.dtype).tiny).reciprocal_()  # grey has no hue, and no chroma to show it
    is_red, is_green = value == red, value == green
    hue = torch.where(is_green, (blue - red).mul_(scale).add_(2), (red - green).mul_(scale).add_(4))
    hue = torch.where(is_red, (green - blue).mul_(scale), hue)  # -1 .. 5
    hue.add_(_per_image(turns * 6))
    for channel, n in enumerate((5.0, 3.0, 1.0)):
        k = hue + n
        k -= (k / 6).floor_().mul_(6)
        k = torch.minimum(k, 4 - k).clamp_(0, 1)
        images[:, channel : channel + 1] = value - k.mul_(chroma)
    return images


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _mean_in_order(rows: Tensor) -> Tensor:
    """Mean of each row by halving: torch's own sum may cut a row differently when it stands alone."""
    count = rows.shape[1]
    while rows.shape[1] > 1:
        half = rows.shape[1] // 2
        odd = rows[:, 2 * half :]
        rows = rows[:, :half] + rows[:, half : 2 * half]
        rows[:, : odd.shape[1]] += odd
    return rows[:, 0] / count
