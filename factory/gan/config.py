"""What training a GAN is: everything that decides its weights, as one frozen value.

A config is a YAML file (or the name of a preset), may build on a preset, and takes typed overrides `a.b=c`.
Invariant: lengths and intervals are counted in images, so that another batch size means the same run.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from factory.gan.ada import AdaConfig
from factory.gan.bases import AnyBase
from factory.gan.diffaugment import POLICIES, Policy
from factory.gan.heads import Kind
from factory.gan.losses import Rule
from learning.loop import Schedule
from manifests import settings

PRESETS = Path(__file__).parent / "configs"

# What no weight depends on up to a given number of images: a run may be resumed with other values.
NOT_IDENTITY = frozenset({"name", "licence", "images", "cooldown_images", "checkpoint_images", "quality", "dtype"})


# Runs that were begun before there were such keys may be gone on with.
_ADDED_LATER = frozenset({"bank", "path_length", "start"})


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DiscriminatorConfig(_Section):
    mapping_layers: int = Field(default=1, ge=1, le=16, description="of the class, where there are classes")
    learning_rate: float = Field(default=0.002, gt=0)
    gamma: float = Field(default=0.1, ge=0, description="weight of the squared gradient on real images (R1)")
    penalty_every_images: int = Field(default=512, ge=1, description="one batch is penalised in so many images")
    ada: AdaConfig | None = Field(default=None, description="adaptive augmentation, before `augment`")


class PathLengthConfig(_Section):
    """What keeps equal steps in w equally long in pixels (StyleGAN2's section 3.2)."""

    weight: float = Field(default=2.0, gt=0)
    penalty_every_images: int = Field(default=128, ge=1, description="one batch is penalised in so many images")
    batch_fraction: float = Field(default=0.5, gt=0, le=1, description="of a batch that is penalised")
    average_half_life_images: int = Field(default=2000, ge=1, description="of the mean length that is aimed at")


class CriticConfig(_Section):
    """A frozen vision model and the head that is trained on top of it."""

    model: str = Field(min_length=1, description="as factory/gan/bank.py names them; NAME@64 feeds it 64 px")
    head: Kind = Field(default="multilevel", description="what is trained: at three depths, at the deepest, or pooled")
    width: int = Field(default=256, ge=1, le=4096, description="of the head's hidden features")
    rule: Rule = Field(default="logistic", description="of the loss")
    smoothing: float = Field(default=0.0, ge=0, lt=0.5, description="real images' target is 1 less so much")
    weight: float = Field(default=1.0, gt=0, description="of what the generator loses by it")
    learning_rate: float = Field(default=0.002, gt=0, description="the head's")
    augment: tuple[Policy, ...] = Field(default=POLICIES, description="what its images go through")
    ada: AdaConfig | None = Field(default=None, description="adaptive augmentation with a p of its own")


class BankConfig(_Section):
    """The vision models that may judge too, and when they come in: each time from the best checkpoint so far."""

    members: tuple[CriticConfig, ...] = Field(min_length=1, max_length=16, description="who may come in")
    choice: Literal["progressive", "fixed", "together"] = Field(
        default="progressive", description="the most separable next, as listed, or all at once"
    )
    most: int = Field(default=3, ge=1, le=16, description="members that judge in the end")
    warmup_images: int = Field(ge=1, description="before the first comes in; a multiple of quality.every_images")
    images_each: int = Field(ge=1, description="from one to the next; a multiple of quality.every_images")
    probe_images: int = Field(default=10_000, ge=16, description="of each kind, to see who tells them apart best")

    @property
    def additions(self) -> int:
        """Return how often somebody comes in."""
        return 1 if self.choice == "together" else min(self.most, len(self.members))

    def boundaries(self) -> list[int]:
        """Return the images seen at which somebody comes in."""
        return [self.warmup_images + number * self.images_each for number in range(self.additions)]


class QualityConfig(_Section):
    every_images: int = Field(default=40_000, ge=1, description="a multiple of checkpoint_images")
    samples_images: int = Field(default=2048, ge=2)
    extractor: str = Field(default="efficientnet-lite0@128", description="of another family than those that judge")


class GanConfig(_Section):
    """A conditional or unconditional GAN, plain or vision-aided; frozen, and unknown keys are refused."""

    name: str = Field(min_length=1, max_length=100, description="of the generator")
    licence: str | None = Field(default=None, description="of the weights; else the data set's")
    seed: int = Field(default=1, ge=0, lt=2**63)
    threads: int = Field(default=1, ge=1, le=256, description="of the processor, which decides bits")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="of the players' activations")
    conditional: bool = Field(default=True, description="on the data set's labels")
    held_out: str | None = Field(default="test", description="the split that is not trained on")
    start: str | None = Field(default=None, description="a generator's folder to go on from; null: fresh weights")
    images: int = Field(ge=1, description="real images that the discriminator shall see")
    batch_images: int = Field(default=32, ge=4, multiple_of=4)
    warmup_images: int = Field(default=1000, ge=1, description="over which the rates rise")
    cooldown_images: int = Field(default=1, ge=1, description="over which the rates fall to 0 at the end")
    checkpoint_images: int = Field(default=10_000, ge=1, description="from one checkpoint, grid and folder to the next")
    generator: AnyBase
    learning_rate: float = Field(default=0.0025, gt=0, description="the generator's")
    betas: tuple[float, float] = (0.0, 0.99)
    style_mixing: float = Field(default=0.9, ge=0, le=1, description="share of images drawn with two styles")
    average_half_life_images: int = Field(default=10_000, ge=1, description="of the weights that are kept")
    w_average_half_life_images: int = Field(default=10_000, ge=1, description="of the mean style, for truncation")
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    augment: tuple[Policy, ...] = Field(default=POLICIES, description="what the discriminator's images go through")
    path_length: PathLengthConfig | None = Field(default=None, description="StyleGAN2's, of the generator")
    bank: BankConfig | None = Field(default=None, description="vision models that judge too")
    quality: QualityConfig | None = Field(default=QualityConfig(), description="null: never measured")
    dtype: Literal["float16", "float32"] = Field(default="float16", description="of the weights that are kept")

    @model_validator(mode="after")
    def _check_lengths(self) -> GanConfig:
        if self.discriminator.penalty_every_images < self.batch_images:
            raise ValueError(f"discriminator.penalty_every_images of at least batch_images ({self.batch_images})")
        if self.quality and self.quality.every_images % self.checkpoint_images:
            raise ValueError(f"quality.every_images that is a multiple of checkpoint_images ({self.checkpoint_images})")
        if self.path_length and self.generator.family != "stylegan2":
            raise ValueError("path_length=null: only StyleGAN2's generator has it")
        if self.bank:
            self._check_bank(self.bank)
        return self

    def _check_bank(self, bank: BankConfig) -> None:
        if self.quality is None:
            raise ValueError("quality beside a bank: who comes in starts from the best checkpoint")
        every = self.quality.every_images
        if bank.warmup_images % every or bank.images_each % every:
            raise ValueError(
                f"bank.warmup_images and bank.images_each that are multiples of quality.every_images ({every})"
            )
        if bank.boundaries()[-1] >= self.images:
            raise ValueError(f"images above {bank.boundaries()[-1]}, where the last member of the bank comes in")
        if _family(self.quality.extractor) in {_family(member.model) for member in bank.members}:
            raise ValueError(
                f"another quality.extractor: {self.quality.extractor} is of a family that is in the bank, and would"
                " measure what it taught"
            )

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

    @property
    def path_interval(self) -> int:
        """Return the batches from one straightening to the next."""
        return max(1, self.path_length.penalty_every_images // self.batch_images) if self.path_length else 1

    def identity(self) -> dict[str, Any]:
        """Return what a resumed run must have in common with its beginning; keys that came later only where used."""
        left_out = NOT_IDENTITY - ({"quality"} if self.bank else set())
        whole = self.model_dump(mode="json", exclude=set(left_out))
        if whole["discriminator"]["ada"] is None:
            del whole["discriminator"]["ada"]
        return {name: value for name, value in whole.items() if value is not None or name not in _ADDED_LATER}


def _family(model: str) -> str:
    """Name a vision model without its size; the packaged networks are one family."""
    return model.partition("@")[0].rstrip("012") if model.startswith("efficientnet-lite") else model.partition("@")[0]


def presets() -> list[str]:
    """Name the configs that come with the factory."""
    return settings.preset_names(PRESETS)


def load_config(source: str, changes: Iterable[str] = ()) -> GanConfig:
    """Load a YAML file or a preset, and apply `a.b=c` changes.

    Raises: UserError with one line a mistake.
    """
    read = settings.read_settings(source, PRESETS, "a config", "neither a .yaml file nor a preset")
    return settings.validated(GanConfig, settings.override(read, changes), source)
