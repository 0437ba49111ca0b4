"""The crops that most objectives ask for: what the run's config says, of every image."""

from __future__ import annotations

from learning.augment import preset, preset_pair
from trainer.config import RunConfig
from trainer.objectives.inputs import Crop


def crop(config: RunConfig, *, count: int = 1) -> Crop:
    """Return the run's own augmentation at the encoder's size."""
    return Crop(preset(config.augmentation), config.encoder.size_px, count)


def pair(config: RunConfig) -> tuple[Crop, Crop]:
    """Return two crops of an image, which some augmentations treat differently (BYOL, arXiv:2006.07733 appendix B)."""
    first, second = preset_pair(config.augmentation)
    return Crop(first, config.encoder.size_px), Crop(second, config.encoder.size_px)
