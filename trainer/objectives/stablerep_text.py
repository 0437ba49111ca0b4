"""StableRep+: StableRep's loss on the images, and CLIP's with their captions, multi-positive both ways.

L_image + (L_image-to-text + L_text-to-image) / 2. Source: arXiv:2306.00984 section 3.3 and its code's weights of 1.
"""

from __future__ import annotations

from torch import Tensor

from learning.gather import share_of_global_mean
from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import StableRepTextConfig
from trainer.objectives.contrastive import projection
from trainer.objectives.inputs import Inputs
from trainer.objectives.nce import compared
from trainer.objectives.objective import Features, Report
from trainer.objectives.reports import DIAGNOSED_ROWS
from trainer.objectives.teacher import unit
from trainer.objectives.two_towers import TwoTowers


class StableRepText(TwoTowers):
    views_needed = 2

    def __init__(self, config: RunConfig, settings: StableRepTextConfig, encoder: Encoder, vocabulary: int) -> None:
        super().__init__(config, settings, encoder, vocabulary)
        self.head = projection(settings.image, encoder.dimensions)
        self.temperature, self.decoupled = settings.image.temperature, settings.image.decoupled

    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        embeddings = unit(self.head(features[0][0]))
        total, anchors, report = compared(
            embeddings, inputs.ids, temperature=self.temperature, decoupled=self.decoupled
        )
        self.embeddings = embeddings.detach()[:DIAGNOSED_ROWS]
        images, texts = self.projected(features)
        to_text, to_image = self.both_ways(images, texts, inputs)
        captions = (share_of_global_mean(*to_text) + share_of_global_mean(*to_image)) / 2
        told = self.report(to_text[0], to_image[0], images.detach(), texts.detach(), inputs)
        found = {"caption_loss": told["loss"], "logit_scale": told["logit_scale"]}
        return share_of_global_mean(total, anchors) + captions, {**report, **found}
