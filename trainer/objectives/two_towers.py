"""What CLIP, SigLIP and StableRep+ share: an image tower and a text tower whose projections are compared.

All m images of a group show one caption, and one caption may stand in several groups: positives have equal ids.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from learning.gather import all_gather
from learning.losses import multi_positive_nce
from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import TwoTowersConfig
from trainer.objectives.inputs import Inputs
from trainer.objectives.objective import Features, Objective, Report
from trainer.objectives.presets import crop
from trainer.objectives.reports import contrastive_report, mean_of
from trainer.objectives.teacher import unit
from trainer.objectives.text import TextTower

MAX_LOGIT_SCALE = math.log(100.0)


class TwoTowers(Objective):
    """Features: the images' [1, n, D], and their groups' captions' [1, b, D]."""

    reads_text = True

    def __init__(self, config: RunConfig, settings: TwoTowersConfig, encoder: Encoder, vocabulary: int) -> None:
        super().__init__()
        self.crops = (crop(config),)
        self.encoder = encoder
        self.text = TextTower(settings.text, vocabulary)
        self.image_projection = nn.Linear(encoder.dimensions, settings.dimensions, bias=False)
        self.text_projection = nn.Linear(self.text.dimensions, settings.dimensions, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / settings.initial_temperature)))

    def features(self, inputs: Inputs) -> Features:
        assert inputs.tokens is not None, "the loop reads captions for objectives that ask for them"
        return self.encoded(inputs.crops[0]), self.text(inputs.tokens)[None]

    def projected(self, features: Features) -> tuple[Tensor, Tensor]:
        """Return unit rows of images [n, D] and captions [b, D]."""
        return unit(self.image_projection(features[0][0])), unit(self.text_projection(features[1][0]))

    def both_ways(self, images: Tensor, texts: Tensor, inputs: Inputs) -> tuple[tuple[Tensor, Tensor], ...]:
        """Return (sum, anchors) of images seeking captions, and of captions seeking images. Source: CLIP, figure 3."""
        ids, text_ids = inputs.ids, inputs.ids[:: inputs.views].contiguous()
        temperature = (-self.logit_scale).exp()
        to_text = multi_positive_nce(images, all_gather(texts), ids, all_gather(text_ids), temperature=temperature)
        to_image = multi_positive_nce(texts, all_gather(images), text_ids, all_gather(ids), temperature=temperature)
        return to_text, to_image

    def report(self, to_text: Tensor, to_image: Tensor, images: Tensor, texts: Tensor, inputs: Inputs) -> Report:
        """Say how both directions fare, each direction counting half, and how sharp the softmax is."""
        ids, text_ids = inputs.ids, inputs.ids[:: inputs.views].contiguous()
        there = contrastive_report(to_text, images, all_gather(texts), ids, all_gather(text_ids))
        back = contrastive_report(to_image, texts, all_gather(images), text_ids, all_gather(ids))
        return {**mean_of(there, back), "logit_scale": self.logit_scale.detach().exp()}

    @torch.no_grad()
    def after_step(self, images_seen: int) -> None:
        self.logit_scale.clamp_(max=MAX_LOGIT_SCALE)  # so that the loss cannot sharpen without end
