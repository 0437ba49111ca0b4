"""Adaptive augmentation: each change of a chain befalls an image with probability p, and p follows how sure a judge is.

Whoever calls more than the target share of real images real has begun to learn them by heart: p rises; else it falls.
Geometry is one affine map, sampled bilinearly beyond mirrored borders; colour is one affine map of RGB.
Paper: Karras et al., arXiv:2006.06676, section 3 and appendix B. Its wavelet-filtered resampling is left out.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

DRAWS = 23  # uniform numbers an image
SCALE_DEVIATION, SHIFT_FRACTION = 0.2, 0.125
BRIGHTNESS_DEVIATION, CONTRAST_DEVIATION, SATURATION_DEVIATION = 0.2, 0.5, 1.0
_GREY = 1 / math.sqrt(3)


class AdaConfig(BaseModel):
    """How p is driven."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: float = Field(default=0.6, ge=-1, le=1, description="mean sign of the logits of real images that is held")
    rise_images: int = Field(default=500_000, ge=1, description="real images over which p may go from 0 to 1")


def draw(rng: np.random.Generator, images: int, device: torch.device) -> Tensor:
    """Draw for a batch; always the same amount of randomness, whatever p is. Shapes: float32 [n, DRAWS] in (0, 1)."""
    return torch.from_numpy(rng.random((images, DRAWS), np.float32).clip(1e-6, 1 - 1e-6)).to(device)


def adapted(p: float, mean_sign: float, images: int, config: AdaConfig) -> float:
    """Return p after a batch of real images whose logits had this mean sign."""
    step = math.copysign(images / config.rise_images, mean_sign - config.target)
    return min(1.0, max(0.0, p + step))


def augment(images: Tensor, draws: Tensor, p: float) -> Tensor:
    """Change every image by its own draws. Shapes: [n, 3, H, W] in [-1, 1], square, both ways; draws [n, DRAWS]."""
    moves = geometry(draws, p, images.shape[3]).to(images.dtype)
    grid = F.affine_grid(moves[:, :2], list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    matrix, offset = colour(draws, p)
    mixed = torch.einsum("nij,njhw->nihw", matrix.to(images.dtype), moved)
    return mixed + offset.to(images.dtype)[:, :, None, None]


def geometry(draws: Tensor, p: float, side_px: int) -> Tensor:
    """Return what takes a place of the changed image to its place in the old one, both in [-1, 1]; [n, 3, 3]."""
    u = draws.unbind(1)
    turned_p = 1 - math.sqrt(1 - p)  # there are two turns, and one of them or both come with probability p
    quarter = (u[3] * 4).floor() * math.pi / 2
    whole = [((u[i] * 2 - 1) * SHIFT_FRACTION * side_px).round() / side_px * 2 for i in (5, 6)]
    parts = [
        _scaled(1 - 2 * _gated(u[0], p) * (u[1] < 0.5), torch.ones_like(u[0])),
        _turned(quarter * _gated(u[2], p)),
        _moved(*(shift * _gated(u[4], p) for shift in whole)),
        _scaled(*[_power(u[8], SCALE_DEVIATION) ** _gated(u[7], p)] * 2),
        _turned((u[10] * 2 - 1) * math.pi * _gated(u[9], turned_p)),
        _scaled(stretch := _power(u[12], SCALE_DEVIATION) ** _gated(u[11], p), 1 / stretch),
        _turned((u[14] * 2 - 1) * math.pi * _gated(u[13], turned_p)),
        _moved(*(_normal(u[i]) * SHIFT_FRACTION * 2 * _gated(u[15], p) for i in (16, 17))),
    ]
    return _product(parts)


def colour(draws: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Return each image's map of colours in [-1, 1]: a matrix [n, 3, 3] and an offset [n, 3]."""
    u = draws.unbind(1)
    # Few uniform numbers are left: the fraction that a gate leaves over is uniform again, whichever way it went.
    gates, values = zip(*(_split(u[i], p) for i in (18, 19, 20, 21, 22)), strict=True)
    grey = torch.full((3, 3), 1 / 3, device=draws.device)
    identity = torch.eye(3, device=draws.device)
    contrast = _power(values[1], CONTRAST_DEVIATION) ** gates[1]
    flip = 2 * gates[2] * (values[2] < 0.5)  # of the brightness, the hue stays
    saturation = _power(values[4], SATURATION_DEVIATION) ** gates[4]
    hue = _about_grey((values[3] * 2 - 1) * math.pi * gates[3])
    matrix = (grey + saturation[:, None, None] * (identity - grey)) @ hue @ (identity - flip[:, None, None] * grey)
    brightness = (_normal(values[0]) * BRIGHTNESS_DEVIATION * gates[0])[:, None, None].expand(-1, 3, 1)
    scaled = matrix * contrast[:, None, None]
    return scaled, (scaled @ brightness)[:, :, 0]


def _gated(u: Tensor, p: float) -> Tensor:
    return (u < p).to(u.dtype)


def _split(u: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """Return whether u falls below p, and u stretched to (0, 1) within its side."""
    is_on = u < p
    inside = torch.where(is_on, u / max(p, 1e-6), (u - p) / max(1 - p, 1e-6))
    return is_on.to(u.dtype), inside.clamp(1e-6, 1 - 1e-6)


def _normal(u: Tensor) -> Tensor:
    return math.sqrt(2) * torch.erfinv(2 * u - 1)


def _power(u: Tensor, deviation: float) -> Tensor:
    return torch.exp2(_normal(u) * deviation)


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, 1) for row in rows], 1)  # [n, 3, 3]


def _scaled(x: Tensor, y: Tensor) -> Tensor:
    nil, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([[x, nil, nil], [nil, y, nil], [nil, nil, one]])


def _moved(x: Tensor, y: Tensor) -> Tensor:
    nil, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([[one, nil, x], [nil, one, y], [nil, nil, one]])


def _turned(angle: Tensor) -> Tensor:
    nil, one = torch.zeros_like(angle), torch.ones_like(angle)
    return _matrix([[angle.cos(), -angle.sin(), nil], [angle.sin(), angle.cos(), nil], [nil, nil, one]])


def _about_grey(angle: Tensor) -> Tensor:
    """Turn colours about the grey axis (Rodrigues)."""
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=angle.device) * _GREY
    outer = torch.full((3, 3), 1 / 3, device=angle.device)
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return cosine * torch.eye(3, device=angle.device) + sine * cross + (1 - cosine) * outer


def _product(parts: list[Tensor]) -> Tensor:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole @ part
    return whole
