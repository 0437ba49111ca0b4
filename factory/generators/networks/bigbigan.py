"""BigBiGAN's generator: an unconditional BigGAN (not -deep) of 128 px.

z is cut into equal chunks: the first one makes the 4x4 grid, each other one steers the norms of one block.

Papers: Donahue and Simonyan 2019, Large Scale Adversarial Representation Learning; Brock et al. 2019, appendix B.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from factory.generators.networks.biggan_layers import ConditionalNorm, PlainNorm, SelfAttention, half_where, upsampled

Width = Annotated[int, Field(ge=1, le=4096)]
Multiple = Annotated[int, Field(ge=1, le=64)]
FIRST_PX = 4
EPS = 1e-4
OUTPUT_EPS = 1e-5  # of the last norm, as the published PyTorch conversion computes it


class Block(nn.Module):
    """Double the size between two steered norms, beside a 1x1 convolution."""

    def __init__(self, channels: int, channels_out: int, chunk_dim: int) -> None:
        super().__init__()
        self.norm1 = ConditionalNorm(channels, chunk_dim, 1, EPS, bias=True)
        self.conv1 = nn.Conv2d(channels, channels_out, 3, padding=1)
        self.norm2 = ConditionalNorm(channels_out, chunk_dim, 1, EPS, bias=True)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, channels_out, 1)

    def forward(self, x: Tensor, chunk: Tensor, psi: Tensor) -> Tensor:
        y = self.conv1(upsampled(F.relu(self.norm1(x, chunk, psi))))
        y = self.conv2(F.relu(self.norm2(y, chunk, psi)))
        shortcut: Tensor = upsampled(self.shortcut(x))  # a 1x1 convolution commutes with copying pixels
        drawn: Tensor = y + shortcut
        return drawn


class Generator(nn.Module):
    """The generator: a block for each pair of neighbours in `multiples`, attention where the grid has attention_px."""

    noise_shapes: tuple[tuple[int, int], ...] = ()
    num_layers = 1
    num_classes = 0

    def __init__(
        self,
        *,
        z_dim: Width = 120,
        channel_width: Width = 96,
        multiples: Annotated[Sequence[Multiple], Field(min_length=2, max_length=11)] = (16, 16, 8, 4, 2, 1),
        attention_px: Width = 64,
        half_layers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__()
        if z_dim % len(multiples):
            raise ValueError(
                f"z_dim {z_dim} cannot be cut into {len(multiples)} equal chunks, one for each of multiples"
            )
        self.z_dim, self.w_dim = z_dim, z_dim
        self.image_size = (FIRST_PX << (len(multiples) - 1),) * 2
        self._half_layers = half_layers
        self._chunk_dim = z_dim // len(multiples)
        widths = [multiple * channel_width for multiple in multiples]
        self._attention_position = _block_that_ends_at(attention_px, len(widths) - 1)
        self.first = nn.Linear(self._chunk_dim, widths[0] * FIRST_PX**2)
        self.blocks = nn.ModuleList(Block(before, after, self._chunk_dim) for before, after in pairwise(widths))
        self.attention = SelfAttention(widths[self._attention_position + 1])
        self.norm = PlainNorm(widths[-1], 1, OUTPUT_EPS)
        self.to_rgb = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def map(self, z: Tensor, class_ids: Tensor | None, psi: Tensor, cutoff: int | None = None) -> Tensor:
        return z[:, None]  # [n, 1, z_dim]

    def synthesize(
        self, ws: Tensor, class_ids: Tensor | None, psi: Tensor, noise: Sequence[Tensor] | None = None
    ) -> Tensor:
        first, *chunks = torch.split(ws[:, 0], self._chunk_dim, dim=1)
        x = self.first(first).unflatten(1, (-1, FIRST_PX, FIRST_PX))
        for i, (block, chunk) in enumerate(zip(self.blocks, chunks, strict=True)):
            with half_where(x, i >= len(self.blocks) - self._half_layers):
                x = block(x, chunk, psi)
                x = self.attention(x) if i == self._attention_position else x
        return torch.tanh(self.to_rgb(F.relu(self.norm(x.float(), psi))))  # [n, 3, H, W]

    def constant_noise(self) -> None:
        return None


def _block_that_ends_at(attention_px: int, blocks: int) -> int:
    sizes = [FIRST_PX << (i + 1) for i in range(blocks)]
    if attention_px not in sizes:
        raise ValueError(f"attention_px {attention_px} is no size on the way, expected one of {sizes}")
    return sizes.index(attention_px)
