"""StyleGAN's mapping network: z and the class to w, truncated row by row towards the mean w.

After Karras et al., arXiv:1812.04948, section 2 and appendix B; the class is embedded beside z as in arXiv:2006.06676.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from factory.generators.networks.equalized import EqualizedLinear, unit_second_moment

MAX_LAYERS = 64  # the official networks have 8 at most


class Mapping(nn.Module):
    """z [n, z_dim] and class ids [n] to w [n, w_dim]; `w_avg` is the mean w, which whoever trains keeps up to date.

    With z_dim 0 it embeds classes alone, for a discriminator, and has no mean to speak of.
    """

    w_avg: Tensor

    def __init__(
        self, z_dim: int, num_classes: int, w_dim: int, *, layers: int = 8, lr_multiplier: float = 0.01
    ) -> None:
        super().__init__()
        if not 0 <= layers <= MAX_LAYERS:
            raise ValueError(f"mapping_layers {layers}: expected 0 to {MAX_LAYERS}")
        self.num_classes = num_classes
        self.embed = EqualizedLinear(num_classes, w_dim) if num_classes else None
        widths = [z_dim + (w_dim if num_classes else 0), *[w_dim] * layers]
        self.layers = nn.ModuleList(
            EqualizedLinear(before, after, activated=True, lr_multiplier=lr_multiplier)
            for before, after in pairwise(widths)
        )
        self.register_buffer("w_avg", torch.zeros(w_dim), persistent=z_dim > 0)

    def forward(self, z: Tensor | None, class_ids: Tensor | None) -> Tensor:
        parts = [] if z is None else [unit_second_moment(z.float())]
        if self.embed is not None:
            assert class_ids is not None, "a conditional network needs class ids"
            parts.append(unit_second_moment(self.embed(F.one_hot(class_ids, self.num_classes).float())))
        x = torch.cat(parts, dim=1)
        for layer in self.layers:
            x = layer(x)
        return x

    def truncated(self, w: Tensor, psi: Tensor, num_layers: int, cutoff: int | None) -> Tensor:
        """Give every layer its w, moved towards the mean in the layers before the cutoff; psi 1 leaves it as it is.

        Shapes: w [n, w_dim]; psi [n]; returns [n, num_layers, w_dim].
        """
        near = self.w_avg.lerp(w, psi[:, None])[:, None]  # [n, 1, w_dim]
        truncated_layers = num_layers if cutoff is None else min(cutoff, num_layers)
        whole = w[:, None].expand(-1, num_layers - truncated_layers, -1)
        return torch.cat([near.expand(-1, truncated_layers, -1), whole], dim=1)
