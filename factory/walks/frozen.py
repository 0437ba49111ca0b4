"""A latent generator that is only asked, never trained: its seeded latents, its images, its images after a step.

What is drawn is a function of (seed, purpose, number): held-out latents have a purpose that nothing is learned from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from factory.generators.facts import SourceFacts, facts_of
from factory.generators.latent_config import LatentSource
from factory.generators.latent_folder import find
from factory.generators.latent_weights import load_network
from factory.views.laws import truncated_normal
from factory.walks.file import Learned, Space
from manifests import seeds, settings
from manifests.errors import UserError


class LatentLaw(BaseModel):
    """Which latents a walk is learned on: those that recipes draw."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    tau: float = Field(default=1.0, gt=0, le=10, description="scale of z's normal law")
    bound: float | None = Field(default=None, gt=0, le=8, description="cut of that law, in τ; null for none")
    psi: float = Field(default=1.0, ge=-2, le=2, description="truncation towards the mean, 1 is none")
    cutoff: int | None = Field(default=None, ge=0, description="truncate only so many of the coarsest style layers")
    noise: Literal["random", "const", "none"] = Field(default="random", description="StyleGAN2's noise inputs")


@dataclass(frozen=True)
class Latents:
    """What a batch of images is drawn from; two images of one row differ by a step alone.

    Shapes: z [n, z_dim] in units of τ; class_ids int64 [n]; noise [n, 1, h, w] a layer.
    """

    z: Tensor
    class_ids: Tensor | None
    noise: list[Tensor] | None


class Frozen:
    """A generator's network, the law of its latents, and its images as functions of latents and steps."""

    def __init__(self, network: Any, law: LatentLaw, device: torch.device, known: SourceFacts) -> None:
        self.network, self.law, self.device, self.known = network, law, device, known

    @classmethod
    def open(cls, model: str, law: LatentLaw, device: torch.device) -> Frozen:
        """Load a generator's folder.

        Raises: UserError for whatever is wrong with it.
        """
        source = settings.validated(LatentSource, {"family": "latent", "model": model, **law.model_dump()}, model)
        return cls(load_network(find(source), source, str(device)), law, device, facts_of(source))

    @property
    def sha256(self) -> str:
        """Return the fingerprint of the weights."""
        return self.known.fingerprint["sha256"]

    def dimensions(self, space: Space) -> int:
        """Return the length of a step."""
        widths = {"z": self.network.z_dim, "w": self.network.w_dim}
        return int(widths.get(space, self.network.w_dim * self.network.num_layers))

    def latents(self, seed: int, purpose: str, number: int, count: int) -> Latents:
        """Draw a batch of latents; classes come equally often in the mean."""
        own = seeds.derive(seed, f"{purpose}/{number}")
        z = truncated_normal(own, "z", count * self.network.z_dim, self.law.bound).reshape(count, -1)
        return Latents(self._tensor(z), self._class_ids(own, count), self._noise(own, count))

    def images(self, latents: Latents, step: Tensor | None = None, space: Space = "z") -> Tensor:
        """Draw images, differentiable in the step: of z in units of τ, or of the styles.

        Shapes: step [n, dimensions]; returns [n, 3, H, W].
        """
        z, psi = latents.z, latents.z.new_full((len(latents.z),), self.law.psi)
        if step is not None and space == "z":
            z = z + step
        ws = self.network.map(self.law.tau * z, latents.class_ids, psi, self.law.cutoff)  # [n, layers, w_dim]
        if step is not None and space != "z":
            ws = ws + step.view(len(ws), -1, self.network.w_dim)
        images: Tensor = self.network.synthesize(ws, latents.class_ids, psi, latents.noise)
        return images

    def _class_ids(self, seed: int, count: int) -> Tensor | None:
        classes = self.network.num_classes
        return torch.from_numpy(seeds.integers(seed, "class", classes, count)).to(self.device) if classes else None

    def _noise(self, seed: int, count: int) -> list[Tensor] | None:
        if self.law.noise == "none" or not self.network.noise_shapes:
            return None
        if self.law.noise == "const":
            own = self.network.constant_noise()
            return None if own is None else [one.expand(count, -1, -1, -1) for one in own]
        shapes = self.network.noise_shapes
        return [self._tensor(seeds.normal(seed, f"noise/{i}", (count, 1, *shape))) for i, shape in enumerate(shapes)]

    def _tensor(self, values: Any) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(self.device)


def open_learned(model: str, learned: Learned, where: str) -> Frozen:
    """Open a generator under the law that a file was learned with.

    Raises: UserError where the file was learned on another generator.
    """
    config = learned.facts.made_by.get("config")
    law = settings.validated(LatentLaw, (config or {}).get("latents", {}), f"{where}: made_by.config.latents")
    frozen = Frozen.open(model, law, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if frozen.sha256 != learned.facts.generator_sha256:
        raise UserError(
            f"{where}: learned on the generator {learned.facts.generator_sha256[:12]}, but {model} is "
            f"{frozen.sha256[:12]}; name its own generator, or learn again on this one"
        )
    return frozen


def shown(images: Tensor) -> Tensor:
    """Round to the pixels that a data set would hold, uint8 [n, 3, H, W]."""
    return images.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
