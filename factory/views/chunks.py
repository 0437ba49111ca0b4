"""Views that change some blocks of z and keep the others (BigBiGAN's z has 6, one for each scale; mi_ml_gen 2025)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from factory.views.latent import LatentSteps, space_of
from factory.views.laws import FloatArray, truncated_normal
from factory.views.protocol import Drawer, LatentSpace, Place
from factory.walks.file import Learned
from manifests.errors import UserError


class Chunks(LatentSteps):
    """A Gaussian step in chosen blocks of z alone."""

    name: Literal["chunks"] = Field(description="a Gaussian step in some blocks of z, which is cut into equal ones")
    blocks: int = Field(ge=2, le=1024, description="equal parts that z is cut into")
    perturb: tuple[int, ...] = Field(min_length=1, description="numbers of the blocks that change, from 0")
    sigma: float = Field(gt=0, le=100, description="standard deviation of the step, in units of τ")
    bound: float | None = Field(default=2.0, gt=0, le=8, description="cut of the step, in σ; null for none")

    @model_validator(mode="after")
    def _blocks_exist(self) -> Chunks:
        if not all(0 <= block < self.blocks for block in self.perturb):
            raise ValueError(f"perturb to name blocks from 0 to {self.blocks - 1}, not {list(self.perturb)}")
        return self

    def open(self, space: LatentSpace | None, learned: Learned | None = None) -> Drawer:
        known = space_of(space)
        if known.z_dim % self.blocks:
            raise UserError(f"strategy.blocks is {self.blocks}; expected a divisor of z's {known.z_dim} dimensions")
        return super().open(known, learned)

    def move(self, z: FloatArray, place: Place, space: LatentSpace) -> tuple[FloatArray, Mapping[str, Any]]:
        mask = np.zeros(self.blocks)
        mask[list(self.perturb)] = 1.0
        step = truncated_normal(place.view_seed, "step", space.z_dim, self.bound)
        moved = z + space.tau * self.sigma * step * np.repeat(mask, space.z_dim // self.blocks)
        return moved, {
            "sigma": self.sigma,
            "bound": self.bound,
            "blocks": list(self.perturb),
            "block_count": self.blocks,
        }
