"""Batches larger than memory: features in parts without a graph, the loss over all of them, then the parts once more.

The gradient is that of the whole batch, to the bit that its sums are rounded to: the cut lies at the backbone's output,
so heads and their batch norm see everything at once. Source: GradCache, arXiv:2101.06983 section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from learning.gather import world_size
from manifests.errors import UserError
from trainer.objectives.inputs import Inputs
from trainer.objectives.objective import Features, Objective, Report

Autocast = Callable[[], AbstractContextManager[object]]


def cached_backward(
    objective: Objective, inputs: Inputs, groups_at_a_time: int, seed: int, autocast: Autocast, scale: float = 1.0
) -> tuple[Tensor, Report]:
    """Accumulate the gradient of the global batch, averaged over ranks, and return the loss and its report.

    `scale` multiplies the gradient, as a scaler of half precision wants it.
    """
    parts = list(_parts(inputs, groups_at_a_time))
    with torch.no_grad(), autocast():
        kept = [_features(objective, part, seed + place) for place, part in enumerate(parts)]
    leaves = tuple(_leaf(torch.cat(of_kind, dim=1)) for of_kind in zip(*kept, strict=True))
    torch.manual_seed(seed - 1)
    with autocast():
        loss, report = objective.loss(leaves, inputs)
    torch.autograd.backward(loss * scale)
    starts = [0] * len(leaves)
    for place, part in enumerate(parts):
        with autocast():
            features = _features(objective, part, seed + place)
        _carry_back(features, leaves, starts)
    _average_gradients(objective)
    return loss.detach(), report


def check_cacheable(objective: Objective) -> None:
    """Refuse a backbone whose features depend on what else is in the part.

    Raises: UserError.
    """
    norms = [
        name for name, part in objective.encoder.named_modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)
    ]
    if norms:
        raise UserError(
            f"cache_groups: {objective.encoder.architecture} normalises over the batch ({norms[0]}), so that parts of "
            "it have other features than the whole; take a backbone with layer or group norm, or a smaller batch"
        )


def _parts(inputs: Inputs, groups_at_a_time: int) -> Iterator[Inputs]:
    for start in range(0, inputs.groups, groups_at_a_time):
        yield inputs.part(slice(start, min(start + groups_at_a_time, inputs.groups)))


def _features(objective: Objective, part: Inputs, seed: int) -> Features:
    torch.manual_seed(seed)  # dropout and masks are drawn alike both times
    return objective.features(part)


def _leaf(features: Tensor) -> Tensor:
    return features.detach().requires_grad_(features.is_floating_point())


def _carry_back(features: Features, leaves: Features, starts: list[int]) -> None:
    """Go on backwards from the loss's gradient at the part's features."""
    outputs, gradients = [], []
    for kind, (part, leaf) in enumerate(zip(features, leaves, strict=True)):
        rows = slice(starts[kind], starts[kind] + part.shape[1])
        starts[kind] = rows.stop
        if part.requires_grad and leaf.grad is not None:
            outputs.append(part)
            gradients.append(leaf.grad[:, rows].to(part.dtype))
    torch.autograd.backward(outputs, gradients)


def _average_gradients(module: nn.Module) -> None:
    """Average over ranks, as DDP would have: its hooks do not know of several backward passes over different parts."""
    world = world_size()
    if world == 1:
        return
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat, op=dist.ReduceOp.SUM)
    flat /= world
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()
