"""Batched augmentation on the training device; every sample's result depends on its pixels, seed and recipe only."""

from learning.augment.patches import jigsaw, patch_pairs
from learning.augment.pipeline import augment, augment_differentiably, normalise
from learning.augment.recipe import PRESETS, Augmentation, Jitter, RandAugment, preset, preset_pair, with_knobs

__all__ = [
    "PRESETS",
    "Augmentation",
    "Jitter",
    "RandAugment",
    "augment",
    "augment_differentiably",
    "jigsaw",
    "normalise",
    "patch_pairs",
    "preset",
    "preset_pair",
    "with_knobs",
]
