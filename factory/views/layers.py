"""Views that differ in some layers' styles: moved in w, or mixed with another latent's (style mixing).

Source: mi_ml_gen (2025), which perturbs StyleGAN's layers 0-4, 4-8, …; style mixing, Karras et al. 2019, section 3.1.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from factory.views.latent import latent_draw, law_columns, space_of
from factory.views.laws import anchor, fresh, truncated_normal, vector
from factory.views.protocol import Draw, Drawer, Edit, Family, FileKey, LatentSpace, Place, Subject
from factory.walks.file import Learned
from manifests.errors import UserError


class LayerRange(BaseModel):
    """Layers whose styles a view changes; the others keep the anchor's."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    FAMILIES: ClassVar[frozenset[Family]] = frozenset({"latent"})
    FILE: ClassVar[FileKey | None] = None

    first_layer: int = Field(ge=0, le=100, description="coarsest style that changes, from 0")
    last_layer: int = Field(ge=0, le=100, description="finest style that changes, inclusive")

    @model_validator(mode="after")
    def _in_order(self) -> LayerRange:
        if self.last_layer < self.first_layer:
            raise ValueError(f"a last_layer from first_layer, {self.first_layer}, on, not {self.last_layer}")
        return self

    def edit(self, place: Place, space: LatentSpace) -> Edit:
        """Draw what is done to the layers."""
        raise NotImplementedError

    def open(self, space: LatentSpace | None, learned: Learned | None = None) -> Drawer:
        known = space_of(space)
        if self.last_layer >= known.num_layers:
            raise UserError(
                f"strategy.last_layer is {self.last_layer}; expected at most {known.num_layers - 1}: "
                f"the generator has {known.num_layers} style layers"
            )

        def draw(place: Place, subject: Subject) -> Draw:
            if place.is_anchor:
                return latent_draw(place, known, anchor(place, known))
            columns = {**law_columns(place, known), **self.columns()}
            return Draw(place.view_seed, vector(anchor(place, known)), self.edit(place, known), columns=columns)

        return draw

    def columns(self) -> dict[str, float | None]:
        """Return the strategy's numbers beside the edit's own."""
        return {}


class Layers(LayerRange):
    """w' = w + σ·TN(0, 1; ±bound) in a range of layers, the same step in each."""

    name: Literal["layers"] = Field(description="a Gaussian step in the styles w of some layers")
    sigma: float = Field(gt=0, le=100, description="standard deviation of the step in w")
    bound: float | None = Field(default=2.0, gt=0, le=8, description="cut of the step, in σ; null for none")

    def edit(self, place: Place, space: LatentSpace) -> Edit:
        step = self.sigma * truncated_normal(place.view_seed, "step", space.w_dim, self.bound)
        return Edit("add", vector(step), self.first_layer, self.last_layer)

    def columns(self) -> dict[str, float | None]:
        return {"sigma": self.sigma, "bound": self.bound}


class Mixing(LayerRange):
    """A range of layers takes the styles of a fresh latent of the anchors' law."""

    name: Literal["mixing"] = Field(description="some layers take the styles of another latent")

    def edit(self, place: Place, space: LatentSpace) -> Edit:
        return Edit("mix", vector(fresh(place.view_seed, space)), self.first_layer, self.last_layer)
