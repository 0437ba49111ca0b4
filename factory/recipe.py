"""The recipe: everything a person decides about a data set, checked before anything is spent.

A recipe is a YAML file, a preset's name, or a finished data set's dataset.json. `identity` keeps what decides a pixel,
and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from factory.encode import EncodeConfig
from factory.generators.diffusion_config import DiffusionSource
from factory.generators.latent_config import LatentSource
from factory.judge import JudgeConfig
from factory.prompts import PromptConfig
from factory.views import AnyStrategy, ImageToImage, Independent, Same
from manifests import settings
from manifests.canonical import canonical_json, sha256_hex
from manifests.errors import UserError
from manifests.schema import FORMAT

PRESETS = Path(__file__).parent / "recipes"

# What a recipe says that no pixel depends on: the count may grow, and a name is only a name.
NOT_IDENTITY = frozenset({"name", "description", "licence", "groups", "device", "sources", "prompts"})


def _family(source: Any) -> str:
    """Say which kind of source was meant; without a word it is diffusion."""
    return str(source.get("family", "diffusion") if isinstance(source, Mapping) else source.family)


AnySource = Annotated[
    Annotated[DiffusionSource, Tag("diffusion")] | Annotated[LatentSource, Tag("latent")], Discriminator(_family)
]


class Recipe(BaseModel):
    """What to render; frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=100, description="of the data set, on its card")
    description: str = Field(default="", description="for the card")
    licence: str | None = Field(default=None, description="of the images; else the one that all generators share")
    seed: int = Field(default=0, ge=0, lt=2**63, description="decides every noise, every draw and the order")
    groups: int = Field(ge=1, le=999_999_999, description="things to draw; asking for more later appends")
    views: int = Field(ge=1, le=100, description="images of each group")
    groups_per_shard: int = Field(default=64, ge=1, le=100_000, description="in one tar: the unit of work and retries")
    sources: tuple[AnySource, ...] = Field(min_length=1, description="generators, which share out the groups")
    mix: Literal["groups", "shards"] = Field(
        default="groups", description="what the sources share out; each that has whole shards has workers of its own"
    )
    prompts: PromptConfig | None = Field(default=None, description="what to draw, for sources that read")
    strategy: AnyStrategy = Field(default=Independent(), description="what makes images views of one thing")
    encode: EncodeConfig = Field(default=EncodeConfig.model_validate({}), description="how an image becomes a file")
    judge: JudgeConfig = Field(default=JudgeConfig.model_validate({}), description="which images are tried again")
    batch: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = Field(
        default=8,
        description="images drawn together, which decides bits; "
        "auto fills the memory of the driver's GPU and is 8 where it has none",
    )
    threads: int = Field(default=1, ge=1, le=256, description="of a worker's processor, which decides bits")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="cpu, mps, cuda, cuda:N, or auto for the best",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        families = {source.family for source in self.sources}
        if "diffusion" in families and self.prompts is None:
            raise ValueError("prompts beside a text-to-image source, which needs something to draw")
        if "diffusion" not in families and self.prompts is not None:
            raise ValueError("no prompts, since no source reads them; sources.0.classes says what to draw")
        for family in sorted(families - self.strategy.FAMILIES):
            raise ValueError(f"another strategy: {self.strategy.name} is not for {family} sources")
        for number, source in enumerate(self.sources):
            if isinstance(source, DiffusionSource):
                _check_shares(self.strategy, source, f"sources.{number}")
        return self


def _check_shares(strategy: AnyStrategy, source: DiffusionSource, where: str) -> None:
    """Views of one image need one guidance scale; those that set out from one need steps to go."""
    if isinstance(strategy, Same | ImageToImage) and len(source.guidance_grid) > 1:
        raise ValueError(f"one {where}.guidance_scale, which the views of {strategy.name} share")
    if isinstance(strategy, ImageToImage) and int(source.steps * strategy.strength) < 1:
        least = f"{1 / source.steps:.3g}"
        raise ValueError(f"a strategy.strength of {least} or more, one of the {source.steps} steps of {where}")


def presets() -> list[str]:
    """Name the recipes that come with the factory."""
    return settings.preset_names(PRESETS)


def load_recipe(source: str, changes: Iterable[str] = ()) -> Recipe:
    """Load a YAML file, a preset or a data set's dataset.json, and apply `a.b=c` changes.

    Raises: UserError with one line a mistake.
    """
    raw = settings.override(_read(source), changes)
    words = (raw.get("prompts") or {}).get("words") if isinstance(raw.get("prompts"), Mapping) else None
    if isinstance(words, Mapping):
        raw["prompts"] = {**raw["prompts"], "words": {name: _word_list(name, value) for name, value in words.items()}}
    judge = raw.get("judge")
    if isinstance(judge, Mapping) and isinstance(judge.get("realism"), Mapping):
        raw["judge"] = {**judge, "realism": _with_probe(judge["realism"])}
    return settings.validated(Recipe, raw, source)


