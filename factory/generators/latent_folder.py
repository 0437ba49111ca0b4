"""A folder that holds a latent generator: generator.json and one file of weights; read and hashed, never run.

What its keys mean stands in docs/generators.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from factory.generators.latent_config import LatentSource
from factory.generators.staging import stage
from factory.generators.weights import file_sha256, read_json
from manifests.canonical import canonical_json, sha256_hex
from manifests.errors import UserError
from manifests.settings import validated

INDEX = "generator.json"
WEIGHTS = (".safetensors", ".pt", ".pth", ".tar")  # all but the first through torch.load(weights_only=True)


class GeneratorFile(BaseModel):
    """What generator.json says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    family: Literal["stylegan2", "stylegan3", "biggan", "bigbigan", "dcgan"]
    arguments: dict[str, Any] = Field(description="of the network's constructor")
    weights: str = Field(default="generator.safetensors", description="a file beside generator.json")
    weights_key: str | None = Field(default=None, description="where the state dict lies in a .pt, .pth or .tar")
    weights_names: dict[str, str] = Field(default_factory=dict, description="our prefixes of tensors -> the file's")
    weights_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", description="refuse any other bytes")
    class_names: tuple[str, ...] = ()
    licence: str | None = None
    made_from: dict[str, Any] = Field(default_factory=dict, description="provenance; decides no pixel")
    discriminator: dict[str, Any] | None = Field(default=None, description="its arguments, to go on with training")


@dataclass(frozen=True)
class LatentFolder:
    """A checked description and where its weights lie."""

    description: GeneratorFile
    weights: Path
    name: str | None  # where it stays the same wherever the folder lies

    def fingerprint(self) -> dict[str, str]:
        """Hash the weights and what is built from them; apart from these the names, by which classes are asked for."""
        family, arguments = self.description.family, self.description.arguments
        digest = file_sha256(self.weights)
        if self.description.weights_sha256 not in (None, digest):
            raise UserError(f"{self.weights}: sha256 {digest[:16]}; expected {self.description.weights_sha256}")
        read = {"key": self.description.weights_key, "names": self.description.weights_names}
        named = {"family": family, "arguments": arguments, "weights": digest, **read}
        class_names = list(self.description.class_names)
        classes = {"class_names": sha256_hex(canonical_json(class_names))} if class_names else {}
        return {"sha256": sha256_hex(canonical_json(named)), "family": family, **classes}


def find(source: LatentSource) -> LatentFolder:
    """Find and read the folder of a source.

    Raises: UserError naming what is missing or wrong.
    """
    if source.model.startswith("package:"):
        from factory.generators.packaged import locate_packaged

        raw, weights = locate_packaged(source.model.removeprefix("package:"))
        return LatentFolder(validated(GeneratorFile, raw, source.model), weights, source.model)
    folder, name = _folder(source.model)
    raw = read_json(folder, INDEX, f"{source.model}: no folder of a latent generator")
    description = validated(GeneratorFile, raw, str(folder / INDEX))
    return LatentFolder(description, _weights(folder, description.weights), name)


def _folder(model: str) -> tuple[Path, str | None]:
    if model.startswith("builtin:"):
        from factory.builtin import folder

        return folder(model), model
    if "://" in model:
        return stage(model).resolve(), None
    path = Path(model).expanduser()
    if path.suffix == ".pkl":
        raise UserError(f"{model}: a pickle could run code; convert it once: python -m factory import {model} FOLDER")
    if not path.is_dir():
        raise UserError(f"{model}: no such folder; expected one with a {INDEX}, package:name or builtin:name")
    return path.resolve(), None


def _weights(folder: Path, name: str) -> Path:
    path = folder / name
    if Path(name).name != name or path.suffix not in WEIGHTS:
        raise UserError(f"{folder / INDEX}: weights: got {name!r}; expected a file beside it, {', '.join(WEIGHTS)}")
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{path}: missing, or a link out of its folder")
    return path
