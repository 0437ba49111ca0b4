"""Where an exported encoder lies and what it says of itself; loads no heavy library, so that mistakes show at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from manifests.errors import CorruptError, UserError

IMAGENET = "efficientnet-lite0"  # in the place of a folder: the network of a Python package, which anyone has


def check_encoder(source: Path) -> None:
    """Refuse what is neither an exported encoder nor IMAGENET, before anything is loaded.

    Raises: UserError saying what is missing.
    """
    if str(source) != IMAGENET:
        export_folder(source)


def export_folder(source: Path) -> Path:
    """Find the exported encoder in a folder, which may be its run's.

    Raises: UserError saying what is missing.
    """
    for folder in (source, source / "encoder"):
        if (folder / "model.safetensors").is_file():
            return folder
    if (source / "checkpoints").is_dir():
        raise UserError(
            f"{source} is an unfinished run; finish it, or run `python -m trainer export {source} OUT` first"
        )
    raise UserError(
        f"{source} holds no encoder: expected model.safetensors and config.json there or in {source}/encoder"
    )


def read_export_config(folder: Path) -> dict[str, Any]:
    """Read a timm `config.json` and check that it says what is needed.

    Raises: CorruptError if it does not.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
        config["architecture"], [config["pretrained_cfg"][key] for key in ("input_size", "mean", "std")]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CorruptError(
            f"{path} is no timm config ({str(error) or type(error).__name__}); export the encoder again"
        ) from None
    return dict(config)


def read_metadata(folder: Path) -> dict[str, str]:
    """Return what an export says of itself, JSON by topic: `viewmill`, what made it; `config`, how timm builds it."""
    return {name: (folder / f"{name}.json").read_text() for name in ("viewmill", "config")}
