"""What a recipe may say about a diffusion source: everything but the bytes of the weights, and no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from factory.generators.layouts import LAYOUTS, SCHEDULERS


class Lora(BaseModel):
    """A low-rank change of the weights, from a safetensors file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    path: str = Field(description="of a .safetensors file, or its URL")
    scale: float = Field(1.0, description="how strongly it counts")


class DiffusionSource(BaseModel):
    """A text-to-image model of the diffusers library and how it is sampled.

    `model` is a local folder, a hub id with its full commit (`org/name@<40 hex digits>`) or `builtin:<name>`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Where things lie and whose they are: the fingerprint stands for these in a data set's identity.
    LOCATIONS: ClassVar[frozenset[str]] = frozenset({"model", "vae", "lora", "licence", "resources", "placement"})

    family: Literal["diffusion"] = Field("diffusion", description="kind of generator")
    model: str = Field(
        min_length=1, description="a diffusers folder or its URL, org/name@commit of the hub, or builtin:name"
    )
    weight: float = Field(1.0, gt=0, description="share of the groups, relative to the other sources")
    resources: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="what a worker that draws it asks Ray for: GPU, CPU and names of your own"
    )
    licence: str | None = Field(None, description="overrides what the model's card says")
    pipeline: str | None = Field(None, description="class, instead of the one in the folder's model_index.json")
    variant: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]+$", description="weight files to take, such as fp16")
    lora: tuple[Lora, ...] = Field((), description="low-rank changes, added into the weights")
    vae: str | None = Field(None, description="folder of another AutoencoderKL, or its URL")
    scheduler: str | None = Field(None, description="class, instead of the folder's own")
    scheduler_options: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="laid over the folder's scheduler_config.json"
    )
    eta: float = Field(0.0, ge=0, le=1, description="noise added in each step of DDIM or TCD")
    steps: int = Field(30, ge=1, le=1000, description="of denoising")
    guidance_scale: float | tuple[float, ...] = Field(7.5, description="one value, or a grid that the views share out")
    width: int | None = Field(None, ge=8, description="pixels; the pipeline's own size where absent")
    height: int | None = Field(None, ge=8, description="pixels; comes with width")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="of weights and activations")
    channels_last: bool = Field(False, description="memory layout; faster on some GPUs")
    compile: bool = Field(False, description="compile the denoiser; slow to start, then faster")
    placement: Literal["device", "balanced", "offload", "offload_layers"] = Field(
        "device",
        description="of the weights: on one device, over all GPUs of a worker, or in memory until they are used",
    )
    resize_px: int | None = Field(None, ge=8, description="shorter side after rendering")
    resize_filter: Literal["lanczos", "bicubic"] = Field("lanczos", description="of resize_px")

    @model_validator(mode="after")
    def _check(self) -> DiffusionSource:
        if self.pipeline is not None and self.pipeline not in LAYOUTS:
            raise ValueError(f"pipeline {self.pipeline!r} is not one of {', '.join(LAYOUTS)}")
        if self.scheduler is not None and self.scheduler not in SCHEDULERS:
            raise ValueError(unseedable(self.scheduler, SCHEDULERS))
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height come together: give both or neither")
        if not all(scale >= 0 for scale in self.guidance_grid):
            raise ValueError(f"guidance_scale {self.guidance_scale}: expected numbers from 0 up")
        if not self.guidance_grid:
            raise ValueError("guidance_scale is an empty grid: give at least one number")
        return self

    @property
    def guidance_grid(self) -> tuple[float, ...]:
        return self.guidance_scale if isinstance(self.guidance_scale, tuple) else (self.guidance_scale,)


def unseedable(scheduler: str, allowed: Iterable[str]) -> str:
    """Say why a scheduler is refused, and which ones are not."""
    known = ", ".join(sorted(allowed))
    return f"scheduler {scheduler!r} cannot draw each view's noise from the view's own seed; expected one of {known}"
