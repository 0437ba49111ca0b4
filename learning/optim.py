"""Parameter groups as optimizers take them: what is decayed, and what is not."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from torch import nn


class ParameterGroup(TypedDict):
    params: list[nn.Parameter]
    weight_decay: float
    lr_scale: NotRequired[float]  # its learning rate, of the schedule's


def parameter_groups(module: nn.Module, *, weight_decay: float) -> list[ParameterGroup]:
    """Return the trainable parameters in two groups: decayed matrices, and biases, norms and scalars that are not."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups: list[ParameterGroup] = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
