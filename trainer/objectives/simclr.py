"""SimCLR: two augmented copies of an image are positives, everything else in the global batch is a negative.

Other views of the same group are negatives too: the method does not know groups. Source: arXiv:2002.05709 eq. 1;
with `decoupled`, DCL: arXiv:2110.06848 eq. 6.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.objectives.contrastive import Contrastive
from trainer.stream import Batch


class SimCLR(Contrastive):
    crops = 2

    def target_ids(self, batch: Batch) -> Tensor:
        views = batch.images.shape[1]
        return batch.positions[:, None] * views + torch.arange(views, device=batch.positions.device)
