"""Views that are one image: what makes positives is left to the trainer's augmentation (GenRep's "no latent view")."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from factory.views.latent import latent_draw
from factory.views.laws import fresh
from factory.views.protocol import Draw, Drawer, Family, FileKey, LatentSpace, Place, Subject
from factory.walks.file import Learned
from manifests.seeds import view_seed


class Same(BaseModel):
    """One latent, one noise, k equal images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    FAMILIES: ClassVar[frozenset[Family]] = frozenset({"diffusion", "latent"})
    FILE: ClassVar[FileKey | None] = None

    name: Literal["none"] = Field(description="one image for all views; the augmentation alone makes them differ")

    def open(self, space: LatentSpace | None, learned: Learned | None = None) -> Drawer:
        def draw(place: Place, subject: Subject) -> Draw:
            first = Place(place.seed, place.group, 0, place.attempt)  # all are refused together and rolled together
            if space is None:
                return Draw(seed=view_seed(first.seed, first.group, 0, first.attempt))
            z = fresh(first.group_seed if first.attempt == 0 else first.view_seed, space)
            return latent_draw(first, space, z)

        return draw
