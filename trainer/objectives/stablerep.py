"""StableRep: all views with one positive_id are positives, each augmented once; the target is uniform over them.

The id is the prompt's, so that one prompt in two groups, on two ranks or in two data sets is a positive, never a
negative. Source: arXiv:2306.00984 eq. 1-3.
"""

from __future__ import annotations

from torch import Tensor

from trainer.objectives.contrastive import Contrastive
from trainer.stream import Batch


class StableRep(Contrastive):
    views_needed = 2

    def target_ids(self, batch: Batch) -> Tensor:
        return batch.ids[:, None].expand(-1, batch.images.shape[1])
