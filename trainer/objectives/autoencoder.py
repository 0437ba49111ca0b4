"""DRL's controls: the same net, shown nothing but the code, must give back the image. With `kl` a variational one.

Source: Abstreiter, Mittal et al., arXiv:2105.14257 section 4; Kingma & Welling, arXiv:1312.6114 eq. 10.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learning.score_matching import score_loss
from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import AutoencoderConfig
from trainer.objectives.coded import Coded
from trainer.objectives.inputs import Inputs


class Autoencoder(Coded):
    def __init__(self, config: RunConfig, settings: AutoencoderConfig, encoder: Encoder) -> None:
        super().__init__(config, settings, encoder)

    def plain_losses(self, codes: Tensor, inputs: Inputs, images: slice) -> Tensor:
        clean = inputs.crops[0][0][images]  # [n, 3, S, S]
        blank, latest = torch.zeros_like(clean), clean.new_ones(len(clean))
        drawn = self.settings.data_std * self.net(blank, latest, codes)
        return score_loss(drawn.to(clean.dtype), clean)
