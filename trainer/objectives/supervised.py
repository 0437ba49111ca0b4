"""Cross-entropy on the labels of generated images: GenRep's baseline (Jahanian et al. 2022, table 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from learning.gather import all_reduce_sum, share_of_global_mean
from manifests.errors import UserError
from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import SupervisedConfig
from trainer.objectives.inputs import Inputs
from trainer.objectives.objective import Features, Objective, Report
from trainer.objectives.presets import crop
from trainer.objectives.reports import DIAGNOSED_ROWS
from trainer.objectives.teacher import unit


class Supervised(Objective):
    def __init__(self, config: RunConfig, settings: SupervisedConfig, encoder: Encoder, classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise UserError(f"supervised learns labels, and the data have {classes} of them; expected two or more")
        self.crops = (crop(config),)
        self.encoder, self.classifier = encoder, nn.Linear(encoder.dimensions, classes)

    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        logits = self.classifier(features[0][0])  # [n, classes]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        labelled = inputs.labels >= 0
        total = cross_entropy(logits, inputs.labels.where(labelled, -100), ignore_index=-100, reduction="sum")
        right = (logits.argmax(dim=1) == inputs.labels).sum()
        self.embeddings = unit(features[0][0].detach())[:DIAGNOSED_ROWS]
        sums = all_reduce_sum(torch.stack([total.detach().double(), right.double(), labelled.sum().double()]))
        count = sums[2].clamp(min=1)
        return share_of_global_mean(total, labelled.sum()), {"loss": sums[0] / count, "accuracy": sums[1] / count}
