"""The one contrastive loss: multi-positive cross-entropy over (queries, keys, ids), in linear memory.

SimCLR, SupCon (L_out), StableRep, CLIP, MoCo and DCL are this function with other ids, towers and key sources. Anchors
are the caller's own rows, keys the gathered ones; nothing here communicates: the caller divides by the global count.
Only the log-sum-exp needs the n x N logits, and it makes them in chunks, again in the backward pass.
Sources: SupCon arXiv:2004.11362 eq. 2; StableRep arXiv:2306.00984 eq. 3; DCL arXiv:2110.06848 eq. 6.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_LOGITS = 1 << 22  # logits alive at a time; 16 MB in float32 stays within a few caches' reach


def multi_positive_nce(
    queries: Tensor,
    keys: Tensor,
    query_ids: Tensor,
    key_ids: Tensor,
    *,
    exclude_index: Tensor | None = None,
    own_keys: Tensor | None = None,
    temperature: float | Tensor,
    decoupled: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the summed loss of the anchors that have a positive, and how many they are.

    Anchor i sees the keys A(i): all but `exclude_index[i]` (-1: none), and `own_keys[i]`, a positive of its own.
    Its positives P(i) are the keys of A(i) with its id. With s = query . key / temperature,
        L_i = log sum_{a in A(i)} exp s_ia  -  mean_{p in P(i)} s_ip .
    `decoupled` (DCL) sums over A(i) without P(i): every positive is compared with negatives only.
    An anchor without a positive (or, decoupled, without a negative) adds 0 and is not counted.

    Shapes: queries [n, D], keys [N, D], query_ids [n], key_ids [N], exclude_index [n], own_keys [n, D]; results [].
    Dtype: at least float32, whatever autocast says; float64 stays float64. The count is int64.
    """
    _check_shapes(queries, keys, query_ids, key_ids, exclude_index, own_keys)
    with torch.autocast(queries.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(queries.dtype, keys.dtype), torch.float32)
        scaled, keys = queries.to(dtype) / temperature, keys.to(dtype)
        positive_sum, positives = _positives(scaled, keys, query_ids, key_ids, exclude_index)
        masked_ids = (query_ids, key_ids) if decoupled else None
        denominator: Tensor = _LogSumExp.apply(scaled, keys, exclude_index, masked_ids)  # [n]
        if own_keys is not None:
            own_logit = (scaled * own_keys.to(dtype)).sum(dim=1)
            positive_sum, positives = positive_sum + own_logit, positives + 1
            denominator = denominator if decoupled else torch.logaddexp(denominator, own_logit)
        has_loss = (positives > 0) & denominator.isfinite() if decoupled else positives > 0
        per_anchor = denominator - positive_sum / positives.clamp(min=1)
        return per_anchor.where(has_loss, torch.zeros_like(per_anchor)).sum(), has_loss.sum()


def _positives(
    scaled: Tensor, keys: Tensor, query_ids: Tensor, key_ids: Tensor, exclude_index: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sum of positive logits [n] and their number [n] from per-id sums of keys: O((n + N) D), no mask."""
    unique_ids, key_group = torch.unique(key_ids, return_inverse=True)
    group = torch.searchsorted(unique_ids, query_ids).clamp(max=len(unique_ids) - 1)  # [n]
    known = unique_ids[group] == query_ids
    group_sum = keys.new_zeros(len(unique_ids), keys.shape[1]).index_add(0, key_group, keys)
    positive_key_sum = group_sum[group] * known[:, None]  # [n, D]
    positives = torch.bincount(key_group, minlength=len(unique_ids))[group] * known
    if exclude_index is not None:
        index = exclude_index.clamp(min=0)
        is_self = (exclude_index >= 0) & (key_ids[index] == query_ids)
        positive_key_sum = positive_key_sum - keys[index] * is_self[:, None]
        positives = positives - is_self.long()
    return (scaled * positive_key_sum).sum(dim=1), positives


class _LogSumExp(torch.autograd.Function):
    """Row-wise log-sum-exp of `scaled @ keys.T` without the excluded (and, given ids, the positive) columns."""

    @staticmethod
    def forward(
        ctx: Any, scaled: Tensor, keys: Tensor, exclude_index: Tensor | None, ids: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        result = scaled.new_empty(len(scaled))
        for rows in _chunks(len(scaled), len(keys)):
            logits = _chunk_logits(scaled, keys, exclude_index, ids, rows)
            peak = logits.amax(dim=1, keepdim=True)
            peak.masked_fill_(peak.isneginf(), 0.0)  # a row without any column: log 0, not nan
            result[rows] = logits.sub_(peak).exp_().sum(dim=1).log_().add_(peak[:, 0])
        ctx.save_for_backward(scaled, keys, result)
        ctx.exclude_index, ctx.ids = exclude_index, ids
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        scaled, keys, result = ctx.saved_tensors
        result = result.masked_fill(result.isneginf(), torch.inf)  # an empty row has no softmax: exp(-inf) = 0
        scaled_gradient, keys_gradient = torch.empty_like(scaled), torch.zeros_like(keys)
        with torch.autocast(scaled.device.type, enabled=False):
            for rows in _chunks(len(scaled), len(keys)):
                logits = _chunk_logits(scaled, keys, ctx.exclude_index, ctx.ids, rows)
                softmax = logits.sub_(result[rows, None]).exp_().mul_(gradient[rows, None])
                torch.mm(softmax, keys, out=scaled_gradient[rows])
                keys_gradient.addmm_(softmax.T, scaled[rows])
        return scaled_gradient, keys_gradient, None, None


def _chunks(n_queries: int, n_keys: int) -> list[slice]:
    rows = max(1, CHUNK_LOGITS // max(1, n_keys))
    return [slice(start, min(start + rows, n_queries)) for start in range(0, n_queries, rows)]


def _chunk_logits(
    scaled: Tensor, keys: Tensor, exclude_index: Tensor | None, ids: tuple[Tensor, Tensor] | None, rows: slice
) -> Tensor:
    logits = scaled[rows] @ keys.T  # [c, N]
    if ids is not None:
        logits.masked_fill_(ids[0][rows, None] == ids[1][None, :], -torch.inf)
    if exclude_index is not None:
        index = exclude_index[rows, None]
        kept = logits.gather(1, index.clamp(min=0))
        logits.scatter_(1, index.clamp(min=0), kept.masked_fill(index >= 0, -torch.inf))
    return logits


def _check_shapes(
    queries: Tensor,
    keys: Tensor,
    query_ids: Tensor,
    key_ids: Tensor,
    exclude_index: Tensor | None,
    own_keys: Tensor | None,
) -> None:
    n, n_keys, width = len(queries), len(keys), queries.shape[-1]
    expected = {"queries": (n, width), "keys": (n_keys, width), "query_ids": (n,), "key_ids": (n_keys,)}
    given: dict[str, Tensor | None] = {"queries": queries, "keys": keys, "query_ids": query_ids, "key_ids": key_ids}
    expected |= {"exclude_index": (n,), "own_keys": (n, width)}
    given |= {"exclude_index": exclude_index, "own_keys": own_keys}
    for name, tensor in given.items():
        if tensor is not None and tuple(tensor.shape) != expected[name]:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {expected[name]}")
    if not n_keys:
        raise ValueError("keys has no row; give at least one key")
