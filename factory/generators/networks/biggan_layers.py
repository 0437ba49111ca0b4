"""What BigGAN-deep and BigBiGAN share: a batch norm whose statistics are fixed, and self-attention.

Spectral norms are divided out of the weights when they are imported, so that plain convolutions remain.

Papers: Brock et al. 2019 (BigGAN); Zhang et al. 2019 (self-attention).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FixedStatistics(nn.Module):
    """Means and variances measured at evenly spaced truncations from 0 to 1, or once for all of them."""

    means: Tensor
    variances: Tensor

    def __init__(self, channels: int, count: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("means", torch.zeros(count, channels))
        self.register_buffer("variances", torch.ones(count, channels))

    def affine(self, psi: Tensor, gain: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Fold each row's statistics at its own truncation, and its gain and offset, into a factor and a summand.

        Shapes: psi [n]; gain and offset [n, C] or [C]; returns two [n, C, 1, 1].
        """
        mean, variance = self._at(self.means, psi), self._at(self.variances, psi)  # [n, C]
        factor = gain * torch.rsqrt(variance + self.eps)
        return factor[:, :, None, None], (offset - mean * factor)[:, :, None, None]

    @staticmethod
    def _at(table: Tensor, psi: Tensor) -> Tensor:
        """Interpolate linearly between the two nearest rows."""
        last = len(table) - 1
        if last == 0:
            return table.expand(len(psi), -1)
        position = psi.clamp(0, 1) * last
        below = position.floor().clamp(max=last - 1)
        index = below.long()
        return torch.lerp(table[index], table[index + 1], (position - below)[:, None])  # [n, C]


class ConditionalNorm(nn.Module):
    """A fixed batch norm whose gain and offset are linear in a condition; the gain counts from 1."""

    def __init__(self, channels: int, condition_dim: int, num_statistics: int, eps: float, *, bias: bool) -> None:
        super().__init__()
        self.statistics = FixedStatistics(channels, num_statistics, eps)
        self.gain = nn.Linear(condition_dim, channels, bias=bias)
        self.offset = nn.Linear(condition_dim, channels, bias=bias)

    def forward(self, x: Tensor, condition: Tensor, psi: Tensor) -> Tensor:
        factor, summand = self.statistics.affine(psi, 1 + self.gain(condition), self.offset(condition))
        return torch.addcmul(summand, x, factor)


class PlainNorm(nn.Module):
    """A fixed batch norm with a gain and an offset of its own."""

    def __init__(self, channels: int, num_statistics: int, eps: float) -> None:
        super().__init__()
        self.statistics = FixedStatistics(channels, num_statistics, eps)
        self.gain = nn.Parameter(torch.ones(channels))
        self.offset = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, psi: Tensor) -> Tensor:
        factor, summand = self.statistics.affine(psi, self.gain, self.offset)
        return torch.addcmul(summand, x, factor)


class SelfAttention(nn.Module):
    """Every pixel asks all cells of a grid of half the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.key = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.value = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.output = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x).flatten(2)  # [n, C / 8, h * w]
        key = F.max_pool2d(self.key(x), 2).flatten(2)  # [n, C / 8, h * w / 4]
        value = F.max_pool2d(self.value(x), 2).flatten(2)  # [n, C / 2, h * w / 4]
        weights = (query.transpose(1, 2) @ key).softmax(dim=-1)  # [n, h * w, h * w / 4]
        seen = (value @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])  # [n, C / 2, h, w]
        change: Tensor = self.output(seen)
        return x + self.gamma * change


def half_where(x: Tensor, is_half: bool) -> torch.autocast:
    """Compute in float16 from here on, where it is asked for and the device is a GPU."""
    return torch.autocast(x.device.type, torch.float16, enabled=is_half and x.is_cuda)


def upsampled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
