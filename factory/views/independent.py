"""Views that share their prompt or class and nothing else (StableRep, Tian et al. 2023; GenRep's "independent")."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from factory.views.latent import latent_draw
from factory.views.laws import anchor, fresh
from factory.views.protocol import Draw, Drawer, Family, FileKey, LatentSpace, Place, Subject
from factory.walks.file import Learned


class Independent(BaseModel):
    """One prompt or class; each view has a noise or a latent of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    FAMILIES: ClassVar[frozenset[Family]] = frozenset({"diffusion", "latent"})
    FILE: ClassVar[FileKey | None] = None

    name: Literal["independent"] = Field(
        default="independent", description="one prompt or class; own noise or latent for each view"
    )

    def open(self, space: LatentSpace | None, learned: Learned | None = None) -> Drawer:
        def draw(place: Place, subject: Subject) -> Draw:
            if space is None:
                return Draw(seed=place.view_seed)
            return latent_draw(place, space, anchor(place, space) if place.is_anchor else fresh(place.view_seed, space))

        return draw
