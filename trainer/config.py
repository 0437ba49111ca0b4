"""What a pretraining run is: everything that decides its weights, as one frozen value.

A config is a YAML file (or the name of a preset), may build on a preset, and takes typed overrides `a.b=c`.
Invariant: lengths are counted in images, never in steps, so that another batch size means the same run length.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from manifests.errors import ConflictError, UserError
from trainer.objective_config import AnyObjective, StableRepConfig

PRESETS = Path(__file__).parent / "configs"
_OBJECTIVES: dict[str, Any] = {
    model.model_fields["name"].default: model for model in get_args(get_args(AnyObjective)[0])
}


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
    set: str = "clipart26"  # clipart26, emoji, or a labelled data set's folder or URL
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
    init: str | None = None  # an export or a run whose weights to begin with
    ema_half_life_images: int | None = Field(default=None, ge=1)  # export an average of the weights; default: the last
    log_images: int = Field(default=5_000, ge=1)  # one line of metrics.jsonl each
    checkpoint_images: int = Field(default=50_000, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    keep_every_images: int | None = Field(default=None, ge=1)  # also keep checkpoints at multiples of this
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
                f"batch_images is {self.batch_images}; "
                f"expected a multiple of data.views ({self.data.views}), two groups or more"
            )
        is_learned = self.encoder.split == "flow" and self.encoder.flow.weights is None
        if is_learned and self.objective.name != "learned_views":
            raise ValueError("encoder.split is flow; set encoder.flow.weights, or take the learned_views preset")
        if self.warmup_images > self.images:
            raise ValueError(
                f"optimizer.warmup_images is {self.warmup_images}; expected images ({self.images}) or less"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Return what decides the weights: all but how fast the run is, what it logs and when it gives up."""
        free = {"log_images", "checkpoint_images", "keep_checkpoints", "keep_every_images", "skip_budget"}
        free |= {"trackers", "probe", "compile", "gradient_checkpointing"}
        return self.model_dump(
            mode="json", exclude={**dict.fromkeys(free, True), "data": {"workers", "corrupt_budget"}}
        )

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
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_config(name_or_path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a preset or a YAML file, and apply overrides `a.b=c`, whose values are read as YAML.

    Raises: UserError naming the key, the value given, and the nearest known name.
    """
    values = _read(name_or_path)
    for override in overrides:
        _set(values, override)
    return parse_config(values, str(name_or_path))


def parse_config(values: Mapping[str, Any], where: str) -> RunConfig:
    """Check plain values; `where` stands in the error."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{where}: " + "; ".join(_explain(detail) for detail in error.errors())) from None


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


def _read(name_or_path: str | Path) -> dict[str, Any]:
    is_preset = str(name_or_path) in preset_names()
    path = PRESETS / f"{name_or_path}.yaml" if is_preset else Path(name_or_path)
    if not path.is_file():
        raise UserError(f"{name_or_path} is neither a file nor a preset{nearest(str(name_or_path), preset_names())}")
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold keys and values, for example `images: 100000`")
    preset = values.pop("preset", None)
    return values if preset is None else _merged(_read_preset(str(preset)), values)


def _read_preset(name: str) -> dict[str, Any]:
    if name not in preset_names():
        raise UserError(f"preset {name!r} is unknown{nearest(name, preset_names())}")
    return _read(PRESETS / f"{name}.yaml")


def _merged(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _set(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override!r}: expected a.b=value, for example --set optimizer.weight_decay=0.1")
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UserError(f"--set {override!r}: {parent} is a value and has no keys of its own")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {override!r}: {text!r} is no YAML value") from None


def _explain(detail: Any) -> str:
    path = _key_path(detail["loc"])
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _explain_name(path, detail["input"])
    if detail["type"] == "extra_forbidden":
        return f"{'.'.join(path)} is unknown{nearest(path[-1], _keys_beside(detail['loc']))}"
    given = "" if detail["type"] == "value_error" else f" (given: {detail['input']!r})"
    text = detail["msg"].removeprefix("Value error, ")
    return f"{'.'.join(path)}: {text}{given}" if path else text


def _key_path(location: Sequence[str | int]) -> list[str]:
    """Return the keys as a user writes them: pydantic names the chosen objective behind `objective`."""
    path = [str(part) for part in location]
    return path[:1] + path[2:] if path[:1] == ["objective"] and len(path) > 1 else path


def _explain_name(path: Sequence[str], given: Mapping[str, Any]) -> str:
    names = sorted(_OBJECTIVES)
    if "name" not in given:
        return f"{'.'.join(path)}.name is missing; expected one of {', '.join(names)}"
    close = difflib.get_close_matches(str(given["name"]), names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{'.'.join(path)}.name is {given['name']!r}; expected one of {', '.join(names)}{hint}"


def _keys_beside(location: Sequence[str | int]) -> list[str]:
    section: Any = RunConfig
    for part in location[:-1]:
        if section is AnyObjective:
            section = _OBJECTIVES[str(part)]
            continue
        annotation = AnyObjective if part == "objective" else section.model_fields[part].annotation
        known = [choice for choice in get_args(annotation) if hasattr(choice, "model_fields")]  # of `… | None`
        section = known[0] if known else annotation
    return list(section.model_fields)


def nearest(name: str, known: Sequence[str]) -> str:
    """Say which known name was probably meant, as the end of an error."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(value)
    return flat
