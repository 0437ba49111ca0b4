"""Projection heads, and a batch norm over all ranks that runs anywhere (SyncBatchNorm refuses CPUs).

Statistics travel through the differentiable gather, so a rank's rows get their share of every rank's gradient: values,
gradients and running statistics are those of BatchNorm1d on the concatenated batch.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from learning.gather import all_gather

Norm = Literal["layer", "batch"]


class GatheredBatchNorm(nn.Module):
    """Batch norm of rows [n, D] with the statistics of all ranks; its arithmetic is at least float32.

    The state dict is BatchNorm1d's without the batch counter.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, *, affine: bool = True, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width)) if affine else None
        self.bias = nn.Parameter(torch.zeros(width)) if affine else None
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.eps, self.momentum = eps, momentum

    def forward(self, rows: Tensor) -> Tensor:
        with torch.autocast(rows.device.type, enabled=False):
            values = rows.to(torch.promote_types(rows.dtype, torch.float32))
            mean, variance = self._batch_statistics(values) if self.training else (self.running_mean, self.running_var)
            normal = (values - mean) * torch.rsqrt(variance + self.eps)
            if self.weight is not None and self.bias is not None:
                normal = normal * self.weight + self.bias
            return normal.to(rows.dtype)

    def _batch_statistics(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance over all ranks from those of each (Chan et al. 1979, eq. 2.1)."""
        own_mean = values.mean(dim=0)
        own_squares = (values - own_mean).square().sum(dim=0)
        means, squares = all_gather(torch.stack([own_mean, own_squares])[None]).unbind(dim=1)  # [world, D] each
        total = len(values) * len(means)
        if total < 2:
            raise ValueError("batch norm got 1 row over all ranks, it needs at least 2; use norm: layer")
        mean = means.mean(dim=0)
        squared_deviations = squares.sum(dim=0) + len(values) * (means - mean).square().sum(dim=0)
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_((squared_deviations / (total - 1)).to(self.running_var.dtype), self.momentum)
        return mean, squared_deviations / total


class ProjectionHead(nn.Sequential):
    """An MLP of `layers` linear layers, normalised and rectified in between; SimCLR's and StableRep's head.

    Batch norm here is over the whole batch; StableRep's own head normalises every view by itself: call it per view.
    `is_output_normalised` adds a norm without weights behind the last layer, as MoCo v3 and SimSiam have it.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        out: int,
        *,
        layers: int = 3,
        norm: Norm = "layer",
        is_output_normalised: bool = False,
    ) -> None:
        if layers < 1:
            raise ValueError(f"layers is {layers}, expected at least 1")
        widths = [width] + [hidden] * (layers - 1)
        parts: list[nn.Module] = []
        for before, after in pairwise(widths):
            bias = norm != "batch"  # batch norm would subtract it again
            parts += [nn.Linear(before, after, bias=bias), _norm(norm, after), nn.ReLU(inplace=True)]
        has_bias = norm != "batch" or not is_output_normalised
        parts.append(nn.Linear(widths[-1], out, bias=has_bias))
        if is_output_normalised:
            parts.append(_norm(norm, out, affine=False))
        super().__init__(*parts)


def _norm(norm: Norm, width: int, *, affine: bool = True) -> nn.Module:
    if norm == "batch":
        return GatheredBatchNorm(width, affine=affine)
    return nn.LayerNorm(width, elementwise_affine=affine)
