"""The crops that most objectives ask for: what the run's config says, of every image."""

from __future__ import annotations

from learning.augment import Augmentation, preset, preset_pair, with_knobs
from trainer.config import RunConfig
from trainer.objectives.inputs import Crop


def crop(config: RunConfig, *, count: int = 1) -> Crop:
    """Return the run's own augmentation at the encoder's size."""
    return Crop(changed(preset(config.augmentation), config), config.encoder.size_px, count)


def pair(config: RunConfig) -> tuple[Crop, Crop]:
    """Return two crops of an image, which some augmentations treat differently (BYOL, arXiv:2006.07733 appendix B)."""
    first, second = preset_pair(config.augmentation)
    return Crop(changed(first, config), config.encoder.size_px), Crop(changed(second, config), config.encoder.size_px)


def changed(recipe: Augmentation, config: RunConfig) -> Augmentation:
    """Return the augmentation with what the run says of its views."""
    return with_knobs(recipe, crop_area=config.knobs.crop_area, jitter=config.knobs.jitter)
