"""What a pretraining run is: everything that decides its weights, as one frozen value.

A config is a YAML file (or the name of a preset), may build on a preset, and takes typed overrides `a.b=c`.
Invariant: lengths are counted in images, never in steps, so that another batch size means the same run length.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from manifests import settings
from manifests.errors import ConflictError
from trainer.objective_config import AnyObjective, MocoConfig, StableRepConfig

PRESETS = Path(__file__).parent / "configs"


Space = Literal["rgb", "lab", "yiq", "ycbcr", "ydbdr", "hsv"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Section):
    views: int = Field(
        default=1, ge=1, le=100
    )  # images of each group in a batch; drawn anew each epoch where a group has more
    weights: tuple[float, ...] | None = None  # share of slots per data set; default: its share of all groups
    window_groups: int = Field(default=16_384, ge=1)  # groups shuffled together: bounds how many shards are being read
    size_px: int | None = Field(default=None, ge=8, le=4096)  # side that images are brought to; default: as stored
    workers: int = Field(default=2, ge=1, le=256)  # decoding threads
    corrupt_budget: int = Field(default=16, ge=0)  # unreadable groups that are replaced before the run gives up


class FlowConfig(_Section):
    space: Space = "rgb"  # that the flow begins from
    coupling: Literal["additive", "affine"] = "additive"  # additive: keeps volume
    couplings: int = Field(default=4, ge=1, le=32)
    hidden: int = Field(default=16, ge=1, le=1024)  # width of the networks within couplings
    weights: str | None = None  # run or folder with learned views, which stay as they are; default: they are learned


class KnobsConfig(_Section):
    """What of the augmentation is changed: InfoMin's two knobs."""

    crop_area: float | None = Field(default=None, gt=0, le=1)  # least share of the image that a crop shows
    jitter: float | None = Field(default=None, ge=0, le=2)  # strength of all colour jitter, 1: SimCLR's


class EncoderConfig(_Section):
    backbone: str = "resnet18"  # a timm model name
    arguments: dict[str, bool | int | float | str | tuple[int, ...]] = {}  # for that model, as timm takes them
    size_px: int = Field(default=64, ge=8, le=1024)  # side of the square input
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    split: Literal["rgb", "lab", "yiq", "ycbcr", "ydbdr", "hsv", "flow", "frequency"] | None = (
        None  # one backbone for its first channel, one for the others; frequency: coarse and fine structure
    )
    flow: FlowConfig = FlowConfig()  # of split flow
    blur_px: float = Field(default=1.0, gt=0, le=64)  # of split frequency
    timed: bool = False  # features are E(x0, t): told a level of noise, for the objective drl

    @model_validator(mode="after")
    def _one_kind_of_backbone(self) -> EncoderConfig:
        if self.timed and self.split is not None:
            raise ValueError("timed and split are two kinds of backbone; expected one of them at most")
        return self


class OptimizerConfig(_Section):
    name: Literal["adamw", "sgd", "lars", "muon"] = "adamw"
    base_learning_rate: float = Field(default=1e-3, gt=0)  # per 256 images of a batch
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)  # of adamw, and of muon's matrices' companions
    momentum: float = Field(default=0.9, ge=0, lt=1)  # of sgd, lars and muon
    layer_decay: float = Field(default=1.0, gt=0, le=1)  # learning rate of a layer, of the next one's
    warmup_images: int | None = Field(default=None, ge=0)  # default: a twentieth of the run
    clip_norm: float = Field(default=1.0, gt=0)


class ProbeConfig(_Section):
    set: str = "clipart26"  # clipart26, emoji, or a folder or URL of a set like them: label, split, x_component
    every_images: int = Field(default=50_000, ge=1)
    images: int = Field(default=2_000, ge=50)  # of the set, at most