def _with_probe(realism: Mapping[str, Any]) -> dict[str, Any]:
    """A probe given as one text is the path of its file."""
    probe = realism.get("probe")
    if not isinstance(probe, str):
        return dict(realism)
    text = settings.read_text(Path(probe), "the probe judge.realism.probe")
    try:
        return {**realism, "probe": json.loads(text)}
    except ValueError as error:
        raise UserError(f"judge.realism.probe: {probe} is no file of `factory probe --save`: {error}") from None


def _read(source: str) -> dict[str, Any]:
    if source.rstrip("/").endswith("dataset.json"):
        return _from_data_set(source)
    otherwise = "neither a .yaml file, a dataset.json nor a preset"
    return settings.read_settings(source, PRESETS, "a recipe", otherwise, _beside)


def _beside(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Take relative files of prompts, words and learned steps from the recipe's own folder."""
    result = dict(raw)
    if isinstance(prompts := raw.get("prompts"), Mapping):
        result["prompts"] = _files_beside(prompts, ("file",), folder)
        if isinstance(prompts.get("words"), Mapping):
            words = prompts["words"].items()
            result["prompts"]["words"] = {name: _located(v, folder) if isinstance(v, str) else v for name, v in words}
    judge = raw.get("judge")
    if isinstance(judge, Mapping) and isinstance(realism := judge.get("realism"), Mapping):
        result["judge"] = {**judge, "realism": _files_beside(realism, ("probe",), folder)}
    if isinstance(strategy := raw.get("strategy"), Mapping):
        result["strategy"] = _files_beside(strategy, ("walks", "navigator"), folder)
    return result


def _files_beside(section: Mapping[str, Any], keys: Iterable[str], folder: Path) -> dict[str, Any]:
    found = {key: _located(section[key], folder) for key in keys if isinstance(section.get(key), str)}
    return {**section, **found}


def _located(file: str, folder: Path) -> str:
    return file if "://" in file or file.startswith("builtin:") else str(folder / file)


def _word_list(name: str, value: Any) -> Any:
    """A word list given as one text is the path of a file with a word a line."""
    if not isinstance(value, str):
        return value
    lines = settings.read_text(Path(value), f"the word list prompts.words.{name}").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _from_data_set(source: str) -> dict[str, Any]:
    from factory.segments import read_recipe, total_groups
    from manifests.store import Store
    from manifests.version import newest

    url = source.rstrip("/").removesuffix("dataset.json").rstrip("/") or "."
    store = Store.open(url)
    version = newest(store)
    streams = sorted({shard.stream_id for shard in version.shards}) if version else []
    if len(streams) != 1:
        raise UserError(f"{source}: expected one finished rendered data set, found {len(streams)} recipes in it")
    stored = read_recipe(store, streams[0])
    raw = {**stored.recipe, "groups": total_groups(store)}
    if stored.prompts_sha256:
        raw["prompts"] = {**raw["prompts"], "file": f"{url}/sources/{stored.prompts_sha256}"}
    if stored.learned_sha256:
        key = next(name for name in ("walks", "navigator") if name in raw["strategy"])
        raw["strategy"] = {**raw["strategy"], key: f"{url}/sources/{stored.learned_sha256}"}
    return raw


def identity(
    recipe: Recipe,
    fingerprints: list[dict[str, str]],
    prompts_sha256: str | None = None,
    learned_sha256: str | None = None,
) -> dict[str, Any]:
    """Return all that decides a pixel; defaults are left out, so that a new option changes no old identity."""
    chosen = recipe.model_dump(mode="json", exclude_defaults=True, exclude=set(NOT_IDENTITY))
    sources = [
        {**_settings(source), "weights": weights} for source, weights in zip(recipe.sources, fingerprints, strict=True)
    ]
    if recipe.prompts:
        prompts = recipe.prompts.model_dump(mode="json", exclude_defaults=True, exclude={"file"})
        chosen["prompts"] = {**prompts, **({"sha256": prompts_sha256} if prompts_sha256 else {})}
    if recipe.judge.realism:
        chosen["judge"]["realism"]["probe"].pop("model")  # its hash is the model, wherever it lies
    if key := recipe.strategy.FILE:
        chosen["strategy"] = {**chosen["strategy"], key: learned_sha256}
    always = {"format": FORMAT, "seed": recipe.seed, "batch": recipe.batch, "groups_per_shard": recipe.groups_per_shard}
    return {**chosen, **always, "sources": sources}


def _settings(source: AnySource) -> dict[str, Any]:
    return source.model_dump(mode="json", exclude_defaults=True, exclude=set(source.LOCATIONS))


def stream_id(identity: Mapping[str, Any]) -> str:
    """Hash an identity."""
    return sha256_hex(canonical_json(dict(identity)))


def difference(old: Any, new: Any, path: str = "") -> list[str]:
    """List what differs between two identities, a line a key."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted(old.keys() | new.keys())
        return [line for key in keys for line in difference(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for i, (a, b) in pairs for line in difference(a, b, f"{path}.{i}")]
    return [] if old == new else [f"{path}: {_shown(old)} there, {_shown(new)} here"]


def _shown(value: Any) -> str:
    text = "the default" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
