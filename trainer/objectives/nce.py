"""Every embedding against those of all ranks but itself: the comparison of SimCLR, SupCon and StableRep."""

from __future__ import annotations

from torch import Tensor

from learning.gather import all_gather
from learning.losses import multi_positive_nce
from trainer.distributed import own_columns
from trainer.objectives.objective import Report
from trainer.objectives.reports import contrastive_report, spread


def compared(
    embeddings: Tensor, ids: Tensor, *, temperature: float, decoupled: bool = False
) -> tuple[Tensor, Tensor, Report]:
    """Return the loss summed over this rank's anchors, how many have a positive, and what to report.

    Shapes: embeddings [n, D] of unit length, ids [n].
    """
    keys, key_ids = all_gather(embeddings), all_gather(ids)  # [N, D], [N]
    itself = own_columns(len(ids), ids.device)
    total, anchors = multi_positive_nce(
        embeddings,
        keys,
        ids,
        key_ids,
        exclude_index=itself,
        temperature=temperature,
        decoupled=decoupled,
    )
    report = contrastive_report(total, embeddings.detach(), keys.detach(), ids, key_ids, exclude_index=itself)
    return total, anchors, {**report, **spread(embeddings.detach())}
