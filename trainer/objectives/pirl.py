"""PIRL: an image and its shuffled patches both seek the image's entry in a memory bank of all images.

Loss λ·NCE(bank, patches) + (1 - λ)·NCE(bank, image), against entries of other images drawn anew each step.
Source: arXiv:1912.01991 eq. 5-6; the log-softmax form of its successors instead of the binary one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from learning.gather import all_gather, share_of_global_mean
from learning.heads import ProjectionHead
from learning.losses import multi_positive_nce
from trainer.config import RunConfig
from trainer.distributed import of_first_rank
from trainer.encoders import Encoder
from trainer.objective_config import PirlConfig
from trainer.objectives.contrastive import projection
from trainer.objectives.inputs import Inputs
from trainer.objectives.jigsaw import jigsaw_crop, patch_features
from trainer.objectives.objective import Features, Objective, Report
from trainer.objectives.presets import crop
from trainer.objectives.reports import DIAGNOSED_ROWS, contrastive_report, spread
from trainer.objectives.teacher import unit


class Pirl(Objective):
    """Features: the image's [1, n, D], and its patches' [1, n, 9·D]."""

    bank: Tensor

    def __init__(self, config: RunConfig, settings: PirlConfig, encoder: Encoder, stored_images: int) -> None:
        super().__init__()
        self.crops = (crop(config), jigsaw_crop(settings))
        self.encoder, self.head = encoder, projection(settings, encoder.dimensions)
        width = settings.grid**2 * encoder.dimensions
        self.jigsaw_head = ProjectionHead(width, settings.hidden, settings.dimensions, layers=2, norm=settings.norm)
        self.register_buffer("bank", normalize(torch.randn(stored_images, settings.dimensions), dim=1))
        self.settings = settings
        self._pending: tuple[Tensor, Tensor] | None = None

    def features(self, inputs: Inputs) -> Features:
        return self.encoded(inputs.crops[0]), patch_features(self.encoder, inputs.crops[1])

    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        whole = unit(self.head(features[0][0]))
        of_patches = unit(self.jigsaw_head(features[1][0]))
        entries = self.bank[inputs.rows].to(whole.dtype)
        negatives, negative_rows = self._negatives(inputs)
        temperature, weight = self.settings.temperature, self.settings.jigsaw_weight
        total, anchors = torch.zeros((), device=whole.device), torch.zeros((), device=whole.device)
        for queries, share in ((of_patches, weight), (whole, 1 - weight)):
            part, anchors = multi_positive_nce(
                queries, negatives, inputs.rows, negative_rows, own_keys=entries, temperature=temperature
            )
            total = total + share * part
        self._pending = all_gather(inputs.rows), all_gather(whole.detach())
        self.embeddings = whole.detach()[:DIAGNOSED_ROWS]
        compared = whole.detach(), negatives, inputs.rows, negative_rows
        found = contrastive_report(total, *compared, own_keys=entries)
        return share_of_global_mean(total, anchors), {**found, **spread(whole.detach())}

    def _negatives(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Draw entries of other images, the same on all ranks; an anchor's own that is drawn counts as its positive."""
        count = min(self.settings.negatives, len(self.bank))
        rows = of_first_rank(torch.randint(len(self.bank), (count,), device="cpu").to(self.bank.device))
        return self.bank[rows].to(torch.promote_types(self.bank.dtype, torch.float32)), rows

    def after_step(self, images_seen: int) -> None:
        if self._pending is not None:
            rows, embeddings = newest(*self._pending)
            moved = 0.5 * self.bank[rows] + 0.5 * embeddings.to(self.bank.dtype)  # section 3.1
            self.bank[rows] = normalize(moved, dim=1)
            self._pending = None


def newest(rows: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Keep the last of those that name one row, as where two epochs meet: else it were chance which is written.

    Shapes: int64 [n], [n, D] -> distinct rows [u], [u, D].
    """
    distinct, place = torch.unique(rows, return_inverse=True)
    numbers = torch.arange(len(rows), device=rows.device)
    last = torch.zeros_like(distinct).scatter_reduce_(0, place, numbers, "amax", include_self=False)
    return distinct, embeddings[last]
