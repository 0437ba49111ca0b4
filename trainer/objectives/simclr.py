"""SimCLR: two augmented copies of an image are positives, everything else in the global batch is a negative.

Other views of the same group are negatives too: the method does not know groups. Source: arXiv:2002.05709 eq. 1;
with `decoupled`, DCL: arXiv:2110.06848 eq. 6.
"""

from __future__ import annotations

from torch import Tensor

from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import SimClrConfig
from trainer.objectives.contrastive import Contrastive
from trainer.objectives.inputs import Inputs
from trainer.objectives.presets import crop


class SimClr(Contrastive):
    def __init__(self, config: RunConfig, settings: SimClrConfig, encoder: Encoder) -> None:
        super().__init__(config, settings, encoder)
        self.crops = (crop(config, count=2),)

    def target_ids(self, inputs: Inputs) -> Tensor:
        return inputs.images
