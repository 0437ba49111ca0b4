"""Recipes over the tiny random Stable Diffusion folder, as a test's YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.factory import tiny


def settings(**changes: Any) -> dict[str, Any]:
    """A recipe of 3 shards (10 groups by 4) of 2 views, with one 32 px model of milliseconds an image."""
    source = {"model": str(tiny.folder("sd15")), "steps": 1, "guidance_scale": 1.0}
    prompts = {"texts": ["a cat", "a dog", "a house"]}
    counts = {"groups": 10, "views": 2, "groups_per_shard": 4, "batch": 4}
    return {"name": "tiny", "seed": 3, **counts, "device": "cpu", "sources": [source], "prompts": prompts, **changes}


def write(path: Path, **changes: Any) -> Path:
    """Write such a recipe as YAML."""
    path.write_text(yaml.safe_dump(settings(**changes), sort_keys=False), encoding="utf-8")
    return path
