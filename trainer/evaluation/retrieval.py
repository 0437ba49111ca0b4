"""Do the views of a group find one another among all others? Rank by cosine, every view once the question."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_CHUNK_VALUES = 1 << 24  # cosines held at a time


def average_precisions(features: Tensor, groups: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return for every image the average precision of its group's other views among all other images, and whether
    the first found is one of them.

    An image that looks like others to the last bit stands behind them: features that are all equal find nothing.
    Shapes: features [N, D], groups [N] -> [N] each.
    """
    unit, group = torch.nn.functional.normalize(features.double(), dim=1), torch.from_numpy(groups)
    chunk = max(1, _CHUNK_VALUES // len(unit))
    found = [_chunk(unit, group, rows) for rows in torch.split(torch.arange(len(unit)), chunk)]
    precisions, hits = (torch.cat(part).numpy() for part in zip(*found, strict=True))
    return precisions, hits


def _chunk(unit: Tensor, group: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    cosine = (unit[rows] @ unit.T).round(decimals=9)  # [n, N]; equal rows stay equal, whatever the kernel
    is_positive = group[rows][:, None] == group[None, :]
    is_positive[torch.arange(len(rows)), rows] = False
    cosine[torch.arange(len(rows)), rows] = -torch.inf  # the question itself comes last
    order = _ranked(cosine, is_positive)
    relevant = is_positive.gather(1, order).double()
    rank = torch.arange(1, len(unit) + 1, dtype=torch.float64)
    precision = relevant.cumsum(dim=1) / rank  # precision at every rank
    average = (precision * relevant).sum(dim=1) / relevant.sum(dim=1).clamp(min=1)
    return average, relevant[:, 0] > 0


def _ranked(cosine: Tensor, is_positive: Tensor) -> Tensor:
    """Order by falling cosine, among equals the wrong ones first."""
    wrong_first = torch.argsort(is_positive.to(torch.int8), dim=1, stable=True)
    return wrong_first.gather(1, torch.argsort(-cosine.gather(1, wrong_first), dim=1, stable=True))
