"""Training objectives: what a batch becomes, which images are positives of one another, and the loss.

An objective is a module around the encoder and its heads. Its forward pass is `loss(features(images), ids)`; the two
halves are public so that a loop may compute features in parts. State that is no parameter (queues, teachers) moves in
`after_step`, so that no objective needs a loop of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from manifests.errors import UserError
from trainer.config import RunConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from learning.optim import ParameterGroup
    from trainer.encoders import Encoder
    from trainer.stream import Batch


class Objective(Protocol):
    """What the training loop asks of a method. Shapes: n = crops · b · m images, ordered [crops, b, m]."""

    views_needed: int  # the least number of views a group that the method can learn from
    crops: int  # augmented copies of every image
    encoder: Encoder

    def target_ids(self, batch: Batch) -> Tensor:
        """Return int64 [b, m]: images with equal ids are positives of one another."""

    def features(self, images: Tensor) -> Tensor:
        """Map normalised images [n, 3, S, S] to backbone features [n, D]."""

    def loss(self, features: Tensor, ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss whose gradient, averaged over ranks, is the global batch's; and global numbers to report."""

    def param_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """Return the trainable parameters as an optimizer takes them."""

    def after_step(self, images_seen: int) -> None:
        """Move what no gradient moves, once an optimizer step was really taken."""


def build_objective(config: RunConfig) -> nn.Module:
    """Build the encoder and the objective around it; torch's generator decides the weights.

    Raises: UserError when the batch holds too few views for the method.
    """
    from trainer.encoders import build_encoder
    from trainer.objectives.simclr import SimCLR
    from trainer.objectives.stablerep import StableRep

    objective = {"simclr": SimCLR, "stablerep": StableRep}[config.objective.name]
    if config.data.views < objective.views_needed:
        raise UserError(
            f"{config.objective.name} compares views of a group and needs {objective.views_needed} or more, "
            f"data.views is {config.data.views}; set data.views, or take the simclr preset"
        )
    return objective(config.objective, build_encoder(config.encoder))
