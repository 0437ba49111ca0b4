"""What a recipe may say about a source that draws from latents: StyleGAN, BigGAN, DCGAN; no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Classes(BaseModel):
    """Which classes a class-conditional generator is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    only: tuple[int | str, ...] | None = Field(None, min_length=1, description="numbers or names; default: all")
    order: Literal["balanced", "sampled"] = Field(
        "balanced", description="balanced shows each once before any comes again; sampled draws"
    )


class LatentSource(BaseModel):
    """A generator that draws from latent vectors, and the law of the latents that its groups start from.

    `model` is a folder with a generator.json, `package:<name>` or `builtin:<name>`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    LOCATIONS: ClassVar[frozenset[str]] = frozenset({"model", "licence", "resources"})

    family: Literal["latent"] = Field(description="kind of generator")
    model: str = Field(
        min_length=1, description="a folder with a generator.json or its URL, package:name or builtin:name"
    )
    weight: float = Field(1.0, gt=0, description="share of the groups, relative to the other sources")
    resources: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="what a worker that draws it asks Ray for: GPU, CPU and names of your own"
    )
    licence: str | None = Field(None, description="overrides what generator.json says")
    classes: Classes = Field(Classes.model_validate({}), description="which classes to draw")
    tau: float = Field(1.0, gt=0, le=10, description="scale of the anchors' normal law")
    bound: float | None = Field(None, gt=0, le=8, description="cut of that law, in τ; BigGAN's is 2; null for none")
    psi: float | tuple[float, float] = Field(
        1.0, description="truncation towards the mean, 1 is none; two numbers: each view draws its own between them"
    )
    cutoff: int | None = Field(None, ge=0, description="truncate only so many of the coarsest style layers")
    noise: Literal["random", "const", "none"] = Field(
        "random", description="StyleGAN2's noise inputs: drawn for each view, the weights' own, or left out"
    )
    translate: tuple[float, float] = Field((0.0, 0.0), description="StyleGAN3: shift right and down, in widths")
    rotate_deg: float = Field(0.0, description="StyleGAN3: clockwise turn")
    dtype: Literal["float32", "float16"] = Field("float32", description="float16: of the finest layers, on a GPU")
    channels_last: bool = Field(False, description="memory layout; faster on some GPUs")
    resize_px: int | None = Field(None, ge=8, description="shorter side after rendering")
    resize_filter: Literal["lanczos", "bicubic"] = Field("lanczos", description="of resize_px")

    @field_validator("psi")
    @classmethod
    def _in_order(cls, psi: float | tuple[float, float]) -> float | tuple[float, float]:
        low, high = psi if isinstance(psi, tuple) else (psi, psi)
        if not -2 <= low <= high <= 2:
            raise ValueError("one number, or a lower and an upper one, between -2 and 2")
        return psi

    @property
    def psi_range(self) -> tuple[float, float]:
        return self.psi if isinstance(self.psi, tuple) else (self.psi, self.psi)
