"""Collectives with the gradients that contrastive losses need; without a process group each is the identity.

all_gather's backward sums what every rank says about this rank's rows (reduce-scatter), so that local anchors against
gathered keys, scaled by `share_of_global_mean` and averaged by DDP, give the gradient of one process exactly.
A mean in the backward, or no gradient through the gather, turns the gradient (cosine .6 to .99), and Adam hides it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# torch 2.14 renamed these two and warns at every call of the old names.
_all_gather_single = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter_single = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


def world_size() -> int:
    """Return the number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number, 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def collective_device() -> torch.device:
    """Return where tensors must lie to be sent: NCCL knows GPUs only."""
    is_joined = dist.is_available() and dist.is_initialized()
    is_cuda = is_joined and "nccl" in str(dist.get_backend())
    return torch.device("cuda", torch.cuda.current_device()) if is_cuda else torch.device("cpu")


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if world_size() > 1:
        dist.barrier()


def all_gather(tensor: Tensor) -> Tensor:
    """Return every rank's rows in the order of ranks, differentiable where the dtype is.

    Shapes: [n, ...] on every rank -> [world * n, ...].
    Raises: ValueError when the ranks bring unequal numbers of rows (on a GPU: a device-side assertion, without a sync).
    """
    if world_size() == 1:
        return tensor
    _check_equal_rows(tensor)
    gathered: Tensor = _AllGather.apply(tensor)
    return gathered


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Return the sum over ranks as a new tensor, without a gradient."""
    total = tensor.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total, op=dist.ReduceOp.SUM)
    return total


def share_of_global_mean(total: Tensor, count: Tensor) -> Tensor:
    """Return this rank's `total` over the mean number of `count` per rank: DDP's average of it is the global mean.

    Without any counted anchor on any rank the share is 0 (and still part of the graph, as DDP needs).
    """
    return total * (world_size() / all_reduce_sum(count).clamp(min=1).to(total.dtype))


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        gathered = tensor.new_empty(world_size() * len(tensor), *tensor.shape[1:])
        _all_gather_single(gathered, tensor.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        own = gradient.new_empty(len(gradient) // world_size(), *gradient.shape[1:])
        _reduce_scatter_single(own, gradient.contiguous(), op=dist.ReduceOp.SUM)
        return own


def _check_equal_rows(tensor: Tensor) -> None:
    """Compare row counts first: a gather of unequal ones hangs or mixes rows up."""
    rows = torch.tensor([len(tensor)], device=tensor.device)
    rows_by_rank = rows.new_empty(world_size())
    _all_gather_single(rows_by_rank, rows)
    if tensor.is_cuda:
        torch._assert_async((rows_by_rank == len(tensor)).all())
    elif (rows_by_rank != len(tensor)).any():
        raise ValueError(
            f"all_gather needs equally many rows on every rank, got {rows_by_rank.tolist()}; "
            "give every rank batches of one size (drop the last, shorter one)"
        )
