"""Changes of tone, each image its own strength: what BYOL's solarize and RandAugment draw from.

On images in [0, 1], [B, C, H, W]. What is defined on 8-bit levels (posterize, equalize) rounds to them first; on such
images all agree with PIL, up to its rounding. Elementwise steps and whole numbers only.
"""

from __future__ import annotations

import torch
from torch import Tensor


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Turn what is at least as bright as the threshold into its negative. Shapes: thresholds [B]."""
    return torch.where(images >= thresholds[:, None, None, None], 1 - images, images)


def solarize_add(images: Tensor, amounts: Tensor) -> Tensor:
    """Brighten what is below level 128 by the amount. Shapes: amounts [B]."""
    brighter = (images + amounts[:, None, None, None]).clamp_(max=1)
    return torch.where(images < 128 / 255, brighter, images)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the upper bits of the levels. Shapes: bits int64 [B], 0 (black) to 8."""
    dropped = (8 - bits).to(torch.int32)[:, None, None, None]
    levels = images.mul(255).round_().to(torch.int32)
    return (levels >> dropped << dropped).to(images.dtype).div_(255)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch every channel to [0, 1]; a channel of one level stays."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    span = high - low
    return torch.where(span > 0, (images - low) / span, images)


def equalize(images: Tensor) -> Tensor:
    """Spread the levels of every channel evenly over all 256; a channel of one level stays."""
    levels = images.mul(255).round_().long().flatten(0, 1).flatten(1)  # [B·C, H·W]
    first = torch.arange(len(levels), device=images.device)[:, None] * 256
    counts = (levels + first).flatten().bincount(minlength=256 * len(levels)).view(-1, 256)
    brightest = counts.gather(1, levels.amax(dim=1, keepdim=True))
    step = (levels.shape[1] - brightest) // 255  # [B·C, 1]
    darker = counts.cumsum(dim=1) - counts
    table = ((darker + step // 2) // step.clamp(min=1)).clamp(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return table.to(images.dtype).div_(255).gather(1, levels).view_as(images)


def sharpen(images: Tensor, factors: Tensor) -> Tensor:
    """Blend with a smoothed copy: 0 is smooth, 1 the image, more is sharper; the outermost pixels stay.

    Shapes: factors [B].
    """
    inner = images[:, :, 1:-1, 1:-1]
    columns = images[:, :, :-2] + images[:, :, 1:-1] + images[:, :, 2:]
    smooth = (columns[..., :-2] + columns[..., 1:-1] + columns[..., 2:]).add_(inner * 4).div_(13)
    weights = factors[:, None, None, None]
    result = images.clone()
    result[:, :, 1:-1, 1:-1] = (inner * weights + smooth * (1 - weights)).clamp_(0, 1)
    return result
