"""What every network that draws images from latent vectors looks like: StyleGAN, BigGAN, DCGAN behind one face.

A row's image depends on that row alone. Nothing draws random numbers inside: noise comes from outside, by seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch


class LatentNetwork(Protocol):
    """A module from latents to images, differentiable in z and ws.

    Units: image_size and noise_shapes in px, height before width.
    """

    z_dim: int
    w_dim: int
    num_layers: int  # style inputs; 1 where there are none
    num_classes: int  # 0: unconditional
    image_size: tuple[int, int]
    noise_shapes: tuple[tuple[int, int], ...]  # of the layers that add noise

    def map(
        self, z: torch.Tensor, class_ids: torch.Tensor | None, psi: torch.Tensor, cutoff: int | None = None
    ) -> torch.Tensor:
        """Turn z into style inputs, truncated row by row towards the mean by psi in the layers before the cutoff.

        Shapes: z [n, z_dim]; class_ids int64 [n]; psi [n]; returns [n, num_layers, w_dim].
        """

    def synthesize(
        self,
        ws: torch.Tensor,
        class_ids: torch.Tensor | None,
        psi: torch.Tensor,
        noise: Sequence[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Draw images, nominally in [-1, 1]; without noise the noise inputs are left out.

        Shapes: ws [n, num_layers, w_dim]; noise [n, 1, h, w] per noise layer; returns [n, 3, height, width].
        """

    def constant_noise(self) -> Sequence[torch.Tensor] | None:
        """Return the noise that belongs to the weights, [1, 1, h, w] a layer; None where there is none."""
