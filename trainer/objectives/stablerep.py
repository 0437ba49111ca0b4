"""StableRep: all views with one positive_id are positives, each augmented once; the target is uniform over them.

The id is the prompt's, so that one prompt in two groups, on two ranks or in two data sets is a positive, never a
negative. Source: arXiv:2306.00984 eq. 1-3.
"""

from __future__ import annotations

from torch import Tensor

from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import StableRepConfig
from trainer.objectives.contrastive import Contrastive
from trainer.objectives.inputs import Inputs
from trainer.objectives.presets import crop


class StableRep(Contrastive):
    views_needed = 2

    def __init__(self, config: RunConfig, settings: StableRepConfig, encoder: Encoder) -> None:
        super().__init__(config, settings, encoder)
        self.crops = (crop(config),)

    def target_ids(self, inputs: Inputs) -> Tensor:
        return inputs.ids
