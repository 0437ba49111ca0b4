"""The average equals its closed form; buffers are copied."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from learning.ema import Ema


def norm_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).double()


def set_all(module: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)


def test_the_average_is_the_closed_form() -> None:
    model, decay = norm_model(), 0.9
    set_all(model, 5.0)
    ema = Ema(model)
    for value in range(1, 9):
        set_all(model, float(value))
        ema.update(model, decay)
    expected = decay**8 * 5.0 + sum((1 - decay) * decay ** (8 - value) * value for value in range(1, 9))
    for average in ema.module.parameters():
        torch.testing.assert_close(average.detach(), torch.full_like(average, expected), rtol=0, atol=1e-14)


def test_decay_zero_copies_and_decay_one_stays() -> None:
    model = norm_model()
    ema = Ema(model)
    set_all(model, 3.0)
    ema.update(model, 1.0)
    assert not any((average == 3.0).all() for average in ema.module.parameters())
    ema.update(model, 0.0)
    assert all((average == 3.0).all() for average in ema.module.parameters())


def test_buffers_are_copied_not_averaged() -> None:
    model = norm_model()
    ema = Ema(model)
    model(torch.randn(16, 3, dtype=torch.float64))
    ema.update(model, 0.999)
    for average, buffer in zip(ema.module.buffers(), model.buffers(), strict=True):
        assert torch.equal(average, buffer)
    assert ema.module[1].num_batches_tracked == 1


def test_the_average_has_no_gradient_and_shares_no_memory() -> None:
    model = norm_model()
    ema = Ema(model)
    assert not any(average.requires_grad for average in ema.module.parameters())
    assert not ema.module.training
    set_all(model, 9.0)
    assert not any((average == 9.0).all() for average in ema.module.parameters())


def test_the_state_comes_back() -> None:
    model = norm_model()
    ema = Ema(model)
    set_all(model, 1.0)
    ema.update(model, 0.5)
    other = Ema(norm_model())
    other.load_state_dict(ema.state_dict())
    for mine, expected in zip(other.module.parameters(), ema.module.parameters(), strict=True):
        assert torch.equal(mine, expected)


def test_another_module_is_refused_by_the_names_that_differ() -> None:
    with pytest.raises(ValueError, match=r"differ in \['0.0.0.bias', '0.0.0.weight', '0.0.1.bias'"):
        Ema(norm_model()).update(nn.Sequential(nn.Sequential(norm_model())), 0.9)
