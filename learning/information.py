"""How much two views say of each other: lower bounds and estimates of mutual information from a matrix of scores.

Row i and column i belong together, any other pair is a draw from both marginals. I_NCE (van den Oord et al.,
arXiv:1807.03748) is a bound that cannot exceed log K; NWJ (Nguyen et al. 2010; Poole et al., arXiv:1905.06922 eq. 7) is
one without a ceiling and with more noise; SMILE (Song & Ermon, arXiv:1910.06222 eq. 11) is an estimate, no bound.
All score one critic: a loss in both directions leaves it no freedom but a constant, which `log_baseline` takes away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from learning.losses import multi_positive_nce
from learning.schedule import warmup_cosine

SMILE_CLIP_NATS = 5.0
_NEAR_CEILING = 0.9


def info_nce(first: Tensor, second: Tensor, temperature: float | Tensor) -> Tensor:
    """Return the mean cross-entropy of finding each row's partner among all, in both directions.

    log K minus it bounds the mutual information of the two views from below. Shapes: [K, D] each.
    """
    ids = torch.arange(len(first), device=first.device)
    forth, count = multi_positive_nce(first, second, ids, ids, temperature=temperature)
    back, _ = multi_positive_nce(second, first, ids, ids, temperature=temperature)
    return (forth + back) / (2 * count)


def i_nce(scores: Tensor) -> Tensor:
    """Return log K minus the cross-entropy of both directions, in nats. Shapes: [K, K]."""
    rows, columns = scores.logsumexp(dim=1), scores.logsumexp(dim=0)
    return math.log(len(scores)) + (scores.diagonal() - (rows + columns) / 2).mean()


def nwj(scores: Tensor, log_baseline: float) -> Tensor:
    """Return the bound for the critic less its baseline, in nats; valid for any baseline that these pairs did not set.

    Shapes: [K, K].
    """
    return 1 + scores.diagonal().mean() - log_baseline - (log_mean_exp_apart(scores) - log_baseline).exp()


def smile(scores: Tensor, log_baseline: float, clip_nats: float = SMILE_CLIP_NATS) -> Tensor:
    """Return Donsker and Varadhan's estimate with the marginals' scores clipped, in nats. Shapes: [K, K]."""
    ratios = scores - log_baseline
    return ratios.diagonal().mean() - log_mean_exp_apart(ratios.clamp(-clip_nats, clip_nats))


def log_mean_exp_apart(scores: Tensor) -> Tensor:
    """Return the logarithm of the mean of exp over all pairs that do not belong together. Shapes: [K, K]."""
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    apart = scores.masked_fill(own, -torch.inf)
    return apart.flatten().logsumexp(dim=0) - math.log(len(scores) * (len(scores) - 1))


def is_near_ceiling(nats: float, batch_images: int) -> bool:
    """Say whether an I_NCE is so near log K that it says little: the information may be far above it."""
    return nats > _NEAR_CEILING * math.log(batch_images)


def fit(
    critic: nn.Module,
    loss: Callable[[Tensor, int], Tensor],
    orders: Sequence[Tensor],
    *,
    batch_images: int,
    learning_rate: float,
) -> None:
    """Train a critic by AdamW, an order of rows each epoch; `loss` is given a batch's rows and the images seen."""
    optimizer = torch.optim.AdamW(critic.parameters(), lr=1.0, weight_decay=1e-2, fused=True)
    total = sum(len(order) // batch_images for order in orders) * batch_images
    seen = 0
    for order in orders:
        for rows in batches(order, batch_images):
            seen += len(rows)
            rate = warmup_cosine(seen, peak=learning_rate, warmup_images=total // 10, total_images=total)
            optimizer.param_groups[0]["lr"] = rate
            torch.autograd.backward(loss(rows, seen))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def batches(order: Tensor, size: int) -> Iterator[Tensor]:
    """Cut an order into batches; the rest, which would make an easier task, is left out."""
    return (order[start : start + size] for start in range(0, len(order) - size + 1, size))
