"""What SimCLR, SupCon and StableRep share: one tower, one head, and every image of the global batch as a key."""

from __future__ import annotations

from torch import Tensor

from learning.gather import share_of_global_mean
from learning.heads import ProjectionHead
from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import ContrastiveConfig, ProjectionConfig
from trainer.objectives.inputs import Inputs
from trainer.objectives.nce import compared
from trainer.objectives.objective import Features, Objective, Report
from trainer.objectives.reports import DIAGNOSED_ROWS
from trainer.objectives.teacher import unit


class Contrastive(Objective):
    """Encoder, head and multi-positive loss; a method says how often to crop and which images are alike."""

    def __init__(self, config: RunConfig, settings: ContrastiveConfig, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = projection(settings, encoder.dimensions)
        self.temperature, self.decoupled = settings.temperature, settings.decoupled

    def target_ids(self, inputs: Inputs) -> Tensor:
        """Return int64 [n]: images with equal ids are positives of one another."""
        raise NotImplementedError

    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        ids = self.target_ids(inputs).repeat(features[0].shape[0])
        embeddings = unit(self.head(features[0].flatten(0, 1)))  # [copies·n, D]
        self.embeddings = embeddings.detach()[:DIAGNOSED_ROWS]
        total, anchors, report = compared(embeddings, ids, temperature=self.temperature, decoupled=self.decoupled)
        return share_of_global_mean(total, anchors), report


def projection(settings: ProjectionConfig, width: int, *, is_output_normalised: bool = False) -> ProjectionHead:
    """Return the projection head that a config describes."""
    return ProjectionHead(
        width,
        settings.hidden,
        settings.dimensions,
        layers=settings.layers,
        norm=settings.norm,
        is_output_normalised=is_output_normalised,
    )
