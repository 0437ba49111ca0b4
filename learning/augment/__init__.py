"""Batched augmentation on the training device; every sample's result depends on its pixels, seed and recipe only."""

from learning.augment.pipeline import augment, augment_differentiably, normalise
from learning.augment.recipe import PRESETS, Augmentation, Jitter, preset

__all__ = ["PRESETS", "Augmentation", "Jitter", "augment", "augment_differentiably", "normalise", "preset"]
