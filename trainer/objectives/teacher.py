"""A slow copy of encoder and heads that no gradient moves: MoCo's key encoder, BYOL's target, SynCLR's teacher."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn


class Teacher(nn.Module):
    """An exponential moving average of student modules, in training mode: its batch norms see its own crops.

    Source: arXiv:1911.05722 eq. 2.
    """

    def __init__(self, **students: nn.Module) -> None:
        super().__init__()
        self.modules_by_name: Any = nn.ModuleDict(
            {name: copy.deepcopy(student).requires_grad_(False) for name, student in students.items()}
        )

    def __getitem__(self, name: str) -> nn.Module:
        module: nn.Module = self.modules_by_name[name]
        return module

    @torch.no_grad()
    def follow(self, momentum: float, **students: nn.Module) -> None:
        """Move towards the students: teacher = momentum · teacher + (1 - momentum) · student."""
        for name, student in students.items():
            own: list[Tensor] = list(self[name].parameters())
            theirs: list[Tensor] = list(student.parameters())
            torch._foreach_lerp_(own, theirs, 1 - momentum)


def rising_momentum(images_seen: int, total_images: int, start: float) -> float:
    """Return the momentum on half a cosine from `start` to 1. Source: BYOL, arXiv:2006.07733 section 3.2."""
    progress = min(images_seen / total_images, 1.0)
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2


def unit(rows: Tensor) -> Tensor:
    """Return rows of unit length in float32 or better."""
    return nn.functional.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=-1)
