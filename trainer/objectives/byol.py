"""BYOL and SimSiam: predict the other crop's projection, without negatives.

BYOL's target is a slow copy (arXiv:2006.07733 eq. 2); SimSiam's is the encoder itself, without a gradient
(arXiv:2011.10566, algorithm 1). With positives "group" the other crop is of the group's next view.
"""

from __future__ import annotations

import torch
from torch import Tensor

from learning.gather import all_reduce_sum, share_of_global_mean
from learning.heads import ProjectionHead
from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import ByolConfig, SimSiamConfig
from trainer.objectives.contrastive import projection
from trainer.objectives.inputs import Inputs, next_view, stacked
from trainer.objectives.objective import Features, Objective, Report
from trainer.objectives.presets import pair
from trainer.objectives.reports import DIAGNOSED_ROWS, spread
from trainer.objectives.teacher import Teacher, rising_momentum, unit


def both(inputs: Inputs) -> Tensor:
    """Join two kinds of crops. Shapes: [2, n, 3, S, S]."""
    return torch.cat(inputs.crops)


class Predictive(Objective):
    """Two crops, a head, a predictor; a method says what the prediction is compared with."""

    is_projection_normalised: bool
    weight: float  # of the mean squared distance, so that a paper's learning rate means what it says

    def __init__(self, config: RunConfig, settings: ByolConfig | SimSiamConfig, encoder: Encoder) -> None:
        super().__init__()
        self.crops = pair(config)
        self.encoder = encoder
        self.head = projection(settings, encoder.dimensions, is_output_normalised=self.is_projection_normalised)
        wide = settings.dimensions
        self.predictor = ProjectionHead(wide, settings.predictor_hidden, wide, layers=2, norm=settings.norm)
        self.positives = settings.positives

    def features(self, inputs: Inputs) -> Features:
        return (self.encoded(both(inputs)),)

    def distance(self, projected: Tensor, targets: Tensor, inputs: Inputs) -> tuple[Tensor, Report]:
        """Weigh the mean of 2 - 2 cos of each prediction and the other crop's target. Shapes: both [2, n, D]."""
        predicted = stacked(unit(self.predictor(projected.flatten(0, 1))), len(projected))
        others = unit(targets.detach()).flip(0)
        if self.positives == "group":
            others = torch.stack([next_view(rows, inputs.views) for rows in others])
        squared = 2 - 2 * (predicted * others).sum(dim=2)  # [2, n]
        count = torch.tensor(squared.numel(), device=squared.device)
        flat = unit(projected.detach()).flatten(0, 1)
        self.embeddings = flat[:DIAGNOSED_ROWS]
        sums = all_reduce_sum(torch.stack([squared.detach().double().sum(), count.double()]))
        alignment = sums[0] / sums[1]
        report = {"loss": self.weight * alignment, "alignment": alignment, **spread(flat)}
        return self.weight * share_of_global_mean(squared.sum(), count), report


class Byol(Predictive):
    """Features: both crops' of the backbone, and of the slow one, which have no gradient."""

    is_projection_normalised = False  # "Implementation details": unlike in SimCLR, the output is not
    weight = 2.0  # both directions are summed (eq. 2 and below)

    def __init__(self, config: RunConfig, settings: ByolConfig, encoder: Encoder) -> None:
        super().__init__(config, settings, encoder)
        self.teacher = Teacher(encoder=encoder, head=self.head)
        self.momentum, self.total_images = settings.momentum, config.images

    def features(self, inputs: Inputs) -> Features:
        crops = both(inputs)
        with torch.no_grad():
            slow = stacked(self.teacher["encoder"](crops.flatten(0, 1)), len(crops))
        return self.encoded(crops), slow

    @torch.no_grad()
    def targets(self, slow: Tensor) -> Tensor:
        """Run the slow head over the whole batch. Shapes: [2, n, F] -> [2, n, D]."""
        return stacked(self.teacher["head"](slow.flatten(0, 1)), len(slow))

    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        projected = stacked(self.head(features[0].flatten(0, 1)), len(features[0]))
        return self.distance(projected, self.targets(features[1]), inputs)

    def after_step(self, images_seen: int) -> None:
        momentum = rising_momentum(images_seen, self.total_images, self.momentum)
        self.teacher.follow(momentum, encoder=self.encoder, head=self.head)


class SimSiam(Predictive):
    is_projection_normalised = True  # section 3, "Baseline settings": its output too, the predictor's not
    weight = 0.5  # eq. 2 is the mean of two -cos, which this is but for a constant 1

    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        projected = stacked(self.head(features[0].flatten(0, 1)), len(features[0]))
        return self.distance(projected, projected, inputs)
