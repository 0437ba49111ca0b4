"""iBOT's patch loss: the student guesses, of masked patches, to which prototype the teacher assigns them.

Source: arXiv:2111.07832 eq. 2; assignments by Sinkhorn-Knopp as in SynCLR (arXiv:2312.17742 appendix A.3).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from learning.gather import all_reduce_sum, share_of_global_mean
from learning.heads import ProjectionHead
from manifests.errors import UserError
from trainer.encoders import Encoder
from trainer.objectives.teacher import unit

SINKHORN_ROUNDS = 3


class PatchMask(nn.Module):
    """Replaces chosen patch embeddings of a vision transformer by a learned token, while a mask is set."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        backbone: Any = encoder.backbone
        if not hasattr(backbone, "patch_embed") or not hasattr(backbone, "num_prefix_tokens"):
            raise UserError(
                f"iBOT masks patches, which {encoder.architecture} has none of; take a vision transformer, "
                "or set objective.ibot_weight=0"
            )
        self.token = nn.Parameter(torch.zeros(backbone.embed_dim))
        self.prefix = int(backbone.num_prefix_tokens)
        self.mask: Tensor | None = None
        backbone.patch_embed.register_forward_hook(self._replace)

    def _replace(self, module: nn.Module, inputs: object, patches: Tensor) -> Tensor:
        if self.mask is None:
            return patches
        mask = self.mask.reshape(patches.shape[:-1])  # [n, P], or [n, h, w]
        return torch.where(mask[..., None], self.token.to(patches.dtype), patches)

    def tokens(self, encoder: Encoder, images: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return pooled features [n, D] and patch tokens [n, P, D], with some patches masked."""
        self.mask = mask
        try:
            backbone: Any = encoder.backbone
            hidden = backbone.forward_features(images)
            return backbone.forward_head(hidden, pre_logits=True), hidden[:, self.prefix :]
        finally:
            self.mask = None


def draw_mask(images: int, patches: int, *, share_of_images: float, share_of_patches: float) -> Tensor:
    """Draw which patches of which images are masked, the same number in each image that is. Shapes: bool [n, P]."""
    is_chosen = torch.rand(images) < share_of_images
    ranks = torch.rand(images, patches).argsort(dim=1).argsort(dim=1)
    return (ranks < round(share_of_patches * patches)) & is_chosen[:, None]


class PrototypeHead(nn.Module):
    """Patch tokens -> scores of prototypes, by an MLP and unit-length prototypes."""

    def __init__(self, width: int, hidden: int, dimensions: int, prototypes: int) -> None:
        super().__init__()
        self.head = ProjectionHead(width, hidden, dimensions, layers=3, norm="layer")
        self.prototypes = nn.Linear(dimensions, prototypes, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = unit(self.head(tokens)) @ unit(self.prototypes.weight).T
        return scores


@torch.no_grad()
def sinkhorn(scores: Tensor, temperature: float) -> Tensor:
    """Assign rows of all ranks to prototypes so that all prototypes are used alike.

    Shapes: [r, K] -> rows that sum to 1, [r, K]; ranks may hold different numbers of rows.
    """
    peak = all_reduce_max(scores)
    weights = ((scores.double() - peak) / temperature).exp()
    for _ in range(SINKHORN_ROUNDS):
        weights = weights / all_reduce_sum(weights.sum(dim=0)).clamp(min=1e-30)  # prototypes alike
        weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-30)  # then rows
    return weights.to(scores.dtype)


def all_reduce_max(scores: Tensor) -> Tensor:
    """Return the largest score of all ranks; it cancels out, and keeps the exponential finite."""
    import torch.distributed as dist

    peak = scores.detach().double().amax() if scores.numel() else torch.tensor(-torch.inf, dtype=torch.float64)
    peak = peak.to(scores.device)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(peak, op=dist.ReduceOp.MAX)
    return peak


def patch_loss(scores: Tensor, assigned: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of masked patches, mean over an image's patches, then over all ranks' masked images.

    Shapes: scores and assigned [r, K] of the r masked patches; mask bool [n, P].
    """
    precise = scores.to(torch.promote_types(scores.dtype, torch.float32))
    per_patch = -(assigned * log_softmax(precise / temperature, dim=1)).sum(dim=1)  # [r]
    masked = mask.sum(dim=1).clamp(min=1)  # [n]
    weights = (1.0 / masked)[:, None].expand_as(mask)[mask]  # [r]
    return share_of_global_mean((per_patch * weights).sum(), mask.any(dim=1).sum())
