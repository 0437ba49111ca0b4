"""What the strategies that move an anchor's z have in common: view 0 is the anchor, the others are steps from it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from factory.views.laws import FloatArray, anchor, psi_of, vector
from factory.views.protocol import Draw, Drawer, Family, FileKey, LatentSpace, Place, Subject
from factory.walks.file import Learned
from manifests.errors import UserError


class LatentSteps(BaseModel):
    """Views that are steps from one anchor in z."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    FAMILIES: ClassVar[frozenset[Family]] = frozenset({"latent"})
    FILE: ClassVar[FileKey | None] = None

    @abstractmethod
    def move(self, z: FloatArray, place: Place, space: LatentSpace) -> tuple[FloatArray, Mapping[str, Any]]:
        """Return a view's z and the columns that say how it came about."""

    def open(self, space: LatentSpace | None, learned: Learned | None = None) -> Drawer:
        known = space_of(space)

        def draw(place: Place, subject: Subject) -> Draw:
            z = anchor(place, known)
            if place.is_anchor:
                return latent_draw(place, known, z)
            return latent_draw(place, known, *self.move(z, place, known))

        return draw


def latent_draw(place: Place, space: LatentSpace, z: FloatArray, columns: Mapping[str, Any] = {}) -> Draw:
    """Return the draw of a view whose z is decided."""
    return Draw(place.view_seed, latent=vector(z), columns={**law_columns(place, space), **columns})


def law_columns(place: Place, space: LatentSpace) -> dict[str, Any]:
    """Return what the row says of the anchors' law and the view's truncation."""
    return {"tau": space.tau, "anchor_bound": space.bound, "psi": psi_of(place, space)}


def space_of(space: LatentSpace | None) -> LatentSpace:
    """Refuse a generator without a latent space.

    Raises: UserError.
    """
    if space is None:
        raise UserError("this strategy moves latent vectors, which a generator driven by prompts has none of")
    return space
