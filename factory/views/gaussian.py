"""Views in a Gaussian ball around the anchor (GenRep, Jahanian et al. 2022, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from factory.views.latent import LatentSteps
from factory.views.laws import FloatArray, truncated_normal
from factory.views.protocol import LatentSpace, Place


class Gaussian(LatentSteps):
    """z' = z + τσ·TN(0, 1; ±bound)."""

    name: Literal["gaussian"] = Field(description="a Gaussian step from the anchor's z")
    sigma: float = Field(gt=0, le=100, description="standard deviation of the step, in units of τ")
    bound: float | None = Field(default=2.0, gt=0, le=8, description="cut of the step, in σ; null for none")

    def move(self, z: FloatArray, place: Place, space: LatentSpace) -> tuple[FloatArray, Mapping[str, Any]]:
        step = truncated_normal(place.view_seed, "step", space.z_dim, self.bound)
        return z + space.tau * self.sigma * step, {"sigma": self.sigma, "bound": self.bound}
