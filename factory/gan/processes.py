"""Several processes, one a GPU, as Accelerate's launcher or torchrun starts them; without a launcher there is one."""

from __future__ import annotations

import os
from datetime import timedelta

import torch

PATIENCE = timedelta(hours=2)  # the first process measures and probes while the others wait


def join_processes() -> torch.device | None:
    """Join the processes that a launcher started and return this one's device; None where it started none."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    from accelerate import PartialState

    device: torch.device = PartialState(timeout=PATIENCE).device
    return device
