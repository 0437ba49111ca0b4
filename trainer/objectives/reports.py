"""Numbers that say how a contrastive run fares: global means over anchors, and signs of collapse."""

from __future__ import annotations

import torch
from torch import Tensor

from learning.gather import all_reduce_sum

DIAGNOSED_ROWS = 512  # uniformity and rank compare all pairs of these: quadratic


@torch.no_grad()
def contrastive_report(
    total: Tensor,
    queries: Tensor,
    keys: Tensor,
    ids: Tensor,
    key_ids: Tensor,
    *,
    exclude_index: Tensor | None = None,
    own_keys: Tensor | None = None,
) -> dict[str, Tensor]:
    """Means over the global batch's anchors that have a positive: the loss, its distance from log|P|, alignment.

    What an anchor is compared with is said as to `multi_positive_nce`; the loss is summed over this rank's anchors.
    Shapes: queries [n, D] and keys [N, D] of unit length, ids [n], key_ids [N], exclude_index [n], own_keys [n, D].
    """
    positives, squared_distance = _positive_pairs(queries, keys, ids, key_ids, exclude_index, own_keys)
    has_positive = positives > 0
    sums = torch.stack(
        [
            total.detach().double(),
            positives.clamp(min=1).double().log().sum(),  # log|P| is the least that the loss can be
            (squared_distance * has_positive).double().sum(),
            has_positive.double().sum(),
        ]
    )
    loss, log_positives, alignment, count = all_reduce_sum(sums).unbind()
    count = count.clamp(min=1)
    return {
        "loss": loss / count,
        "loss_minus_log_positives": (loss - log_positives) / count,
        "alignment": alignment / count,
    }


def mean_of(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the reports of two directions as one."""
    return {name: (value + other[name]) / 2 for name, value in one.items()}


@torch.no_grad()
def spread(embeddings: Tensor) -> dict[str, Tensor]:
    """Signs of collapse: uniformity, and the deviation of a coordinate, 1 for unit vectors spread over the sphere."""
    rows = embeddings[:DIAGNOSED_ROWS]
    return {"uniformity": _uniformity(rows), "feature_std": embeddings.std(dim=0).mean() * embeddings.shape[1] ** 0.5}


@torch.no_grad()
def effective_rank(embeddings: Tensor) -> float:
    """Return the exponential of the entropy of the singular values. Source: RankMe, arXiv:2210.02885 eq. 1."""
    values = torch.linalg.svdvals(embeddings.double())
    shares = values / values.sum() + 1e-7
    return float((-(shares * shares.log()).sum()).exp())


def _positive_pairs(
    queries: Tensor, keys: Tensor, ids: Tensor, key_ids: Tensor, exclude_index: Tensor | None, own_keys: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Number of positives of each anchor, and its mean squared distance to them (alignment). Shapes: [n], [n]."""
    unique_ids, key_group, counts = torch.unique(key_ids, return_inverse=True, return_counts=True)
    group = torch.searchsorted(unique_ids, ids).clamp(max=len(unique_ids) - 1)
    known = unique_ids[group] == ids
    group_sum = keys.new_zeros(len(unique_ids), keys.shape[1]).index_add(0, key_group, keys)
    positives, others = counts[group] * known, group_sum[group] * known[:, None]
    if exclude_index is not None:
        is_same = key_ids[exclude_index] == ids
        positives, others = positives - is_same.long(), others - keys[exclude_index] * is_same[:, None]
    if own_keys is not None:
        positives, others = positives + 1, others + own_keys
    cosine = (queries * others).sum(dim=1) / positives.clamp(min=1)
    return positives, 2 - 2 * cosine


def _uniformity(embeddings: Tensor) -> Tensor:
    """Log of the mean Gaussian potential of all pairs. Source: Wang & Isola 2020, arXiv:2005.10242 eq. 6."""
    return torch.pdist(embeddings).square().mul(-2).exp().mean().log()
