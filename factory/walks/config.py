"""What learning walks or a navigator is: everything that decides the weights, as one frozen value.

Invariant: lengths and intervals are counted in images, so that another batch size means the same run.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from factory.walks.file import AlphaLaw, Space
from factory.walks.frozen import LatentLaw
from factory.walks.transforms import CROP, FAMILIES, Imitated
from learning.loop import Schedule
from manifests import settings

# What no weight depends on up to a given number of images: a run may be resumed with other values.
NOT_IDENTITY = frozenset({"images", "cooldown_images", "checkpoint_images", "measure_images"})


class _Learning(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: int = Field(default=1, ge=0, lt=2**63)
    threads: int = Field(default=1, ge=1, le=256, description="of the processor, which decides bits")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    latents: LatentLaw = LatentLaw()
    images: int = Field(ge=1, description="anchors that are drawn")
    batch_images: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    warmup_images: int = Field(default=500, ge=1, description="over which the rate rises")
    cooldown_images: int = Field(default=1, ge=1, description="over which the rate falls to 0 at the end")
    checkpoint_images: int = Field(default=4000, ge=1, description="from one checkpoint to the next")

    @property
    def schedule(self) -> Schedule:
        """Return the run's lengths and rate."""
        lengths = self.warmup_images, self.cooldown_images, self.checkpoint_images
        return Schedule(self.images, self.batch_images, self.learning_rate, *lengths)

    def identity(self) -> dict[str, Any]:
        """Return what a resumed run must have in common with its beginning."""
        return self.model_dump(mode="json", exclude=set(NOT_IDENTITY))


class WalksConfig(_Learning):
    """Walks that are learned together, on edits composed of all of them."""

    images: int = Field(default=160_000, ge=1, description="anchors that are drawn")
    batch_images: int = Field(default=32, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    imitate: Imitated = Field(default="genrep", description="genrep: camera and colour; simclr: jitter and crop")
    transforms: tuple[str, ...] | None = Field(default=None, min_length=1, description="some of them; default: all")
    laws: dict[str, tuple[float, float]] = Field(default={}, description="other ranges of α, as in {zoom: [-1, 1]}")
    space: Space = Field(default="w", description="where a walk is a vector; w+: one for each style layer")
    active: float = Field(default=1.0, gt=0, le=1, description="share of the walks that an edit is composed of")
    init_std: float = Field(default=0.1, ge=0, description="of a walk's numbers before learning")
    hidden: int = Field(default=256, ge=1, le=4096, description="width of the network that imitates crops")
    measure_images: int = Field(default=512, ge=16, description="held-out anchors that each walk is measured on")

    @model_validator(mode="after")
    def _check_names(self) -> WalksConfig:
        known = FAMILIES[self.imitate]
        for name in (*(self.transforms or ()), *self.laws):
            if name not in known:
                raise ValueError(f"{name!r} is not among what {self.imitate} changes{settings.nearest(name, known)}")
        chosen = set(self.transforms or known)
        if chosen & CROP.keys() and not CROP.keys() <= chosen:
            raise ValueError(f"a crop needs all of {', '.join(CROP)} among the transforms")
        self.chosen_laws()
        return self

    def chosen_laws(self) -> dict[str, AlphaLaw]:
        """Return the law of every walk, in the order in which edits are composed."""
        known = FAMILIES[self.imitate]
        kept = {name: law for name, law in known.items() if self.transforms is None or name in self.transforms}
        return {name: _narrowed(law, self.laws.get(name)) for name, law in kept.items()}


class Estimator(BaseModel):
    """How I_NCE is measured: by encoders that see a fixed pool of pairs, scored on pairs that they have not seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training_images: int = Field(default=4096, ge=2, description="anchors of the pool that encoders learn from")
    epochs: int = Field(default=10, ge=1)
    test_images: int = Field(default=2048, ge=2, description="held-out anchors")
    batch_images: int = Field(default=128, ge=2, description="K: I_NCE cannot exceed log K")
    learning_rate: float = Field(default=3e-3, gt=0)
    seeds: int = Field(default=3, ge=1, description="of the final comparison")


class NavigatorConfig(_Learning):
    """A navigator against an encoder, and the fresh encoders that judge it on held-out latents."""

    images: int = Field(default=60_000, ge=1, description="anchors that are drawn")
    batch_images: int = Field(default=64, ge=4)
    learning_rate: float = Field(default=1e-3, gt=0, description="the encoder's")
    checkpoint_images: int = Field(default=6000, ge=1, description="from one checkpoint and candidate to the next")
    navigator_rate: float = Field(default=3e-4, gt=0, description="learning rate of the navigator")
    sigma: float = Field(default=0.5, gt=0, le=10, description="length of the step over √D, in τ")
    hidden: int = Field(default=256, ge=1, le=2048)
    layers: int = Field(default=3, ge=2, le=8)
    temperature: float = Field(default=0.1, gt=0)
    augmentation: str = Field(default="simclr", description="pixel augmentation, a preset of learning.augment")
    crop_px: int = Field(default=32, ge=16, le=512, description="side of what encoders see")
    encoder_width: int = Field(default=32, ge=8, le=256, multiple_of=8)
    patience: int = Field(default=3, ge=1, description="stop after so many candidates that are no better")
    estimator: Estimator = Estimator()

    @property
    def schedule(self) -> Schedule:
        """Return the run's lengths, with a rate that is a share of each player's own."""
        lengths = self.warmup_images, self.cooldown_images, self.checkpoint_images
        return Schedule(self.images, self.batch_images, 1.0, *lengths)

    @field_validator("augmentation")
    @classmethod
    def _is_a_preset(cls, name: str) -> str:
        from learning.augment.recipe import preset

        preset(name)
        return name


Config = TypeVar("Config", bound=_Learning)


def configured(model: type[Config], changes: Iterable[str]) -> Config:
    """Apply `a.b=c` changes to the defaults.

    Raises: UserError with one line a mistake.
    """
    return settings.validated(model, settings.override({}, changes), "config")


def _narrowed(law: AlphaLaw, limits: tuple[float, float] | None) -> AlphaLaw:
    if limits is None:
        return law
    return AlphaLaw.model_validate({**law.model_dump(), "low": limits[0], "high": limits[1]})
