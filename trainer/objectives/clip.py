"""CLIP: images seek their captions, and captions their images, in the global batch. Source: arXiv:2103.00020 fig. 3."""

from __future__ import annotations

from torch import Tensor

from learning.gather import share_of_global_mean
from trainer.objectives.inputs import Inputs
from trainer.objectives.objective import Features, Report
from trainer.objectives.reports import DIAGNOSED_ROWS, spread
from trainer.objectives.two_towers import TwoTowers


class Clip(TwoTowers):
    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        images, texts = self.projected(features)
        to_text, to_image = self.both_ways(images, texts, inputs)
        loss = (share_of_global_mean(*to_text) + share_of_global_mean(*to_image)) / 2
        self.embeddings = images.detach()[:DIAGNOSED_ROWS]
        found = self.report(to_text[0], to_image[0], images.detach(), texts.detach(), inputs)
        return loss, {**found, **spread(images.detach())}
