"""Views in a box around the anchor with the Gaussian's standard deviation (GenRep's "uniform ball")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from factory.views.latent import LatentSteps
from factory.views.laws import FloatArray, uniform_box
from factory.views.protocol import LatentSpace, Place


class Ball(LatentSteps):
    """z' = z + τσ·U(-√3, √3), each coordinate alone."""

    name: Literal["ball"] = Field(description="a uniform step from the anchor's z")
    sigma: float = Field(gt=0, le=100, description="standard deviation of the step, in units of τ")

    def move(self, z: FloatArray, place: Place, space: LatentSpace) -> tuple[FloatArray, Mapping[str, Any]]:
        step = uniform_box(place.view_seed, "step", space.z_dim)
        return z + space.tau * self.sigma * step, {"sigma": self.sigma}
