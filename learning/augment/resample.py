"""Cut a box out of every image and resize it, each image its own box, in elementwise steps only.

Bilinear with antialiasing: a triangle of half width max(1, box / output), cut at the box's border and normalised, first
along rows, then along columns: what torchvision's `resized_crop(antialias=True)` computes. Every output is a sum of as
many weighted inputs as the largest box needs; a smaller one adds exact zeros.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def resized_crop(images: Tensor, boxes: Tensor, size_px: tuple[int, int], flips: Tensor | None = None) -> Tensor:
    """Return every image's box (top, left, height, width; whole pixels) at `size_px`, mirrored where `flips` is set.

    Shapes: [B, C, H, W] of any dtype, boxes int64 [B, 4], size (h, w), flips bool [B] -> float32 [B, C, h, w].
    """
    top, left, height, width = boxes.unbind(dim=1)
    rows = _taps(top, height, images.shape[2], size_px[0], None)
    columns = _taps(left, width, images.shape[3], size_px[1], flips)
    # The columns by way of the transposed image: whole lines are read faster than single pixels.
    lines = _resample_rows(images, *rows).transpose(2, 3)
    return _resample_rows(lines, *columns).transpose(2, 3).contiguous()


def resize(images: Tensor, size_px: tuple[int, int]) -> Tensor:
    """Return the whole images at another size. Shapes: [B, C, H, W] -> float32 [B, C, h, w]."""
    whole = torch.tensor([0, 0, *images.shape[2:]], device=images.device)
    return resized_crop(images, whole.expand(len(images), 4), size_px)


def _taps(start: Tensor, length: Tensor, source_px: int, size_px: int, flips: Tensor | None) -> tuple[Tensor, Tensor]:
    """Indices int64 and weights float32 of the inputs of every output, both [taps, B, size_px]."""
    scale = (length.double() / size_px)[:, None]
    support = scale.clamp(min=1.0)
    positions = torch.arange(size_px, device=start.device).expand(len(start), -1)  # [B, size_px]
    if flips is not None:
        positions = torch.where(flips[:, None], size_px - 1 - positions, positions)
    centre = (positions + 0.5) * scale
    first = (centre - support + 0.5).floor().clamp(min=0)
    count = math.ceil(2 * max(1.0, source_px / size_px))  # what the largest box needs: known without asking the device
    candidates = first + torch.arange(count, device=start.device, dtype=torch.float64)[:, None, None]  # [taps, B, S]
    weights = (1 - ((candidates + 0.5 - centre) / support).abs()).clamp(min=0)
    weights = weights * (candidates < length[:, None])
    weights = weights / _sum_in_order(weights)
    indices = (start[:, None] + candidates.long()).minimum((start + length - 1)[:, None])
    return indices, weights.float()


def _sum_in_order(parts: Tensor) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _resample_rows(images: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    batch, channels, height, width = images.shape
    lines = images.reshape(batch * channels * height, width)
    base = torch.arange(batch * channels, device=images.device).reshape(batch, channels, 1) * height
    size_px = indices.shape[2]
    total = images.new_zeros(batch, channels, size_px, width, dtype=torch.float32)
    for index, weight in zip(indices, weights, strict=True):
        picked = lines.index_select(0, (base + index[:, None]).reshape(-1)).reshape(batch, channels, size_px, width)
        total += picked * weight[:, None, :, None]
    return total
