"""What is trained on top of a frozen model: logits of an image being real, at one depth of the features or at all.

Every weight is divided by its largest singular value (Miyato et al., arXiv:1802.05957), and a class is told by
projection (Miyato and Koyama, arXiv:1802.05637). A head returns one tensor of logits per place that it judges at.
Paper: Kumari et al., arXiv:2112.09130, section 3.1 and appendix.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from factory.gan.bank import Seen

Kind = Literal["multilevel", "conv", "pooled"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SLOPE = 0.2
_BLUR = torch.tensor([1.0, 2.0, 1.0]) / 4


class Head(nn.Module):
    """Features to a list of logits, [n, places] each."""

    def forward(self, seen: Seen, class_ids: Tensor | None) -> list[Tensor]:
        raise NotImplementedError


class Conditioned(nn.Module):
    """Hidden features to logits, by a linear map and, where there are classes, by the class's own direction."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.plain = spectral_norm(nn.Linear(width, 1))
        self.directions = spectral_norm(nn.Embedding(classes, width)) if classes else None

    def forward(self, hidden: Tensor, class_ids: Tensor | None) -> Tensor:
        """Shapes: hidden [n, places, width]; class_ids int64 [n]; returns [n, places]."""
        logits: Tensor = self.plain(hidden)[..., 0]
        if self.directions is None:
            return logits
        assert class_ids is not None, "a conditional head is told classes"
        directions: Tensor = self.directions(class_ids)[:, None]  # [n, 1, width]
        return logits + (hidden * directions).sum(-1)


class PooledHead(Head):
    """A multilayer perceptron on the pooled features."""

    def __init__(self, pooled: int, width: int, classes: int) -> None:
        super().__init__()
        self.hidden = spectral_norm(nn.Linear(pooled, width))
        self.out = Conditioned(width, classes)

    def forward(self, seen: Seen, class_ids: Tensor | None) -> list[Tensor]:
        hidden = F.leaky_relu(self.hidden(seen.pooled), SLOPE)
        return [self.out(hidden[:, None], class_ids)]


class ConvHead(Head):
    """Blurred, convolved at half the resolution and averaged: one logit from the deepest level."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.conv = spectral_norm(nn.Conv2d(channels, width, 3, stride=2, padding=1))
        self.dense = spectral_norm(nn.Linear(width, width))
        self.out = Conditioned(width, classes)

    def forward(self, seen: Seen, class_ids: Tensor | None) -> list[Tensor]:
        maps = F.leaky_relu(self.conv(blurred(seen.levels[-1])), SLOPE)
        hidden = F.leaky_relu(self.dense(maps.mean((2, 3))), SLOPE)
        return [self.out(hidden[:, None], class_ids)]


class MultiLevelHead(Head):
    """A map of logits from every level, and one logit from the pooled features."""

    def __init__(self, channels: list[int], pooled: int, width: int, classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(spectral_norm(nn.Conv2d(c, width, 3, stride=2, padding=1)) for c in channels)
        self.outs = nn.ModuleList(Conditioned(width, classes) for _ in channels)
        self.last = PooledHead(pooled, width, classes)

    def forward(self, seen: Seen, class_ids: Tensor | None) -> list[Tensor]:
        logits = []
        for level, conv, out in zip(seen.levels, self.convs, self.outs, strict=True):
            maps = F.leaky_relu(conv(blurred(level)), SLOPE)  # [n, width, h / 2, w / 2]
            logits.append(out(maps.flatten(2).transpose(1, 2), class_ids))
        return [*logits, *self.last(seen, class_ids)]


def build_head(kind: Kind, widths: tuple[list[int], int], width: int, classes: int) -> Head:
    """Build a head for a model's widths of levels and pooled features; torch's generator decides the weights."""
    channels, pooled = widths
    if kind == "pooled":
        return PooledHead(pooled, width, classes)
    if kind == "conv":
        return ConvHead(channels[-1], width, classes)
    return MultiLevelHead(channels, pooled, width, classes)


def blurred(maps: Tensor) -> Tensor:
    """Smooth maps before they are halved, so that a shift by one place changes little. Shapes: [n, C, h, w]."""
    kernel = _BLUR.to(maps)
    shared = (kernel[:, None] * kernel).expand(maps.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(maps, (1, 1, 1, 1), mode="replicate"), shared, groups=maps.shape[1])
