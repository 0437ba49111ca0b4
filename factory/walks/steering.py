"""Learns walks: vectors, and a network for crops, whose steps make a frozen generator draw its own image edited.

Loss, GenRep eq. 4: Σ mask · (G(z + step(α)) - edit(G(z), α))² / Σ mask, all walks at once on composed edits.
Invariant: latents and α are functions of (seed, images_seen).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from factory.walks.config import WalksConfig
from factory.walks.edits import edited
from factory.walks.file import AlphaLaw
from factory.walks.frozen import Frozen
from factory.walks.transforms import CROP
from manifests import seeds

CROP_IDENTITY = {"crop_x": 0.0, "crop_y": 0.0, "crop_area": 1.0, "crop_aspect": 0.0}


class Walks(nn.Module):
    """A vector a walk, and a network from z and the crop's numbers to the crop's step."""

    def __init__(self, names: tuple[str, ...], z_dim: int, dimensions: int, config: WalksConfig) -> None:
        super().__init__()
        torch.manual_seed(config.seed)
        self.names = tuple(name for name in names if name not in CROP)
        self.inputs = tuple(name for name in names if name in CROP)
        self.directions = nn.Parameter(config.init_std * torch.randn(len(self.names), dimensions))
        self.network: Any = _mlp(z_dim + len(self.inputs), config.hidden, dimensions) if self.inputs else None

    def forward(self, z: Tensor, alphas: Mapping[str, Tensor]) -> Tensor:
        """Return the common step, [n, dimensions]."""
        step = z.new_zeros(len(z), self.directions.shape[1])
        if self.names:
            step = torch.stack([alphas[name] for name in self.names], dim=1) @ self.directions
        if self.network is not None:
            given = torch.stack([alphas[name] for name in self.inputs], dim=1)
            step = step + self.network(torch.cat([z, given], dim=1))
        return step

    def arrays(self, kept: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Return the arrays of a file that holds only some of the walks."""
        rows = dict(zip(self.names, self.directions.detach().cpu().numpy(), strict=True))
        arrays = {f"direction/{name}": row.copy() for name, row in rows.items() if name in kept}
        if self.network is not None and set(self.inputs) <= set(kept):
            arrays |= layer_arrays(self.network)
        return arrays


class Steering:
    """The objective of the walks of one generator."""

    def __init__(self, frozen: Frozen, config: WalksConfig) -> None:
        self.frozen, self.config, self.laws = frozen, config, config.chosen_laws()
        dimensions = frozen.dimensions(config.space)
        self.walks = Walks(tuple(self.laws), frozen.network.z_dim, dimensions, config).to(frozen.device)

    def parameters(self) -> list[nn.Parameter]:
        return list(self.walks.parameters())

    def loss(self, images_seen: int, batch_images: int) -> tuple[Tensor, dict[str, float]]:
        latents = self.frozen.latents(self.config.seed, "walks", images_seen, batch_images)
        own = seeds.derive(self.config.seed, f"alphas/{images_seen}")
        alphas = draw_alphas(self.laws, own, batch_images, self.frozen.device, self.config.active)
        with torch.no_grad():
            images = self.frozen.images(latents)
            wanted, mask = edited(images, alphas)
            still = masked_error(images, wanted, mask)
        moved = self.frozen.images(latents, self.walks(latents.z, alphas), self.config.space)
        return masked_error(moved, wanted, mask), {"loss_without_step": still.item()}

    def after_step(self, images_seen: int, batch_images: int) -> None:
        """Nothing is averaged."""

    def state(self) -> dict[str, Any]:
        return self.walks.state_dict()

    def load(self, state: dict[str, Any]) -> None:
        self.walks.load_state_dict(state)


def masked_error(images: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared difference where the edit is known."""
    return (mask * (images - wanted).square()).sum() / (images.shape[1] * mask.sum()).clamp(min=1)


def draw_alphas(
    laws: Mapping[str, AlphaLaw], seed: int, count: int, device: torch.device, active: float = 1.0
) -> dict[str, Tensor]:
    """Draw every walk's α from its law; with `active` below 1, each walk is left out of some of the edits."""
    alphas = {}
    for name, law in laws.items():
        drawn = law.at(seeds.uniform(seed, name, count))
        if active < 1:
            group = "crop" if name in CROP else name
            is_active = seeds.uniform(seed, f"active/{group}", count) < active
            drawn = np.where(is_active, drawn, CROP_IDENTITY.get(name, 0.0))
        alphas[name] = torch.from_numpy(drawn.astype(np.float32)).to(device)
    return alphas


def layer_arrays(network: nn.Module) -> dict[str, np.ndarray]:
    """Name the arrays of a chain of linear layers as files do."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    named = [(i, part, getattr(layer, part)) for i, layer in enumerate(layers) for part in ("weight", "bias")]
    return {f"layer/{i}/{part}": values.detach().cpu().numpy().copy() for i, part, values in named}


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )
