"""A GAN that trains in seconds: ten batches of four pictures of 16x16 px."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from factory.gan.config import GanConfig, load_config
from factory.gan.train import Run
from learning import checkpoint

SETTINGS = {
    "name": "tiny",
    "images": 40,
    "batch_images": 4,
    "checkpoint_images": 20,
    "warmup_images": 8,
    "cooldown_images": 12,
    "quality": "null",
    "generator.resolution": 16,
    "generator.z_dim": 8,
    "generator.w_dim": 8,
    "generator.mapping_layers": 2,
    "generator.channel_base": 64,
    "generator.channel_max": 8,
    "discriminator.penalty_every_images": 16,
}


def changes(**more: object) -> list[str]:
    """Write settings as `--set` takes them; `a__b` stands for a.b."""
    given = {key.replace("__", "."): value for key, value in more.items()}
    return [f"{key}={value}" for key, value in {**SETTINGS, **given}.items()]


def config(**more: object) -> GanConfig:
    return load_config("emoji-stylegan2", changes(**more))


def run(data: Path, out: Path, **more: object) -> Run:
    return Run(str(data), out, config(**more), lambda line: None)


def assert_same_state(ours: Path, theirs: Path, part: str = "training") -> None:
    """Compare the newest checkpoints of two runs, number by number."""
    found = [checkpoint.load_newest(out / part / "checkpoints") for out in (ours, theirs)]
    assert found[0] is not None
    assert found[1] is not None
    one, other = (_flat(state) for _, state in found)
    assert one.keys() == other.keys()
    for name, value in other.items():
        assert torch.equal(one[name], value) if isinstance(value, torch.Tensor) else one[name] == value, name


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {key: leaf for part in value for key, leaf in _flat(value[part], f"{name}/{part}").items()}
    if isinstance(value, list | tuple):
        return {key: leaf for i, part in enumerate(value) for key, leaf in _flat(part, f"{name}/{i}").items()}
    return {name: value}
