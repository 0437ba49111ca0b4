"""Views along learned directions: shift, zoom, rotation, colour, or what SimCLR's augmentation does (GenRep, 4.2)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from factory.views.latent import latent_draw, law_columns, space_of
from factory.views.laws import anchor, vector
from factory.views.protocol import Draw, Drawer, Edit, Family, FileKey, LatentSpace, Place, Subject
from factory.walks.file import Learned
from manifests import seeds
from manifests.errors import UserError


class Steer(BaseModel):
    """z' = z + Σ α·direction, with α drawn for each view from the law under which the direction was learned."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    FAMILIES: ClassVar[frozenset[Family]] = frozenset({"latent"})
    FILE: ClassVar[FileKey | None] = "walks"

    name: Literal["steer"] = Field(description="steps along learned directions")
    walks: str = Field(min_length=1, description="what `train-walks` wrote, or builtin:emoji-walks")
    along: tuple[str, ...] | None = Field(default=None, min_length=1, description="which directions; default: all")
    scale: float = Field(default=1.0, gt=0, le=100, description="multiplies every α but those of a crop")

    def open(self, space: LatentSpace | None, learned: Learned | None = None) -> Drawer:
        known = space_of(space)
        assert learned is not None, "whoever opens a strategy reads its file first"
        names = self._names(learned)
        _check_sizes(self.walks, learned, known)

        def draw(place: Place, subject: Subject) -> Draw:
            z = anchor(place, known)
            if place.is_anchor:
                return latent_draw(place, known, z)
            alphas = {name: self._alpha(learned, name, place) for name in names}
            columns = {**law_columns(place, known), "walks": list(names), "alphas": list(alphas.values())}
            step = learned.step(z / known.tau, alphas)
            if learned.facts.space == "z":
                return latent_draw(place, known, z + known.tau * step, columns)
            edit = Edit("add", vector(step), 0, known.num_layers - 1)
            return Draw(place.view_seed, vector(z), edit, columns=columns)

        return draw

    def _names(self, learned: Learned) -> tuple[str, ...]:
        names, inputs = self.along or learned.names, learned.facts.inputs
        if unknown := [name for name in names if name not in learned.names]:
            raise UserError(f"strategy.along: {self.walks} has no {unknown[0]!r}; it has {', '.join(learned.names)}")
        if (missing := [name for name in inputs if name not in names]) and len(missing) < len(inputs):
            raise UserError(f"strategy.along: {missing[0]!r} is missing: {', '.join(inputs)} are one walk")
        return names

    def _alpha(self, learned: Learned, name: str, place: Place) -> float:
        drawn = float(learned.facts.laws[name].at(seeds.uniform(place.view_seed, f"alpha/{name}", 1))[0])
        return drawn if name in learned.facts.inputs else self.scale * drawn


def _check_sizes(where: str, learned: Learned, known: LatentSpace) -> None:
    space = learned.facts.space
    expected = {"z": known.z_dim, "w": known.w_dim, "w+": known.w_dim * known.num_layers}[space]
    if learned.dimensions != expected or learned.z_dim not in (None, known.z_dim):
        raise UserError(
            f"{where}: steps of {learned.dimensions} numbers, but the generator's {space} has "
            f"{expected}; learn walks on this generator"
        )
