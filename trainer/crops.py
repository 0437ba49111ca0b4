"""Stored pixels -> the crops that an objective asked for, on the training device, each by a seed of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from learning.augment import augment, jigsaw
from trainer.config import RunConfig
from trainer.objectives.inputs import Crop, Inputs
from trainer.objectives.objective import Objective
from trainer.order import sample_seeds
from trainer.stream import Batch


def build_inputs(batch: Batch, objective: Objective, config: RunConfig, device: torch.device) -> Inputs:
    """Augment every image of a batch as often, and as, the objective asks."""
    m = batch.images.shape[1]
    pixels = batch.images.to(device, non_blocking=True).flatten(0, 1).permute(0, 3, 1, 2)  # [b·m, 3, H, W]
    kinds = enumerate(objective.crops)
    crops = tuple(
        _copies(pixels, _seeds(batch, kind, crop, config).to(device), crop, objective) for kind, crop in kinds
    )
    images = batch.positions[:, None] * m + torch.arange(m)
    return Inputs(
        crops=crops,
        ids=batch.ids.repeat_interleave(m).to(device),
        images=images.reshape(-1).to(device),
        rows=batch.rows.reshape(-1).to(device),
        labels=batch.labels.repeat_interleave(m).to(device),
        tokens=None if batch.tokens is None else batch.tokens.to(device),
        views=m,
        targets=None if batch.targets is None else batch.targets.flatten(0, 1).to(device),
        class_ids=None if batch.class_ids is None else batch.class_ids.flatten().to(device),
    )


def _seeds(batch: Batch, kind: int, crop: Crop, config: RunConfig) -> Tensor:
    """Draw int64 [count, b·m]."""
    b, m = batch.images.shape[:2]
    purpose = f"augment/{kind}" if kind else "augment"
    drawn = sample_seeds(config.seed, batch.positions.numpy(), crop.count * m, purpose)  # [b, count·m]
    return torch.from_numpy(drawn).view(b, crop.count, m).transpose(0, 1).reshape(crop.count, b * m)


def _copies(pixels: Tensor, seeds: Tensor, crop: Crop, objective: Objective) -> Tensor:
    """Return float [count, n, 3, S, S] as the encoder wants it, or [count, n, P, 3, s, s] where it is cut."""
    copies = [augment(pixels, of_copy, crop.augmentation, crop.size_px) for of_copy in seeds]
    if not crop.grid:
        return torch.stack([_laid_out(objective.encoder.normalize(images)) for images in copies])
    cut = [jigsaw(images, of_copy, crop.grid, crop.patch_px) for images, of_copy in zip(copies, seeds, strict=True)]
    return torch.stack([objective.encoder.normalize(patches) for patches in cut])


def _laid_out(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)
