"""What the objectives and the loop ask of other ranks, beyond the collectives of learning.gather."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from learning.gather import all_gather, rank
from manifests.errors import UserError


def check_launch(processes: int, environment: Mapping[str, str]) -> None:
    """Refuse to be the one process that `accelerate launch --num_processes N` starts without several GPUs.

    It then names a meeting point for N processes (MASTER_ADDR) and starts one; training would go on, N times as slow.
    Raises: UserError with the command that starts them all.
    """
    if processes == 1 and environment.keys() >= {"MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"}:
        raise UserError(
            "accelerate launch was asked for several processes and started one, as it does without several GPUs;"
            " on CPUs: ACCELERATE_USE_CPU=true torchrun --nproc-per-node N -m trainer pretrain …;"
            " for one process: python -m trainer pretrain …"
        )


def own_columns(rows: int, device: torch.device) -> Tensor:
    """Return where this rank's rows lie among the gathered ones: the column of itself, for every anchor.

    Shapes: int64 [rows].
    """
    return rank() * rows + torch.arange(rows, device=device)


def of_first_rank(values: Tensor) -> Tensor:
    """Return what rank 0 drew, on every rank. Shapes: equal on all ranks."""
    return all_gather(values)[: len(values)]


def check_same_start(images_seen: int, device: torch.device, folder: str) -> None:
    """Refuse to go on from different checkpoints, as where nodes have no disk in common.

    Raises: UserError with both.
    """
    starts = all_gather(torch.tensor([images_seen], device=device)).tolist()
    if len(set(starts)) > 1:
        raise UserError(
            f"{folder}: this process would go on from {images_seen} images, the first one from {starts[0]}: give a "
            "folder that all nodes share, or a bucket's URL; or delete this node's copy of it"
        )


def check_same_weights(module: nn.Module) -> None:
    """Raise RuntimeError unless every parameter has the same sum on all ranks.

    Buffers are not compared: a batch-norm backbone normalises each rank's images by themselves.
    """
    with torch.no_grad():
        parameters = [p.detach() for p in module.parameters() if not isinstance(p, DTensor)]
        if not parameters:  # sharded: each weight is on one rank
            return
        sums = torch.stack([p.double().sum() for p in parameters])  # [P]
    by_rank = all_gather(sums[None])  # [world, P]
    if not torch.equal(by_rank, by_rank[:1].expand_as(by_rank)):
        raise RuntimeError("ranks hold different weights; some step was taken by some of them only: this is a bug")
