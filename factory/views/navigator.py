"""Views where a learned navigator goes: away from what an estimator can tell (COP-Gen, Li et al., NeurIPS 2022)."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from factory.views.latent import latent_draw, law_columns, space_of
from factory.views.laws import anchor, truncated_normal
from factory.views.protocol import Draw, Drawer, Family, FileKey, LatentSpace, Place, Subject
from factory.walks.file import Learned
from manifests.errors import UserError


class Navigator(BaseModel):
    """z' = z + τσ√D·T(z, n)/‖T(z, n)‖, with a noise n for each view: a step as long as the Gaussian's of that σ."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    FAMILIES: ClassVar[frozenset[Family]] = frozenset({"latent"})
    FILE: ClassVar[FileKey | None] = "navigator"

    name: Literal["navigator"] = Field(description="steps that a learned network chooses")
    navigator: str = Field(min_length=1, description="what `train-navigator` wrote, or builtin:emoji-navigator")

    def open(self, space: LatentSpace | None, learned: Learned | None = None) -> Drawer:
        known = space_of(space)
        assert learned is not None, "whoever opens a strategy reads its file first"
        if learned.dimensions != known.z_dim:
            raise UserError(
                f"{self.navigator}: steps of {learned.dimensions} numbers, but the generator's z has {known.z_dim}; "
                "train a navigator on this generator"
            )
        sigma = learned.facts.sigma or 0.0
        length = known.tau * sigma * math.sqrt(known.z_dim)

        def draw(place: Place, subject: Subject) -> Draw:
            z = anchor(place, known)
            if place.is_anchor:
                return latent_draw(place, known, z)
            noise = truncated_normal(place.view_seed, "step", known.z_dim, None)
            columns = {**law_columns(place, known), "sigma": sigma}
            return latent_draw(place, known, z + length * learned.navigate(z / known.tau, noise), columns)

        return draw
