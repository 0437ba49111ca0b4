"""SupCon: all images of one label, or of one group, are positives, in two augmented copies each.

The form L_out, whose mean over positives stands outside of the logarithm. Source: arXiv:2004.11362 eq. 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import SupConConfig
from trainer.objectives.contrastive import Contrastive
from trainer.objectives.inputs import Inputs
from trainer.objectives.presets import crop


class SupCon(Contrastive):
    def __init__(self, config: RunConfig, settings: SupConConfig, encoder: Encoder) -> None:
        super().__init__(config, settings, encoder)
        self.crops = (crop(config, count=2),)
        self.positives = settings.positives

    def target_ids(self, inputs: Inputs) -> Tensor:
        if self.positives == "group":
            return inputs.ids
        return torch.where(inputs.labels >= 0, inputs.labels, -1 - inputs.images)  # unlabelled: its own copy alone
