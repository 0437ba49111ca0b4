"""Views along learned directions: shift, zoom, rotation, colour, or what SimCLR's augmentation does (GenRep, 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from factory.views.latent import latent_draw, law_columns, space_of
from factory.views.laws import FloatArray, anchor, between, vector
from factory.views.protocol import Draw, Drawer, Edit, Family, FileKey, LatentSpace, Place, Subject
from factory.walks.file import Learned
from manifests.errors import UserError


class Steer(BaseModel):
    """z' = z + Σ α·direction, with α drawn for each view from the law under which the direction was learned."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    FAMILIES: ClassVar[frozenset[Family]] = frozenset({"latent"})
    FILE: ClassVar[FileKey | None] = "walks"

    name: Literal["steer"] = Field(description="steps along learned directions")
    walks: str = Field(min_length=1, description="what `train-walks` wrote, or builtin:emoji-walks")
    along: tuple[str, ...] | None = Field(default=None, min_length=1, description="which directions; default: all")
    scale: float = Field(default=1.0, gt=0, le=100, description="multiplies every α")

    def open(self, space: LatentSpace | None, learned: Learned | None = None) -> Drawer:
        known = space_of(space)
        assert learned is not None, "whoever opens a strategy reads its file first"
        names = self._names(learned)
        in_w = learned.facts.space == "w"
        _check_length(self.walks, learned, known.w_dim if in_w else known.z_dim)

        def draw(place: Place, subject: Subject) -> Draw:
            z = anchor(place, known)
            if place.is_anchor:
                return latent_draw(place, known, z)
            alphas = [self._alpha(learned, name, place) for name in names]
            columns = {**law_columns(place, known), "walks": list(names), "alphas": alphas}
            step = _sum(learned, names, alphas)
            if not in_w:
                return latent_draw(place, known, z + step, columns)
            edit = Edit("add", vector(step), 0, known.num_layers - 1)
            return Draw(place.view_seed, vector(z), edit, columns=columns)

        return draw

    def _names(self, learned: Learned) -> tuple[str, ...]:
        names = self.along or learned.names
        if unknown := [name for name in names if name not in learned.names]:
            raise UserError(f"strategy.along: {self.walks} has no {unknown[0]!r}; it has {', '.join(learned.names)}")
        return names

    def _alpha(self, learned: Learned, name: str, place: Place) -> float:
        law = learned.facts.laws[name]
        return self.scale * between(place.view_seed, f"alpha/{name}", law.low, law.high)


def _sum(learned: Learned, names: Sequence[str], alphas: Sequence[float]) -> FloatArray:
    total = np.zeros(learned.dimensions)
    for name, alpha in zip(names, alphas, strict=True):
        total = total + alpha * learned.direction(name)
    return total


def _check_length(where: str, learned: Learned, expected: int) -> None:
    if learned.dimensions != expected:
        raise UserError(
            f"{where}: steps of {learned.dimensions} numbers, but the generator's {learned.facts.space} has "
            f"{expected}; learn walks on this generator"
        )
