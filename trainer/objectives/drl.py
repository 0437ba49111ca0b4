"""Diffusion-based representation learning: a score net that is told the code of the clean image, so that codes must
say what noise destroyed. The code is E(x0), or with `encoder.timed` the curve E(x0, t); with `kl` it is VDRL.

Source: Abstreiter, Mittal et al., arXiv:2105.14257 eq. 8-10.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learning.augment.draws import uniform
from learning.score_matching import diffused, guessed_noise, normal, score_loss
from learning.sde import Sde, VarianceExploding, VariancePreserving, spread_times
from manifests.errors import UserError
from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import DrlConfig
from trainer.objectives.coded import MIX, NOISE, TIME, Coded
from trainer.objectives.inputs import Inputs
from trainer.objectives.objective import Features


class Drl(Coded):
    def __init__(self, config: RunConfig, settings: DrlConfig, encoder: Encoder) -> None:
        super().__init__(config, settings, encoder)
        if settings.mixup and config.cache_groups is not None:
            raise UserError("objective.mixup mixes images of a part with one another; leave cache_groups out")
        self.sde: Sde = (
            VarianceExploding(sigma_max=settings.sigma_max) if settings.sde == "ve" else VariancePreserving()
        )
        self.levels, self.mixup = settings.levels, settings.mixup

    def times(self, inputs: Inputs) -> Tensor:
        """Draw every image's time, float64 [n]."""
        return spread_times(uniform(self.seeds(inputs), TIME, 1)[:, 0], self.sde, self.levels)

    def features(self, inputs: Inputs) -> Features:
        images = inputs.crops[0][0]  # [n, 3, S, S]
        shares = self.shares(inputs)
        if shares is not None:
            kept = (shares / 2).to(images.dtype)[:, None, None, None]
            images = kept * images + (1 - kept) * images.roll(inputs.views, dims=0)
        if not self.encoder.timed:
            return (self.encoder(images)[None],)
        return (self.encoder(images, self.times(inputs).to(images.dtype))[None],)

    def shares(self, inputs: Inputs) -> Tensor | None:
        """Twice the share that mixup leaves of an image: 1 on average."""
        return 2 * uniform(self.seeds(inputs), MIX, 1)[:, 0] if self.mixup else None

    def plain_losses(self, codes: Tensor, inputs: Inputs, images: slice) -> Tensor:
        clean, times = inputs.crops[0][0][images], self.times(inputs)[images]
        with torch.autocast(clean.device.type, enabled=False):
            noise = normal(self.seeds(inputs)[images], NOISE, tuple(clean.shape[1:])).to(clean.dtype)
            noisy = diffused(clean, noise, times, self.sde)
        guessed = guessed_noise(self.net, noisy, times, codes, self.sde, self.settings.data_std)
        return score_loss(guessed.to(clean.dtype), noise)
