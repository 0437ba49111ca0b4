"""A small U-Net that guesses noise, told the time and a code of the clean image: NCSN++ with plain resampling.

Residual blocks with group norm, each shifted by the joined embedding of time and code, sums scaled by 1/√2, attention
in the middle, and a last layer that begins at 0. Source: Song et al., arXiv:2011.13456 appendix H; code: as a second
embedding beside time's (Abstreiter et al., arXiv:2105.14257 appendix A).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, scaled_dot_product_attention, silu

_GROUP_CHANNELS = 8
_HIGHEST_FREQUENCY = 64.0  # turns over [0, 1]


class TimeFeatures(nn.Module):
    """Sines and cosines of times in [0, 1], of half a turn to 64. Shapes: [n] -> [n, count]."""

    frequencies: Tensor

    def __init__(self, count: int = 32) -> None:
        super().__init__()
        turns = torch.logspace(math.log2(0.5), math.log2(_HIGHEST_FREQUENCY), count // 2, base=2.0)
        self.register_buffer("frequencies", 2 * math.pi * turns, persistent=False)

    def forward(self, times: Tensor) -> Tensor:
        angles = times[:, None] * self.frequencies.to(times.dtype)  # [n, count / 2]
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class ScoreNet(nn.Module):
    """Shapes: images [n, 3, S, S], times [n], codes [n, D] -> [n, 3, S, S]; S is halved between levels.

    Units: `width` channels at the first level, times `multipliers` at each.
    """

    def __init__(self, code: int, *, width: int, multipliers: Sequence[int], blocks: int) -> None:
        super().__init__()
        wide, features = 4 * width, TimeFeatures()
        self.times = nn.Sequential(features, nn.Linear(32, wide), nn.SiLU(), nn.Linear(wide, wide))
        self.codes = nn.Linear(code, wide)
        widths = [width * multiplier for multiplier in multipliers]
        self.enter = nn.Conv2d(3, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, channels = list[int](), width
        for level in widths:
            for _ in range(blocks):
                self.down.append(Block(channels, level, wide))
                channels = level
                skips.append(channels)
        self.middle = nn.ModuleList(
            [Block(channels, channels, wide), Attention(channels), Block(channels, channels, wide)]
        )
        for level in reversed(widths):
            for _ in range(blocks):
                self.up.append(Block(channels + skips.pop(), level, wide))
                channels = level
        self.leave = nn.Sequential(_norm(channels), nn.SiLU(), zeroed(nn.Conv2d(channels, 3, 3, padding=1)))
        self.blocks = blocks

    def forward(self, images: Tensor, times: Tensor, codes: Tensor) -> Tensor:
        told = silu((self.times(times) + self.codes(codes)) / math.sqrt(2))  # [n, wide]
        hidden, skips = self.enter(images), []
        for place, block in enumerate(self.down):
            if place and place % self.blocks == 0:
                hidden = avg_pool2d(hidden, 2)
            hidden = block(hidden, told)
            skips.append(hidden)
        hidden = self.middle[2](self.middle[1](self.middle[0](hidden, told)), told)
        for place, block in enumerate(self.up):
            if place and place % self.blocks == 0:
                hidden = interpolate(hidden, scale_factor=2.0)
            hidden = block(torch.cat([hidden, skips.pop()], dim=1), told)
        result: Tensor = self.leave(hidden)
        return result


class Block(nn.Module):
    """Two convolutions beside a shortcut; the embedding shifts what lies between them."""

    def __init__(self, before: int, after: int, told: int) -> None:
        super().__init__()
        self.first = nn.Sequential(_norm(before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))
        self.told = nn.Linear(told, 2 * after)
        self.norm = _norm(after)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, images: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.told(told)[:, :, None, None].chunk(2, dim=1)
        hidden = silu(self.norm(self.first(images)) * (1 + scale) + shift)
        result: Tensor = (self.shortcut(images) + self.second(hidden)) / math.sqrt(2)
        return result


class Attention(nn.Module):
    """One head over all places, beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.mix, self.out = (
            _norm(channels),
            nn.Conv2d(channels, 3 * channels, 1),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        q, k, v = self.mix(self.norm(images)).flatten(2).transpose(1, 2).chunk(3, dim=2)  # [n, places, channels]
        seen = scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(images.shape)
        result: Tensor = (images + self.out(seen)) / math.sqrt(2)
        return result


def zeroed(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """Let a layer say nothing at first."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(max(1, channels // _GROUP_CHANNELS), channels)
