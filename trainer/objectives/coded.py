"""What DRL and the autoencoders share: an encoder's code of an image, its regularisation, and a net that is told it.

Whatever is random is drawn by the image's number in the run, so that ranks and parts of a batch draw alike.
`code_gap`, the loss with another image's code minus that with its own, says whether the codes are used at all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from learning.gather import all_reduce_sum, share_of_global_mean
from learning.score_matching import kl_to_standard_normal, normal
from learning.score_net import ScoreNet
from manifests.errors import UserError
from manifests.seeds import derive
from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import CodedConfig
from trainer.objectives.inputs import Inputs
from trainer.objectives.objective import Features, Objective, Report
from trainer.objectives.presets import crop
from trainer.objectives.reports import DIAGNOSED_ROWS
from trainer.objectives.teacher import unit

# One stream of random numbers per use.
TIME, NOISE, POSTERIOR, MIX = range(1, 5)
_GAP_IMAGES = 16  # of each step: a window holds many steps
_LOG_VARIANCE_BOUND = 10.0


class Coded(Objective):
    """Features [1, n, D]; a method says what is asked of the net that is told a code."""

    def __init__(self, config: RunConfig, settings: CodedConfig, encoder: Encoder) -> None:
        super().__init__()
        halvings = len(settings.net.multipliers) - 1
        if config.encoder.size_px % 2**halvings:
            raise UserError(
                f"encoder.size_px is {config.encoder.size_px}; objective.net.multipliers halve it {halvings} times: "
                f"expected a multiple of {2**halvings}"
            )
        self.crops = (crop(config),)
        self.encoder, self.settings = encoder, settings
        outputs = 2 * settings.dimensions if settings.regularisation == "kl" else settings.dimensions
        self.code = nn.Linear(encoder.dimensions, outputs)
        self.net = ScoreNet(settings.dimensions, **settings.net.model_dump())
        self._offset = derive(config.seed, "diffusion") >> 2

    def plain_losses(self, codes: Tensor, inputs: Inputs, images: slice) -> Tensor:
        """Return every image's loss for given codes. Shapes: [n, dimensions] -> [n]."""
        raise NotImplementedError

    def shares(self, inputs: Inputs) -> Tensor | None:
        """Return how much each image counts, [n], or None where all count alike."""
        return None

    def seeds(self, inputs: Inputs) -> Tensor:
        """Return int64 [n]."""
        return inputs.images + self._offset

    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        outputs = self.code(features[0][0])
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        mean, codes, penalties = self._coded(outputs, inputs)
        losses = self.plain_losses(codes, inputs, slice(None))
        shares = self.shares(inputs)
        counted = losses if shares is None else losses * shares.to(losses.dtype)
        total = (counted + self.settings.weight * penalties).sum()
        count = torch.tensor(len(losses), device=losses.device)
        self.embeddings = unit(mean.detach())[:DIAGNOSED_ROWS]
        report = self._report(mean.detach(), codes.detach(), losses.detach(), penalties.detach(), inputs)
        return share_of_global_mean(total, count), report

    def _coded(self, outputs: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        """Return the codes' means, the codes, and what each costs: [n, D], [n, D], [n]."""
        kind = self.settings.regularisation
        if kind != "kl":
            return outputs, outputs, outputs.abs().sum(dim=1) * (kind == "l1")
        mean, log_variance = outputs.chunk(2, dim=1)
        log_variance = log_variance.clamp(-_LOG_VARIANCE_BOUND, _LOG_VARIANCE_BOUND)
        drawn = normal(self.seeds(inputs), POSTERIOR, (mean.shape[1],)).to(mean.dtype)
        return mean, mean + (log_variance / 2).exp() * drawn, kl_to_standard_normal(mean, log_variance)

    @torch.no_grad()
    def _report(self, mean: Tensor, codes: Tensor, losses: Tensor, penalties: Tensor, inputs: Inputs) -> Report:
        some = slice(0, min(len(codes), max(_GAP_IMAGES, 2 * inputs.views)))
        others = codes[some].roll(inputs.views, dims=0)  # of another group
        gap = self.plain_losses(others, inputs, some) - losses[some]
        count = float(len(losses))
        sums = [losses.sum(), penalties.sum(), gap.mean() * count, _spread(mean) * count, losses.new_tensor(count)]
        plain, penalty, code_gap, spread, counted = all_reduce_sum(torch.stack(sums).double()).unbind()
        kind = self.settings.regularisation
        return {
            "loss": (plain + self.settings.weight * penalty) / counted,
            "plain_loss": plain / counted,
            "code_gap": code_gap / counted,
            "code_std": spread / counted,
            **({} if kind == "none" else {kind: penalty / counted}),
        }


def _spread(rows: Tensor) -> Tensor:
    """Return the share of the rows' size that differs between rows: 0 where all are alike, 1 for a mean of 0."""
    return (rows.var(dim=0, correction=0).sum() / rows.square().mean(dim=0).sum().clamp(min=1e-12)).sqrt()
