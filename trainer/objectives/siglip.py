"""SigLIP: every pair of an image and a caption is a yes-or-no question of its own. Source: arXiv:2303.15343 eq. 1.

The pairs are made in chunks of rows, again in the backward pass: memory is linear in the batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint

from learning.gather import all_gather, all_reduce_sum, share_of_global_mean
from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.objective_config import SiglipConfig
from trainer.objectives.inputs import Inputs
from trainer.objectives.objective import Features, Report
from trainer.objectives.reports import DIAGNOSED_ROWS, contrastive_report, spread
from trainer.objectives.two_towers import TwoTowers

CHUNK_ROWS = 1024


class Siglip(TwoTowers):
    def __init__(self, config: RunConfig, settings: SiglipConfig, encoder: Encoder, vocabulary: int) -> None:
        super().__init__(config, settings, encoder, vocabulary)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10.0)))  # section 3.1, as is the bias
        self.logit_bias = nn.Parameter(torch.tensor(-10.0))

    def loss(self, features: Features, inputs: Inputs) -> tuple[Tensor, Report]:
        images, texts = self.projected(features)
        keys, key_ids = all_gather(texts), all_gather(inputs.ids[:: inputs.views])
        total = pairwise(images, keys, inputs.ids, key_ids, self.logit_scale.exp(), self.logit_bias)
        count = torch.tensor(len(images), device=images.device)
        self.embeddings = images.detach()[:DIAGNOSED_ROWS]
        found = contrastive_report(total, images.detach(), keys.detach(), inputs.ids, key_ids)
        sums = all_reduce_sum(torch.stack([total.detach().double(), count.double()]))
        told = {"loss": sums[0] / sums[1], "alignment": found["alignment"], **spread(images.detach())}
        return share_of_global_mean(total, count), {**told, "logit_scale": self.logit_scale.detach().exp()}


def pairwise(images: Tensor, texts: Tensor, ids: Tensor, text_ids: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Sum -log σ(±(scale · cos + bias)) over all pairs, + where the ids are equal. Shapes: [n, D], [N, D]."""
    total = images.new_zeros(())
    for start in range(0, len(images), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        total = total + checkpoint(_chunk, images[rows], texts, ids[rows], text_ids, scale, bias, use_reentrant=False)
    return total


def _chunk(images: Tensor, texts: Tensor, ids: Tensor, text_ids: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    with torch.autocast(images.device.type, enabled=False):
        logits = scale * images @ texts.T + bias  # [c, N]
        signs = torch.where(ids[:, None] == text_ids[None, :], 1.0, -1.0).to(logits.dtype)
        return -logsigmoid(signs * logits).sum()
