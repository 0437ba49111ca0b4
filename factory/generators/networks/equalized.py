"""Layers whose weights are of unit size and scaled when used, so that all learn at one rate.

After Karras et al., arXiv:1710.10196, section 4.1. The gain of the leaky ReLU is folded into weights and biases, as
it is positively homogeneous: that spares one pass over the activations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2)


class EqualizedLinear(nn.Module):
    """A linear layer, followed by a leaky ReLU if `activated`; a low `lr_multiplier` makes it learn slowly."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        activated: bool = False,
        lr_multiplier: float = 1.0,
        bias_init: Sequence[float] = (0.0,),
        weight_init: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) * (weight_init / lr_multiplier))
        bias = torch.tensor(bias_init, dtype=torch.float32).expand(out_features)
        self.bias = nn.Parameter(bias / lr_multiplier)
        self.activated = activated
        gain = LRELU_GAIN if activated else 1.0
        self.weight_gain, self.bias_gain = gain * lr_multiplier / math.sqrt(in_features), gain * lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return F.leaky_relu(x, LRELU_SLOPE, inplace=True) if self.activated else x


def unit_second_moment(x: Tensor) -> Tensor:
    """Scale each row to a mean square of one."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def clamped(x: Tensor, limit: float | None) -> Tensor:
    return x if limit is None else x.clamp(-limit, limit)
