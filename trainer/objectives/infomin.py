"""InfoMin: MoCo with a second query, of the image cut into nine shuffled patches; both seek the same key.

Loss (1 - β)·NCE + β·NCE of the patches. Source: arXiv:2005.10243 and its code's preset `InfoMin`; jigsaw head of
PIRL, arXiv:1912.01991 section 3.2.
"""

from __future__ import annotations

from torch import Tensor, nn

from learning.gather import all_gather, share_of_global_mean
from learning.heads import ProjectionHead
from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import InfoMinConfig
from trainer.objectives.inputs import Inputs
from trainer.objectives.jigsaw import jigsaw_crop, patch_features
from trainer.objectives.moco import Moco
from trainer.objectives.objective import Features, Report
from trainer.objectives.teacher import unit


class InfoMin(Moco):
    """Features: queries' and keys' as MoCo's, then the patches' [1, n, 9·D]."""

    def __init__(self, config: RunConfig, settings: InfoMinConfig, encoder: Encoder) -> None:
        super().__init__(config, settings, encoder)
        self.crops = (*self.crops, jigsaw_crop(settings))
        self.beta, patches = settings.jigsaw_weight, settings.grid**2
        width = patches * encoder.dimensions
        self.jigsaw_head: nn.Module = ProjectionHead(
            width, settings.hidden, settings.dimensions, layers=2, norm=settings.norm
        )

    def features(self, inputs: Inputs) -> Features:
        return *super().features(inputs), patch_features(self.encoder, inputs.crops[1])

    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        queries, keys = unit(self.head(features[0][0])), self.keys(features)
        of_patches = unit(self.jigsaw_head(features[2][0]))
        total, anchors = self.nce(queries, keys, inputs)
        jigsaw_total, _ = self.nce(of_patches, keys, inputs)
        self._pending = all_gather(keys), all_gather(self.ids(inputs))
        mixed = (1 - self.beta) * total + self.beta * jigsaw_total
        return share_of_global_mean(mixed, anchors), self.report(mixed, queries, keys, inputs)
