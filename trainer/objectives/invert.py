"""Latent inversion: guess from pixels what the generator was given, a latent, a step or a class.

Squared error, and for the conditional head cross-entropy of the class. Source: the inverters of Jahanian et al., ICLR
2022 (GenRep), section 4.3 and its code. `r2` is the share of the targets' variance in the batch that is guessed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from learning.gather import all_reduce_sum, share_of_global_mean
from manifests.errors import UserError
from trainer.config import RunConfig
from trainer.data_facts import DataFacts
from trainer.encoders import Encoder
from trainer.objective_config import InvertConfig
from trainer.objectives.inputs import Inputs
from trainer.objectives.objective import Features, Objective, Report
from trainer.objectives.presets import crop
from trainer.objectives.reports import DIAGNOSED_ROWS
from trainer.objectives.teacher import unit


class Invert(Objective):
    """Numbers are guessed in deviations from the data's mean, so that those of a small scale count like others."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: RunConfig, settings: InvertConfig, encoder: Encoder, facts: DataFacts) -> None:
        super().__init__()
        if not facts.target_mean:
            raise UserError(f"invert guesses each image's {settings.target}, and the data have none")
        if settings.conditional and facts.class_ids < 2:
            raise UserError(
                f"objective.conditional guesses the class, and the rows' class_id has {facts.class_ids}; expected two"
                " or more, or conditional: false"
            )
        self.crops = (crop(config),)
        self.encoder, self.settings = encoder, settings
        self.head = nn.Linear(encoder.dimensions, len(facts.target_mean))
        self.register_buffer("mean", torch.tensor(facts.target_mean))
        self.register_buffer("std", torch.tensor(facts.target_std))
        self.classifier = nn.Linear(encoder.dimensions, facts.class_ids) if settings.conditional else None

    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        assert inputs.targets is not None
        rows = features[0][0]
        guessed = self.head(rows)
        guessed = guessed.to(torch.promote_types(guessed.dtype, torch.float32))
        targets = ((inputs.targets - self.mean) / self.std).to(guessed.dtype)
        squared = (guessed - targets).square().mean(dim=1)  # [n]
        self.embeddings = unit(rows.detach())[:DIAGNOSED_ROWS]
        count = torch.tensor(len(rows), device=rows.device)
        loss, report = share_of_global_mean(squared.sum(), count), _fit(guessed.detach(), targets)
        if self.classifier is None:
            return loss, {"loss": report["squared_error"], **report}
        crossed, found = self._classes(self.classifier(rows), inputs)
        weight = self.settings.class_weight
        return loss + weight * crossed, {
            "loss": report["squared_error"] + weight * found["cross_entropy"],
            **report,
            **found,
        }

    def guesses(self, features: Tensor) -> Tensor:
        """Return the guessed numbers in the data's own units. Shapes: [n, D] -> [n, T]."""
        found: Tensor = self.head(features) * self.std + self.mean
        return found

    def _classes(self, logits: Tensor, inputs: Inputs) -> tuple[Tensor, Report]:
        assert inputs.class_ids is not None
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        known = inputs.class_ids >= 0
        total = cross_entropy(logits, inputs.class_ids.where(known, -100), ignore_index=-100, reduction="sum")
        right = (logits.argmax(dim=1) == inputs.class_ids).sum()
        sums = all_reduce_sum(torch.stack([total.detach().double(), right.double(), known.sum().double()]))
        count = sums[2].clamp(min=1)
        return share_of_global_mean(total, known.sum()), {"cross_entropy": sums[0] / count, "accuracy": sums[1] / count}


@torch.no_grad()
def _fit(guessed: Tensor, targets: Tensor) -> Report:
    """The global batch's mean squared error and the mean over dimensions of R²."""
    ones = torch.ones_like(targets[:, :1])
    parts = [(guessed - targets).square(), targets, targets.square(), ones]
    sums = all_reduce_sum(torch.cat([part.double().sum(dim=0) for part in parts]))
    wide = targets.shape[1]
    errors, total, squares, count = sums[:wide], sums[wide : 2 * wide], sums[2 * wide : -1], sums[-1]
    variance = (squares - total.square() / count).clamp(min=1e-12)
    return {"squared_error": errors.mean() / count, "r2": (1 - errors / variance).mean()}
