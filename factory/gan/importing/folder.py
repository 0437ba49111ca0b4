"""Write a generator folder: generator.json beside generator.safetensors, whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from factory.generators.networks import build
from factory.generators.networks.tensors import load_into
from learning.checkpoint import save_tensors
from manifests.errors import UserError, explained

WEIGHTS = "generator.safetensors"


def write_folder(
    out: Path,
    family: str,
    arguments: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    licence: str,
    made_from: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    training: Mapping[str, Mapping[str, Tensor]] | None = None,
    discriminator: Mapping[str, Any] | None = None,
) -> None:
    """Write the folder, once a network of these arguments has taken all of the tensors.

    `training` holds what going on with it needs: G and D, and `discriminator` what D is built with.

    Raises: UserError if `out` holds something already, or the tensors do not fit the network.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: already there; choose a folder that does not exist yet")
    load_into(typing.cast(nn.Module, build(family, arguments, str(out))), tensors, str(out))
    description = {"format": 1, "family": family, "arguments": dict(arguments), "weights": WEIGHTS}
    if class_names is not None:
        description["class_names"] = list(class_names)
    if discriminator is not None:
        description["discriminator"] = dict(discriminator)
    description |= {"licence": licence, "made_from": dict(made_from)}
    files = {WEIGHTS: tensors} | {f"training/{name}.safetensors": table for name, table in (training or {}).items()}
    with explained(str(out), is_target=True):
        _write(out, json.dumps(description, indent=2, ensure_ascii=False) + "\n", files)


def _write(out: Path, text: str, files: Mapping[str, Mapping[str, Tensor]]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.part-", dir=out.parent))
    try:
        part.chmod(0o755)
        for file, tensors in files.items():
            (part / file).parent.mkdir(exist_ok=True)
            save_tensors({name: tensor.contiguous() for name, tensor in tensors.items()}, part / file)
        (part / "generator.json").write_text(text, encoding="utf-8")
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
