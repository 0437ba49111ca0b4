"""What the training loop asks of a method.

An objective is a module around the encoder and its heads. Its forward pass is `loss(features(inputs), inputs)`; the two
halves are public so that features may be computed in parts, before anything is compared. State that is no parameter
(queues, teachers) moves in `after_step`, so that no objective needs a loop of its own.
"""

from __future__ import annotations

from torch import Tensor, nn

from learning.optim import ParameterGroup, parameter_groups
from trainer.encoders import Encoder
from trainer.objectives.inputs import Crop, Inputs, stacked

Features = tuple[Tensor, ...]
Report = dict[str, Tensor]


class Objective(nn.Module):
    """A method of learning from views."""

    views_needed = 1  # the least number of views a group that the method can learn from
    reads_text = False
    encoder: Encoder
    crops: tuple[Crop, ...]
    embeddings: Tensor | None = None  # of the newest step, [≤ 512, D], for what is measured once a window

    def features(self, inputs: Inputs) -> Features:
        """Map crops to what the loss compares, up to the heads; every tensor holds the groups' images in dimension 1.

        Shapes: [count, n, D] each.
        """
        return (self.encoded(inputs.crops[0]),)

    def encoded(self, crops: Tensor) -> Tensor:
        """Run the encoder over stacked crops. Shapes: [count, n, 3, S, S] -> [count, n, D]."""
        return stacked(self.encoder(crops.flatten(0, 1)), len(crops))

    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        """Return the loss whose gradient, averaged over ranks, is the global batch's; and global numbers to report."""
        raise NotImplementedError

    def forward(self, inputs: Inputs) -> tuple[Tensor, Report]:
        return self.loss(self.features(inputs), inputs)

    def param_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """Return the trainable parameters as an optimizer takes them."""
        return parameter_groups(self, weight_decay=weight_decay)

    def after_step(self, images_seen: int) -> None:
        """Move what no gradient moves, once an optimizer step was really taken."""