class RunConfig(_Section):
    seed: int = Field(default=0, ge=0, lt=2**63)
    images: int = Field(default=100_000, ge=1)  # length of the run; an image counts once, however often it is cropped
    batch_images: int = Field(default=256, ge=2)  # over all ranks
    cache_groups: int | None = Field(default=None, ge=1)  # groups a rank sees at a time, for batches beyond its memory
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "float32"  # auto: bfloat16 where there is such
    compile: bool = False  # slow to start, then faster
    gradient_checkpointing: bool = False  # recompute activations: less memory, a third slower
    fully_sharded: bool = False  # FSDP2: every rank holds a part of the weights; for models beyond a device's memory
    init: str | None = None  # an export or a run whose weights to begin with
    ema_half_life_images: int | None = Field(default=None, ge=1)  # export an average of the weights; default: the last
    log_images: int = Field(default=5_000, ge=1)  # one line of metrics.jsonl each
    checkpoint_images: int = Field(default=50_000, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    keep_every_images: int | None = Field(default=None, ge=1)  # also the first at or after each multiple of this
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    probe: ProbeConfig | None = None  # score the encoder while it learns
    skip_budget: int = Field(default=10, ge=0)  # steps in a row that may be non-finite before the run gives up
    augmentation: Literal["simclr", "stablerep", "infomin", "byol", "weak", "none"] = (
        "simclr"  # of every image, on the training device
    )
    knobs: KnobsConfig = KnobsConfig()  # over the augmentation
    data: DataConfig = DataConfig()
    encoder: EncoderConfig = EncoderConfig()
    objective: AnyObjective = StableRepConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    @model_validator(mode="after")
    def _parts_fit_together(self) -> RunConfig:
        if self.batch_images % self.data.views or self.batch_images < 2 * self.data.views:
            raise ValueError(
                f"batch_images to be a multiple of data.views ({self.data.views}), two groups or more, "
                f"found {self.batch_images}"
            )
        is_learned = self.encoder.split == "flow" and self.encoder.flow.weights is None
        if is_learned and self.objective.name != "learned_views":
            raise ValueError("encoder.split is flow; set encoder.flow.weights, or take the learned_views preset")
        if self.warmup_images > self.images:
            raise ValueError(f"optimizer.warmup_images of at most images ({self.images}), found {self.warmup_images}")
        if isinstance(self.objective, MocoConfig) and self.objective.queue < self.batch_images:
            raise ValueError(
                f"objective.queue to hold a batch's keys, batch_images ({self.batch_images}) or more, "
                f"found {self.objective.queue}"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Return what decides the weights: all but how fast the run is, what it logs and when it gives up."""
        free = {"log_images", "checkpoint_images", "keep_checkpoints", "keep_every_images", "skip_budget"}
        free |= {"trackers", "probe", "compile", "gradient_checkpointing", "fully_sharded"}
        return self.model_dump(
            mode="json", exclude={**dict.fromkeys(free, True), "data": {"workers", "corrupt_budget"}}
        )

    def without_sources(self) -> RunConfig:
        """Return the config without the files that a run began with: its checkpoints hold what it took from them."""
        flow = self.encoder.flow.model_copy(update={"weights": None})
        encoder = self.encoder.model_copy(update={"flow": flow})
        return self.model_copy(update={"init": None, "encoder": encoder})

    @property
    def batch_groups(self) -> int:
        return self.batch_images // self.data.views

    @property
    def warmup_images(self) -> int:
        given = self.optimizer.warmup_images
        return self.images // 20 if given is None else given

    @property
    def learning_rate(self) -> float:
        return self.optimizer.base_learning_rate * self.batch_images / 256


def preset_names() -> list[str]:
    """Return the names of the configs that ship with the package."""
    return settings.preset_names(PRESETS)


def load_config(name_or_path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a preset or a YAML file, and apply overrides `a.b=c`, whose values are read as YAML.

    Raises: UserError with one line a mistake.
    """
    read = settings.read_settings(str(name_or_path), PRESETS, "a config", "neither a .yaml file nor a preset")
    return parse_config(settings.override(read, overrides), str(name_or_path))


def parse_config(values: Mapping[str, Any], where: str) -> RunConfig:
    """Check plain values; `where` stands in the error."""
    return settings.validated(RunConfig, values, where)


def check_same(saved: Mapping[str, Any], wanted: Mapping[str, Any], folder: str) -> None:
    """Raise ConflictError with a key-by-key difference unless both runs are the same."""
    if lines := differences(saved, wanted):
        told = "; ".join(lines)
        raise ConflictError(f"{folder} holds another run ({told}); choose another folder or repeat its command")


def differences(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """List the keys in which two nested mappings differ, with both values, a line a key."""
    before, now = _flat(saved), _flat(wanted)
    return [
        f"{key}: {before.get(key, 'absent')} there, {now.get(key, 'absent')} here"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(value)
    return flat
