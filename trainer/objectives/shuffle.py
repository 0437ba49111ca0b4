"""Shuffled batch norm: a rank's keys are normalised among other ranks' images, so that statistics tell no positive.

Without it queries find their keys by what their batch norms have in common. Source: arXiv:1911.05722 section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from learning.gather import all_gather, rank, world_size
from trainer.distributed import of_first_rank


@torch.no_grad()
def through_shuffled(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Run images through a network in another order over all ranks, and hand back this rank's rows in theirs.

    The order is drawn by rank 0's generator, which every step is seeded; one process has nothing to shuffle with.
    Shapes: [n, …] -> [n, D].
    """
    if world_size() == 1:
        return network(images)
    everything, n = all_gather(images), len(images)
    order = of_first_rank(torch.randperm(len(everything), device="cpu").to(images.device))
    mine = slice(rank() * n, (rank() + 1) * n)
    rows = all_gather(network(everything[order[mine]]))  # [N, D], in the drawn order
    return rows[torch.argsort(order)[mine]]
