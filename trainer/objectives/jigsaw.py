"""The jigsaw branch: an image cut into a grid of patches in a drawn order, each seen by the encoder alone.

Source: PIRL, arXiv:1912.01991 section 3.2; the 255 px crop, 3 x 3 grid and 64 px patches of its ImageNet setting.
"""

from __future__ import annotations

from torch import Tensor

from learning.augment import Augmentation
from trainer.encoders import Encoder
from trainer.objective_config import JigsawConfig
from trainer.objectives.inputs import Crop

_WHOLE = Augmentation(crop_area=(0.6, 1.0), flip_probability=0.5)


def jigsaw_crop(settings: JigsawConfig) -> Crop:
    """Return the crop that is cut: a large part of the image, maybe mirrored, its colours untouched."""
    return Crop(_WHOLE, settings.jigsaw_px, grid=settings.grid, patch_px=settings.patch_px)


def patch_features(encoder: Encoder, patches: Tensor) -> Tensor:
    """Join the features of an image's patches, in the order they lie. Shapes: [1, n, P, 3, s, s] -> [1, n, P·D]."""
    features: Tensor = encoder(patches.flatten(0, 2))
    return features.reshape(patches.shape[0], patches.shape[1], -1)
