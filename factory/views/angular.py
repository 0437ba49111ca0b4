"""Views on the sphere of the anchor: another direction, the same length (GenRep's "angular" strategy)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from factory.views.latent import LatentSteps
from factory.views.laws import FloatArray, truncated_normal
from factory.views.protocol import LatentSpace, Place


class Angular(LatentSteps):
    """z' = ‖z‖·(z + w)/‖z + w‖ with w = τσ·TN(0, 1; ±bound); the norms are of one vector, not of a batch."""

    name: Literal["angular"] = Field(description="a Gaussian step, brought back to the anchor's length")
    sigma: float = Field(gt=0, le=100, description="standard deviation of the step, in units of τ")
    bound: float | None = Field(default=2.0, gt=0, le=8, description="cut of the step, in σ; null for none")

    def move(self, z: FloatArray, place: Place, space: LatentSpace) -> tuple[FloatArray, Mapping[str, Any]]:
        moved = z + space.tau * self.sigma * truncated_normal(place.view_seed, "step", space.z_dim, self.bound)
        length = float(np.linalg.norm(z) / np.linalg.norm(moved))
        return length * moved, {"sigma": self.sigma, "bound": self.bound}
