"""What the training loop asks of a method.

An objective is a module around the encoder and its heads. Its forward pass is `loss(features(images), ids)`; the two
halves are public so that a loop may compute features in parts. State that is no parameter (queues, teachers) moves in
`after_step`, so that no objective needs a loop of its own.
"""

from __future__ import annotations

from torch import Tensor, nn

from learning.optim import ParameterGroup, parameter_groups
from trainer.encoders import Encoder
from trainer.stream import Batch


class Objective(nn.Module):
    """Shapes: n = crops · b · m images of a batch [b, m], ordered [crops, b, m]."""

    views_needed = 1  # the least number of views a group that the method can learn from
    crops = 1  # augmented copies of every image
    encoder: Encoder

    def target_ids(self, batch: Batch) -> Tensor:
        """Return int64 [b, m]: images with equal ids are positives of one another."""
        raise NotImplementedError

    def features(self, images: Tensor) -> Tensor:
        """Map normalised images [n, 3, S, S] to backbone features [n, D]."""
        features: Tensor = self.encoder(images)
        return features

    def loss(self, features: Tensor, ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss whose gradient, averaged over ranks, is the global batch's; and global numbers to report."""
        raise NotImplementedError

    def forward(self, images: Tensor, ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.loss(self.features(images), ids)

    def param_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """Return the trainable parameters as an optimizer takes them."""
        return parameter_groups(self, weight_decay=weight_decay)

    def after_step(self, images_seen: int) -> None:
        """Move what no gradient moves, once an optimizer step was really taken."""
