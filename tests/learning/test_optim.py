"""Parameter groups, and one optimizer step against a float64 calculation by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from learning.optim import adamw, parameter_groups, scaled_learning_rate, set_learning_rate, sgd


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


def test_the_learning_rate_is_linear_in_the_batch() -> None:
    assert scaled_learning_rate(2e-4, 8256) == pytest.approx(0.00645, abs=1e-12)


def test_set_learning_rate_reaches_every_group() -> None:
    optimizer = sgd(parameter_groups(model(), weight_decay=0.1), learning_rate=1.0)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_a_step_of_adamw_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([[2.0]], dtype=torch.float64))
    optimizer = adamw([{"params": [weight], "weight_decay": 0.1}], learning_rate=0.01, betas=(0.9, 0.98))
    weight.grad = torch.tensor([[3.0]], dtype=torch.float64)
    optimizer.step()
    assert weight.item() == pytest.approx(2.0 * (1 - 0.01 * 0.1) - 0.01 * 3.0 / (3.0 + 1e-8), abs=1e-15)


def test_two_steps_of_sgd_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([[2.0]], dtype=torch.float64))
    optimizer = sgd([{"params": [weight], "weight_decay": 0.1}], learning_rate=0.5, momentum=0.9)
    weight.grad = torch.tensor([[1.0]], dtype=torch.float64)
    optimizer.step()
    first = 2.0 - 0.5 * (1.0 + 0.1 * 2.0)
    assert weight.item() == pytest.approx(first, abs=1e-15)
    optimizer.step()
    assert weight.item() == pytest.approx(first - 0.5 * (0.9 * 1.2 + 1.0 + 0.1 * first), abs=1e-15)
