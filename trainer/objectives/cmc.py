"""CMC: lightness and colour of an image are each other's positives, seen by an encoder of their own.

Source: arXiv:1906.05849 eq. 1-2, with the global batch's other images as negatives instead of a memory bank.
"""

from __future__ import annotations

from torch import Tensor

from learning.gather import all_gather, share_of_global_mean
from learning.losses import multi_positive_nce
from manifests.errors import UserError
from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import CmcConfig
from trainer.objectives.contrastive import projection
from trainer.objectives.inputs import Inputs
from trainer.objectives.objective import Features, Objective, Report
from trainer.objectives.presets import crop
from trainer.objectives.reports import DIAGNOSED_ROWS, contrastive_report, spread
from trainer.objectives.teacher import unit


class Cmc(Objective):
    """Features [1, n, D]: both halves of a split encoder's, one behind the other."""

    def __init__(self, config: RunConfig, settings: CmcConfig, encoder: Encoder) -> None:
        super().__init__()
        if encoder.split is None:
            raise UserError("cmc compares two parts of the channels; set encoder.split, for example to lab")
        self.crops = (crop(config),)
        self.encoder = encoder
        self.first_head = projection(settings, encoder.dimensions // 2)
        self.second_head = projection(settings, encoder.dimensions // 2)
        self.settings = settings

    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        first, second = features[0][0].chunk(2, dim=1)
        one, two = unit(self.first_head(first)), unit(self.second_head(second))
        ids = inputs.ids if self.settings.positives == "group" else inputs.images
        key_ids, temperature = all_gather(ids), self.settings.temperature
        keys = all_gather(two)
        there = multi_positive_nce(one, keys, ids, key_ids, temperature=temperature)
        back = multi_positive_nce(two, all_gather(one), ids, key_ids, temperature=temperature)
        total = (there[0] + back[0]) / 2
        self.embeddings = one.detach()[:DIAGNOSED_ROWS]
        found = contrastive_report(total, one.detach(), keys.detach(), ids, key_ids)
        return share_of_global_mean(total, there[1]), {**found, **spread(one.detach())}
