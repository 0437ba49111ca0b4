"""What features look like without any label: their effective rank, how near positives lie, how evenly all are spread.

Sources: RankMe, arXiv:2210.02885 eq. 1; alignment and uniformity, Wang & Isola, arXiv:2005.10242 eq. 5 and 6.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.evaluation.evidence import Score, draw_counts, interval
from trainer.objectives.reports import effective_rank

__all__ = ["alignment", "effective_rank", "uniformity"]


def alignment(first: Tensor, second: Tensor) -> NDArray[np.float64]:
    """Return the squared distance of each pair of positives on the unit sphere: 0 where they are one.

    Shapes: [N, D] each -> [N].
    """
    pair = [torch.nn.functional.normalize(rows.double(), dim=1) for rows in (first, second)]
    found: NDArray[np.float64] = (pair[0] - pair[1]).square().sum(dim=1).numpy()
    return found


def uniformity(features: Tensor, components: NDArray[np.int64]) -> Score:
    """Return the log of the mean Gaussian potential of pairs of different components, -4 at best, and its interval.

    Pairs within a component are positives: drawn twice, they would pull the interval away from the estimate.
    Shapes: features [N, D], components [N]; quadratic in N.
    """
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    names, group = np.unique(components, return_inverse=True)
    number = torch.from_numpy(group)
    potential = ((unit @ unit.T - 1) * 4).exp()  # exp(-2 |x - y|²), as |x - y|² = 2 - 2 x·y
    potential[number[:, None] == number[None, :]] = 0.0
    sizes = torch.from_numpy(np.bincount(group)).double()
    resampled = []
    for draws in map(torch.from_numpy, draw_counts(len(names), len(number))):  # [r, G]
        counts = draws[:, number]  # how often each image comes, [r, N]
        pairs = (draws @ sizes).square() - (draws * sizes).square().sum(dim=1)  # [r]
        resampled.append(((counts @ potential) * counts).sum(dim=1) / pairs)
    mean = float(potential.sum() / (sizes.sum().square() - sizes.square().sum()))
    return interval(float(np.log(mean)), torch.cat(resampled).log().numpy(), len(names))
