"""Two patches of an image, a given distance apart, are positives: the nearer, the more they share.

The first of InfoMin's sweeps: arXiv:2005.10243 section 4.1, after CPC.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learning.augment import Augmentation, patch_pairs
from manifests.errors import UserError
from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import PatchesConfig
from trainer.objectives.contrastive import Contrastive
from trainer.objectives.inputs import Crop, Inputs
from trainer.objectives.objective import Features


class Patches(Contrastive):
    """Encoder, head and loss of SimCLR; its two copies are patches of encoder.size_px."""

    def __init__(self, config: RunConfig, settings: PatchesConfig, encoder: Encoder) -> None:
        super().__init__(config, settings, encoder)
        self.patch_px, self.distance_px = config.encoder.size_px, settings.distance_px
        if self.patch_px + self.distance_px > settings.whole_px:
            raise UserError(
                f"patches of encoder.size_px {self.patch_px}, distance_px {self.distance_px} apart, do not fit into "
                f"whole_px {settings.whole_px}; take smaller patches or a smaller distance"
            )
        self.crops = (Crop(Augmentation(flip_probability=0.5), settings.whole_px),)

    def features(self, inputs: Inputs) -> Features:
        pair = patch_pairs(inputs.crops[0][0], inputs.images, self.patch_px, self.distance_px)
        return (self.encoded(torch.stack(pair)),)

    def target_ids(self, inputs: Inputs) -> Tensor:
        return inputs.images
