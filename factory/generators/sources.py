"""Where a model's text points to: a local folder, one in a bucket, a hub id at a commit, or what ships with us."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from factory.generators.staging import stage
from manifests.errors import UserError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Location:
    """A model folder on this machine, and its name where that stays the same wherever the folder lies."""

    name: str | None
    folder: Path


def locate(model: str, variant: str | None = None) -> Location:
    """Find the folder, downloading a hub id's safetensors once.

    Raises: UserError that names the remedy.
    """
    if model.startswith("builtin:"):
        return Location(model, _builtin(model.removeprefix("builtin:")))
    if "://" in model:
        return Location(None, stage(model).resolve())
    path = Path(model).expanduser()
    if path.is_dir():
        return Location(None, path.resolve())
    if path.is_file():
        raise UserError(f"{model}: a single file, expected a diffusers folder; {SINGLE_FILE_REMEDY}")
    name, _, commit = model.partition("@")
    if not HUB_ID.fullmatch(name):
        raise UserError(f"{model}: no such folder; expected a diffusers folder, org/name@commit or builtin:name")
    if not COMMIT.fullmatch(commit):
        raise UserError(
            f"{model}: no such folder, and as a hub id it needs its full commit, 40 hex digits: branches and tags move;"
            f" write {name}@COMMIT with one from https://huggingface.co/{name}/commits/main"
        )
    return Location(name, _hub(name, commit, variant))


SINGLE_FILE_REMEDY = "convert it once: StableDiffusionPipeline.from_single_file(FILE).save_pretrained(FOLDER)"


def _builtin(name: str) -> Path:
    from factory.builtin import folder

    return folder(name)


def _hub(name: str, commit: str, variant: str | None) -> Path:
    from diffusers import DiffusionPipeline
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = Path(DiffusionPipeline.download(name, revision=commit, variant=variant, use_safetensors=True))
        with suppress(HfHubHTTPError, LocalEntryNotFoundError):  # a model may have no card
            hf_hub_download(name, "README.md", revision=commit)
        return folder
    except Exception as error:  # the hub client raises a dozen kinds, and each means the same to the user
        text = " ".join(str(error).split())[:200]
        remedy = "check id, commit and network, and HF_TOKEN where the model is gated"
        raise UserError(f"{name}@{commit}: could not be fetched from the hub; {remedy} ({text})") from error


def licence(folder: Path) -> str:
    """Read the licence from the front matter of the model's card; "unknown" where it does not say."""
    card = folder / "README.md"
    parts = card.read_text(encoding="utf-8", errors="replace").split("---\n", 2) if card.is_file() else []
    if len(parts) < 3 or parts[0].strip():
        return "unknown"
    try:
        facts = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return "unknown"
    found = (facts.get("license_name") or facts.get("license")) if isinstance(facts, dict) else None
    return str(found or "unknown")
