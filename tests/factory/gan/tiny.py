"""A GAN that trains in seconds: ten batches of four pictures of 16x16 px."""

from __future__ import annotations

from pathlib import Path

from factory.gan.config import GanConfig, load_config
from factory.gan.train import Run

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
