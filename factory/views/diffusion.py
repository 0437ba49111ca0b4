"""Views of a prompt that share more than the prompt: its guidance, its noise, its first image, or less of its words."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from factory.views.protocol import Draw, Drawer, Family, FileKey, LatentSpace, Place, Subject
from factory.walks.file import Learned
from manifests import seeds
from manifests.errors import UserError


class PromptDriven(BaseModel):
    """Strategies of text-to-image generators."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    FAMILIES: ClassVar[frozenset[Family]] = frozenset({"diffusion"})
    FILE: ClassVar[FileKey | None] = None


class Guidance(PromptDriven):
    """Each view has a guidance scale of its own, from a ladder so that views of equal guidance share a batch."""

    name: Literal["guidance"] = Field(description="own noise and own guidance for each view")
    low: float = Field(ge=0, description="smallest guidance scale")
    high: float = Field(le=100, description="largest guidance scale")
    levels: int = Field(default=5, ge=2, le=64, description="evenly spaced scales that views draw from")

    @model_validator(mode="after")
    def _in_order(self) -> Guidance:
        if not self.low < self.high:
            raise ValueError(f"high above low, {self.low}, not {self.high}")
        return self

    def open(self, space: LatentSpace | None, learned: Learned | None = None) -> Drawer:
        def draw(place: Place, subject: Subject) -> Draw:
            level = int(seeds.integers(place.first_seed, "guidance", self.levels, 1)[0])
            scale = self.low + (self.high - self.low) * level / (self.levels - 1)
            return Draw(place.view_seed, guidance_scale=scale)

        return draw


class Noise(PromptDriven):
    """x_T = (n_anchor + σ·n_view)/√(1 + σ²): around the group's noise, of unit variance at any σ."""

    name: Literal["noise"] = Field(description="noises around one that the group shares")
    sigma: float = Field(gt=0, le=1000, description="weight of the view's own noise beside the group's")

    def open(self, space: LatentSpace | None, learned: Learned | None = None) -> Drawer:
        def draw(place: Place, subject: Subject) -> Draw:
            return Draw(place.view_seed, columns={"sigma": 0.0 if place.is_anchor else self.sigma})

        return draw


class Variants(PromptDriven):
    """Each view shows another wording of the prompt, drawn without repeating while there are any left."""

    name: Literal["variants"] = Field(description="own noise and own wording for each view")
    templates: tuple[str, ...] = Field(
        default=(), description="wordings with {prompt} in them; besides the prompt file's column `variants`"
    )

    @model_validator(mode="after")
    def _have_the_prompt(self) -> Variants:
        for template in self.templates:
            around = template.split("{prompt}")
            if len(around) != 2 or any(brace in part for part in around for brace in "{}"):
                raise ValueError(f"templates with {{prompt}} in them once and no other braces, not {template!r}")
        return self

    def open(self, space: LatentSpace | None, learned: Learned | None = None) -> Drawer:
        def draw(place: Place, subject: Subject) -> Draw:
            wordings = [*subject.variants, *(one.replace("{prompt}", subject.prompt) for one in self.templates)]
            if not wordings:
                raise UserError(
                    f"strategy: prompt {subject.prompt!r} has no variants; give strategy.templates, or a list in the "
                    "prompt file's column `variants`"
                )
            choices = list(dict.fromkeys([subject.prompt, *wordings]))
            order = seeds.permutation(place.group_seed, "variants", len(choices))
            return Draw(place.view_seed, prompt=choices[int(order[place.view % len(choices)])])

        return draw


class ImageToImage(PromptDriven):
    """View 0 is drawn from noise; the others set out from its image, noised again (SDEdit, Meng et al. 2022)."""

    name: Literal["img2img"] = Field(description="the anchor's image, noised again and drawn anew")
    strength: float = Field(gt=0, le=1, description="share of the steps that are drawn anew; 1 keeps nothing")

    def open(self, space: LatentSpace | None, learned: Learned | None = None) -> Drawer:
        def draw(place: Place, subject: Subject) -> Draw:
            if place.is_anchor:
                return Draw(place.group_seed)  # which every view of the group knows, to draw the anchor again
            return Draw(place.view_seed, columns={"strength": self.strength} if place.view else {})

        return draw
