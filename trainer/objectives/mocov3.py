"""MoCo v3: no queue; each of two crops predicts the other's key among the keys of the global batch, both ways.

Both heads end in a norm without weights ("MLP heads"). Source: arXiv:2104.02057, algorithm 1, with its factor 2τ.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learning.gather import all_gather, share_of_global_mean
from learning.heads import ProjectionHead
from learning.losses import multi_positive_nce
from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import MocoV3Config
from trainer.objectives.contrastive import projection
from trainer.objectives.inputs import Inputs, stacked
from trainer.objectives.objective import Features, Objective, Report
from trainer.objectives.presets import pair
from trainer.objectives.reports import DIAGNOSED_ROWS, contrastive_report, mean_of, spread
from trainer.objectives.teacher import Teacher, rising_momentum, unit


class MocoV3(Objective):
    """Features: both crops' of the backbone, and of the slow one, which have no gradient."""

    def __init__(self, config: RunConfig, settings: MocoV3Config, encoder: Encoder) -> None:
        super().__init__()
        self.crops = pair(config)
        self.encoder, self.head = encoder, projection(settings, encoder.dimensions, is_output_normalised=True)
        wide, norm = settings.dimensions, settings.norm
        self.predictor = ProjectionHead(wide, settings.hidden, wide, layers=2, norm=norm, is_output_normalised=True)
        self.teacher = Teacher(encoder=encoder, head=self.head)
        self.settings, self.total_images = settings, config.images

    def features(self, inputs: Inputs) -> Features:
        crops = torch.cat(inputs.crops)  # [2, n, 3, S, S]
        with torch.no_grad():
            slow = stacked(self.teacher["encoder"](crops.flatten(0, 1)), len(crops))
        return self.encoded(crops), slow

    @torch.no_grad()
    def keys(self, slow: Tensor) -> Tensor:
        """Run the slow head over the whole batch. Shapes: [2, n, F] -> unit rows [2, n, D]."""
        return stacked(unit(self.teacher["head"](slow.flatten(0, 1))), len(slow))

    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        queries = stacked(unit(self.predictor(self.head(features[0].flatten(0, 1)))), len(features[0]))
        keys = all_gather(self.keys(features[1]).transpose(0, 1)).transpose(0, 1)  # [2, N, D]
        ids = inputs.ids if self.settings.positives == "group" else inputs.images
        key_ids, temperature = all_gather(ids), self.settings.temperature
        one = multi_positive_nce(queries[0], keys[1], ids, key_ids, temperature=temperature)
        two = multi_positive_nce(queries[1], keys[0], ids, key_ids, temperature=temperature)
        loss = share_of_global_mean(one[0], one[1]) + share_of_global_mean(two[0], two[1])
        flat = queries.detach().flatten(0, 1)
        self.embeddings = flat[:DIAGNOSED_ROWS]
        found = mean_of(
            contrastive_report(one[0], queries[0].detach(), keys[1], ids, key_ids),
            contrastive_report(two[0], queries[1].detach(), keys[0], ids, key_ids),
        )
        return 2 * temperature * loss, {**found, **spread(flat)}

    def after_step(self, images_seen: int) -> None:
        momentum = rising_momentum(images_seen, self.total_images, self.settings.momentum)
        self.teacher.follow(momentum, encoder=self.encoder, head=self.head)
