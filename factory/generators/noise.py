"""The randomness of a view: its first noise and each step's, drawn on the CPU from the view's own seed.

So a view's noise depends on neither its neighbours, its slot, the device, nor what was rendered before.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from factory.generators.diffusion_config import DiffusionSource
from factory.generators.protocol import ViewRequest
from manifests.errors import UserError
from manifests.seeds import derive, normal


def first_noise(batch: Sequence[ViewRequest], shape: tuple[int, int, int]) -> torch.Tensor:
    """Draw the noise that sampling starts from, float32 [n, C, h, w]."""
    return torch.from_numpy(np.stack([_noise_of(request, shape) for request in batch]))


def _noise_of(request: ViewRequest, shape: tuple[int, int, int]) -> np.ndarray:
    """Draw a view's noise: its own, the group's, or (n_group + σ·n_own)/√(1 + σ²), of unit variance as well."""
    sigma = request.columns.get("sigma")
    if sigma is None:
        return normal(request.seed, "noise", shape)
    shared = normal(request.group_seed, "noise", shape)
    own = normal(request.seed, "noise", shape)
    return ((shared + np.float32(sigma) * own) / np.float32(math.sqrt(1.0 + sigma**2))).astype(np.float32)


def step_generators(batch: Sequence[ViewRequest]) -> list[torch.Generator]:
    """Make one CPU generator a view for what a stochastic scheduler adds in each step.

    torch seeds them with the lower 32 bits only; two views that share those still differ in their first noise.
    """
    return [torch.Generator("cpu").manual_seed(derive(request.seed, "steps")) for request in batch]


def make_scheduler(config: Mapping[str, Any], name: str, source: DiffusionSource) -> Any:
    """Build the scheduler that the source asks for from the folder's own configuration.

    Raises: UserError for options it does not have, and for those under which it cannot be seeded or run.
    """
    import diffusers

    cls = getattr(diffusers, name)
    known = set(inspect.signature(cls.__init__).parameters) - {"self"}
    if unknown := sorted(set(source.scheduler_options) - known):
        raise UserError(f"scheduler_options: {name} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    try:
        scheduler = cls.from_config(config, **source.scheduler_options)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UserError(f"scheduler_options: {name}: {' '.join(str(error).split())}") from None
    _check_seedable(scheduler, name, source)
    return scheduler


def _check_seedable(scheduler: Any, name: str, source: DiffusionSource) -> None:
    if scheduler.config.get("stochastic_sampling"):
        raise UserError(f"{name} with stochastic_sampling draws noise that no view's seed decides; switch it off")
    if source.eta and "eta" not in inspect.signature(scheduler.step).parameters:
        raise UserError(f"eta: got {source.eta}, but {name} adds no noise by eta; use DDIMScheduler or TCDScheduler")
    if scheduler.config.get("use_dynamic_shifting"):
        return  # needs the image's size to set its steps, and takes any number of them
    try:
        scheduler.set_timesteps(source.steps)
    except ValueError as error:
        raise UserError(f"steps: {name} cannot take {source.steps} steps ({' '.join(str(error).split())})") from None
