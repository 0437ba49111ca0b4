"""The optimizer that a config names, over parameter groups with decayed matrices and, if asked, slower early layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from learning.optim import parameter_groups
from trainer.config import OptimizerConfig
from trainer.objectives.objective import Objective

Group = dict[str, Any]


def build_optimizer(objective: Objective, config: OptimizerConfig, learning_rate: float) -> torch.optim.Optimizer:
    """Return the optimizer; its learning rate is written before every step."""
    groups = groups_of(objective, config)
    if config.name == "adamw":
        # fused: a third of the kernels, and the same numbers on every run
        return torch.optim.AdamW(groups, lr=learning_rate, betas=config.betas, fused=True)
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=config.momentum)
    from timm.optim import Lars, Muon

    built: torch.optim.Optimizer
    if config.name == "lars":  # no trust ratio for what is not decayed: biases and norms (arXiv:1708.03888)
        built = Lars(groups, lr=learning_rate, momentum=config.momentum)
    else:  # matrices; AdamW for the rest
        built = Muon(groups, lr=learning_rate, momentum=config.momentum, betas=config.betas)
    return built


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Write the rate into every group, each with its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("lr_scale", 1.0)


def groups_of(objective: Objective, config: OptimizerConfig) -> list[Group]:
    """Return the trainable parameters, cut by decay and, with `layer_decay`, by the depth of the backbone's layer."""
    if config.layer_decay == 1.0:
        return [dict(group) for group in objective.param_groups(config.weight_decay)]
    from timm.optim import param_groups_layer_decay

    backbone = objective.encoder.backbone
    deep = param_groups_layer_decay(backbone, config.weight_decay, layer_decay=config.layer_decay)
    known = {id(parameter) for parameter in backbone.parameters()}
    others = _Rest(parameter for parameter in objective.parameters() if id(parameter) not in known)
    heads = parameter_groups(others, weight_decay=config.weight_decay)
    return [*({k: v for k, v in group.items() if k != "param_names"} for group in deep), *(dict(one) for one in heads)]


class _Rest(nn.Module):
    """Parameters that a module of their own gives names to."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__()
        self.rest = nn.ParameterList(parameters)
