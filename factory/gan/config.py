"""What training a GAN is: everything that decides its weights, as one frozen value.

A config is a YAML file (or the name of a preset), may build on a preset, and takes typed overrides `a.b=c`.
Invariant: lengths and intervals are counted in images, so that another batch size means the same run.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from factory.gan.diffaugment import POLICIES, Policy
from learning.loop import Schedule
from manifests import settings

PRESETS = Path(__file__).parent / "configs"

# What no weight depends on up to a given number of images: a run may be resumed with other values.
NOT_IDENTITY = frozenset({"name", "licence", "images", "cooldown_images", "checkpoint_images", "quality", "dtype"})


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StyleGan2Config(_Section):
    """The generator; its discriminator is as wide."""

    family: Literal["stylegan2"] = "stylegan2"
    resolution: int = Field(default=64, ge=8, le=1024, description="side of the square images, a power of two")
    z_dim: int = Field(default=512, ge=1)
    w_dim: int = Field(default=512, ge=1)
    mapping_layers: int = Field(default=8, ge=1, le=16)
    channel_base: int = Field(default=32768, ge=64, description="channels at a resolution: base / resolution …")
    channel_max: int = Field(default=512, ge=1, description="… but no more than these")
    half_layers: int = Field(default=0, ge=0, description="resolutions in float16 on CUDA, from the top")

    @field_validator("resolution")
    @classmethod
    def _check_resolution(cls, resolution: int) -> int:
        if resolution & (resolution - 1):
            raise ValueError("a power of two")
        return resolution

    def arguments(self, classes: int) -> dict[str, Any]:
        """Return what the network's class takes."""
        return {**self.model_dump(exclude={"family"}), "num_classes": classes, **self._clamp()}

    def discriminator_arguments(self, classes: int, mapping_layers: int) -> dict[str, Any]:
        """Return what the discriminator's class takes."""
        kept = self.model_dump(include={"resolution", "channel_base", "channel_max", "half_layers"})
        return {**kept, "num_classes": classes, "mapping_layers": mapping_layers, **self._clamp()}

    def _clamp(self) -> dict[str, float]:
        return {"conv_clamp": 256.0} if self.half_layers else {}


class DiscriminatorConfig(_Section):
    mapping_layers: int = Field(default=1, ge=1, le=16, description="of the class, where there are classes")
    learning_rate: float = Field(default=0.002, gt=0)
    gamma: float = Field(default=0.1, ge=0, description="weight of the squared gradient on real images (R1)")
    penalty_every_images: int = Field(default=512, ge=1, description="one batch is penalised in so many images")


class QualityConfig(_Section):
    every_images: int = Field(default=40_000, ge=1, description="a multiple of checkpoint_images")
    samples_images: int = Field(default=2048, ge=2)


class GanConfig(_Section):
    """A plain conditional or unconditional GAN; frozen, and unknown keys are refused."""

    name: str = Field(min_length=1, max_length=100, description="of the generator")
    licence: str | None = Field(default=None, description="of the weights; else the data set's")
    seed: int = Field(default=1, ge=0, lt=2**63)
    threads: int = Field(default=1, ge=1, le=256, description="of the processor, which decides bits")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="of the players' activations")
    conditional: bool = Field(default=True, description="on the data set's labels")
    held_out: str | None = Field(default="test", description="the split that is not trained on")
    images: int = Field(ge=1, description="real images that the discriminator shall see")
    batch_images: int = Field(default=32, ge=4, multiple_of=4)
    warmup_images: int = Field(default=1000, ge=1, description="over which the rates rise")
    cooldown_images: int = Field(default=1, ge=1, description="over which the rates fall to 0 at the end")
    checkpoint_images: int = Field(default=10_000, ge=1, description="from one checkpoint, grid and folder to the next")
    generator: StyleGan2Config
    learning_rate: float = Field(default=0.0025, gt=0, description="the generator's")
    betas: tuple[float, float] = (0.0, 0.99)
    style_mixing: float = Field(default=0.9, ge=0, le=1, description="share of images drawn with two styles")
    average_half_life_images: int = Field(default=10_000, ge=1, description="of the weights that are kept")
    w_average_half_life_images: int = Field(default=10_000, ge=1, description="of the mean style, for truncation")
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    augment: tuple[Policy, ...] = Field(default=POLICIES, description="what the discriminator's images go through")
    quality: QualityConfig | None = Field(default=QualityConfig(), description="null: never measured")
    dtype: Literal["float16", "float32"] = Field(default="float16", description="of the weights that are kept")

    @model_validator(mode="after")
    def _check_lengths(self) -> GanConfig:
        if self.discriminator.penalty_every_images < self.batch_images:
            raise ValueError(f"discriminator.penalty_every_images of at least batch_images ({self.batch_images})")
        if self.quality and self.quality.every_images % self.checkpoint_images:
            raise ValueError(f"quality.every_images that is a multiple of checkpoint_images ({self.checkpoint_images})")
        return self

    @property
    def schedule(self) -> Schedule:
        """Return the run's lengths, with a rate that is a share of each player's own."""
        return Schedule(
            self.images, self.batch_images, 1.0, self.warmup_images, self.cooldown_images, self.checkpoint_images
        )

    @property
    def penalty_interval(self) -> int:
        """Return the batches from one penalty to the next."""
        return self.discriminator.penalty_every_images // self.batch_images

    def identity(self) -> dict[str, Any]:
        """Return what a resumed run must have in common with its beginning."""
        return self.model_dump(mode="json", exclude=set(NOT_IDENTITY))


def presets() -> list[str]:
    """Name the configs that come with the factory."""
    return settings.preset_names(PRESETS)


def load_config(source: str, changes: Iterable[str] = ()) -> GanConfig:
    """Load a YAML file or a preset, and apply `a.b=c` changes.

    Raises: UserError with one line a mistake.
    """
    read = settings.read_settings(source, PRESETS, "a config", "neither a .yaml file nor a preset")
    return settings.validated(GanConfig, settings.override(read, changes), source)
