"""An exponential moving average of a module: parameters are averaged, buffers (running statistics, counters) copied.

Batch-norm statistics are averages already and would lag twice; counters cannot be averaged.
Call `update` after an optimizer step that was really taken, with the decay from `schedule.ema_decay`.
"""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


class Ema(Generic[Module]):
    """Holds `module`, the averaged copy: in evaluation mode, without gradients."""

    def __init__(self, module: Module) -> None:
        self.module: Module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module, decay: float) -> None:
        """Move the average towards `module` (unwrapped): average = decay * average + (1 - decay) * parameter."""
        averages, parameters = dict(self.module.named_parameters()), dict(module.named_parameters())
        buffers = dict(module.named_buffers())
        _check_names(list(averages), list(parameters))
        torch._foreach_lerp_(list(averages.values()), [parameters[name] for name in averages], 1 - decay)
        for name, buffer in self.module.named_buffers():
            buffer.copy_(buffers[name])

    def state_dict(self) -> dict[str, Tensor]:
        return self.module.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.module.load_state_dict(state)


def _check_names(averaged: list[str], given: list[str]) -> None:
    if averaged != given:
        difference = sorted(set(averaged) ^ set(given))
        raise ValueError(
            f"the module's parameters are not the averaged ones, they differ in {difference[:4]}; "
            "give the module itself, without its DDP or compile wrapper"
        )
