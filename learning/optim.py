"""Optimizers and their parameter groups; the learning rate is written in from a schedule before every step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NotRequired, TypedDict

import torch
from torch import nn


class ParameterGroup(TypedDict):
    params: list[nn.Parameter]
    weight_decay: float
    lr_scale: NotRequired[float]  # its learning rate, of the schedule's


def scaled_learning_rate(base: float, batch_images: int) -> float:
    """Return the learning rate of a batch from the one of 256 images, linearly (arXiv:1706.02677)."""
    return base * batch_images / 256


def parameter_groups(module: nn.Module, *, weight_decay: float) -> list[ParameterGroup]:
    """Return the trainable parameters in two groups: decayed matrices, and biases, norms and scalars that are not."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups: list[ParameterGroup] = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def adamw(
    groups: Iterable[ParameterGroup], *, learning_rate: float, betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.Optimizer:
    """Return AdamW in its fused form, which is a third of the kernels and the same numbers on every run."""
    return torch.optim.AdamW(_plain(groups), lr=learning_rate, betas=betas, fused=True)


def sgd(groups: Iterable[ParameterGroup], *, learning_rate: float, momentum: float = 0.9) -> torch.optim.Optimizer:
    """Return SGD with momentum; weight decay is added to the gradient, as in the contrastive papers."""
    return torch.optim.SGD(_plain(groups), lr=learning_rate, momentum=momentum)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Write one learning rate into every group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def _plain(groups: Iterable[ParameterGroup]) -> list[dict[str, Any]]:
    return [dict(group) for group in groups]
