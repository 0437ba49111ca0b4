"""Which weights are decayed."""

from __future__ import annotations

import torch
from torch import nn

from learning.optim import parameter_groups


def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2), nn.LayerNorm(2))


def test_only_matrices_are_decayed() -> None:
    net = model()
    net.register_parameter("logit_scale", nn.Parameter(torch.tensor(2.6)))
    decayed, free = parameter_groups(net, weight_decay=0.1)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3, 3, 3), (2, 4)]
    assert len(decayed["params"]) + len(free["params"]) == len(list(net.parameters()))
    assert any(p is net.logit_scale for p in free["params"])


def test_frozen_parameters_and_empty_groups_are_left_out() -> None:
    net = nn.Linear(2, 2)
    net.bias.requires_grad_(False)
    (group,) = parameter_groups(net, weight_decay=0.1)
    assert [p is net.weight for p in group["params"]] == [True]
