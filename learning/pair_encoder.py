"""The small residual network that measures what two views have in common, and that view learners play against.

Its head has a batch norm, as SimCLR's: without, all codes begin alike, and a short training may leave them so.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from learning.heads import ProjectionHead

GROUPS = 8
CODE = 128


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut; halves the side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norms: nn.ModuleList = nn.ModuleList([nn.GroupNorm(GROUPS, outputs), nn.GroupNorm(GROUPS, outputs)])
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        hidden = relu(self.norms[0](self.first(x)))
        return relu(self.norms[1](self.second(hidden)) + self.shortcut(x))


class PairEncoder(nn.Module):
    """Images in [0, 1] of so many channels -> unit vectors [n, CODE]."""

    def __init__(self, width: int, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, stride=2, padding=1)
        self.stages = nn.Sequential(*(Residual(width << i, width << (i + 1)) for i in range(3)))
        self.head = ProjectionHead(8 * width, 8 * width, CODE, layers=2, norm="batch")

    def forward(self, images: Tensor) -> Tensor:
        features = self.stages(relu(self.stem(images * 2 - 1))).mean(dim=(2, 3))
        return normalize(self.head(features), dim=1)
