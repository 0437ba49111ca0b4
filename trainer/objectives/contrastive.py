"""What SimCLR and StableRep share: one tower, one projection head, and every image of the global batch as a key."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from learning.gather import all_gather, all_reduce_sum, share_of_global_mean
from learning.heads import ProjectionHead
from learning.losses import multi_positive_nce
from trainer.config import ObjectiveConfig
from trainer.distributed import own_columns
from trainer.encoders import Encoder
from trainer.objectives.objective import Objective

_DIAGNOSED_ROWS = 512  # uniformity compares all pairs of these: quadratic


class Contrastive(Objective):
    """Encoder, head and multi-positive loss; a method says how often to crop and which images are alike."""

    def __init__(self, config: ObjectiveConfig, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = ProjectionHead(
            encoder.dimensions, config.hidden, config.dimensions, layers=config.layers, norm=config.norm
        )
        self.temperature, self.decoupled = config.temperature, config.decoupled

    def loss(self, features: Tensor, ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        embeddings = normalize(self.head(features).float(), dim=1)  # [n, D]
        keys, key_ids = all_gather(embeddings), all_gather(ids)  # [N, D], [N]
        total, anchors = multi_positive_nce(
            embeddings,
            keys,
            ids,
            key_ids,
            exclude_index=own_columns(len(ids), ids.device),
            temperature=self.temperature,
            decoupled=self.decoupled,
        )
        report = _report(total, anchors, embeddings.detach(), keys.detach(), ids, key_ids)
        return share_of_global_mean(total, anchors), report


@torch.no_grad()
def _report(
    total: Tensor, anchors: Tensor, embeddings: Tensor, keys: Tensor, ids: Tensor, key_ids: Tensor
) -> dict[str, Tensor]:
    """Means over the global batch's anchors: the loss, its distance from log|P|, and signs of collapse."""
    positives, squared_distance = _positive_pairs(embeddings, keys, ids, key_ids)
    has_positive = positives > 0
    sums = torch.stack(
        [
            total.double(),
            positives.clamp(min=1).double().log().sum(),  # log|P| is the least that the loss can be
            (squared_distance * has_positive).double().sum(),
            has_positive.double().sum(),
        ]
    )
    loss, log_positives, alignment, count = all_reduce_sum(sums).unbind()
    count = count.clamp(min=1)
    return {
        "loss": loss / count,
        "loss_minus_log_positives": (loss - log_positives) / count,
        "alignment": alignment / count,
        "uniformity": _uniformity(embeddings[:_DIAGNOSED_ROWS]),
        "feature_std": embeddings.std(dim=0).mean()
        * embeddings.shape[1] ** 0.5,  # 1: spread over the sphere, 0: collapsed
    }


def _positive_pairs(embeddings: Tensor, keys: Tensor, ids: Tensor, key_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Number of positives of each anchor, and its mean squared distance to them (alignment). Shapes: [n], [n]."""
    unique_ids, key_group, counts = torch.unique(key_ids, return_inverse=True, return_counts=True)
    group = torch.searchsorted(unique_ids, ids)
    group_sum = keys.new_zeros(len(unique_ids), keys.shape[1]).index_add(0, key_group, keys)
    positives = counts[group] - 1  # without the anchor itself
    cosine = (embeddings * (group_sum[group] - embeddings)).sum(dim=1) / positives.clamp(min=1)
    return positives, 2 - 2 * cosine


def _uniformity(embeddings: Tensor) -> Tensor:
    """Log of the mean Gaussian potential of all pairs. Source: Wang & Isola 2020, arXiv:2005.10242 eq. 6."""
    return torch.pdist(embeddings).square().mul(-2).exp().mean().log()
