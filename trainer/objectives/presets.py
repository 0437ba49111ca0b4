"""The crops that most objectives ask for: what the run's config says, of every image."""

from __future__ import annotations

from learning.augment import preset
from trainer.config import RunConfig
from trainer.objectives.inputs import Crop


def crop(config: RunConfig, *, count: int = 1) -> Crop:
    """Return the run's own augmentation at the encoder's size."""
    return Crop(preset(config.augmentation), config.encoder.size_px, count)
