"""BigGAN-deep: class-conditional images of 128, 256 or 512 px, truncated by batch statistics of its own.

z and the embedded class steer every norm; the truncation psi chooses, row by row, at which of the recorded batch
statistics a norm works.

Paper: Brock, Donahue, Simonyan 2019, Large Scale GAN Training for High Fidelity Natural Image Synthesis, appendix B.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from factory.generators.networks.biggan_layers import ConditionalNorm, PlainNorm, SelfAttention, half_where, upsampled

Width = Annotated[int, Field(ge=1, le=4096)]
Multiple = Annotated[int, Field(ge=1, le=64)]
FIRST_PX = 4
REDUCTION = 4  # of channels inside a block


class Block(nn.Module):
    """Two 3x3 convolutions between two 1x1, beside a shortcut that drops channels it has no room for."""

    def __init__(
        self, channels: int, channels_out: int, condition_dim: int, n_stats: int, eps: float, *, is_upsampling: bool
    ) -> None:
        super().__init__()
        middle = channels // REDUCTION
        widths = (channels, middle, middle, middle, channels_out)
        self.is_upsampling = is_upsampling
        self.channels_out = channels_out
        self.norms = nn.ModuleList(ConditionalNorm(c, condition_dim, n_stats, eps, bias=False) for c in widths[:4])
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], kernel, padding=kernel // 2) for i, kernel in enumerate((1, 3, 3, 1))
        )

    def forward(self, x: Tensor, condition: Tensor, psi: Tensor) -> Tensor:
        y = x
        for i, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            y = F.relu(norm(y, condition, psi))
            y = conv(upsampled(y) if self.is_upsampling and i == 1 else y)
        shortcut = x[:, : self.channels_out]
        return y + (upsampled(shortcut) if self.is_upsampling else shortcut)


class Generator(nn.Module):
    """The generator; the arguments have the names and meanings of the published config.json."""

    noise_shapes: tuple[tuple[int, int], ...] = ()
    num_layers = 1

    def __init__(
        self,
        *,
        layers: Sequence[tuple[bool, Multiple, Multiple]],  # (doubles the size?, multiple of channels in, and out)
        num_classes: Annotated[int, Field(ge=1)],
        channel_width: Width = 128,
        z_dim: Width = 128,
        attention_layer_position: Annotated[int, Field(ge=0)] = 8,
        eps: Annotated[float, Field(gt=0)] = 1e-4,
        n_stats: Annotated[int, Field(ge=2, le=1024)] = 51,
        half_layers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__()
        _check_chain(layers, channel_width, attention_layer_position)
        self.z_dim, self.w_dim, self.num_classes = z_dim, z_dim, num_classes
        side_px = FIRST_PX << sum(is_upsampling for is_upsampling, _, _ in layers)
        self.image_size = (side_px, side_px)
        self._half_layers = half_layers
        self._attention_position = attention_layer_position
        self.embedding = nn.Embedding(num_classes, z_dim)
        self.first = nn.Linear(2 * z_dim, layers[0][1] * channel_width * FIRST_PX**2)
        self.blocks = nn.ModuleList(
            Block(before * channel_width, after * channel_width, 2 * z_dim, n_stats, eps, is_upsampling=is_upsampling)
            for is_upsampling, before, after in layers
        )
        self.attention = SelfAttention(layers[attention_layer_position][1] * channel_width)
        self.norm = PlainNorm(layers[-1][2] * channel_width, n_stats, eps)
        self.to_rgb = nn.Conv2d(layers[-1][2] * channel_width, 3, 3, padding=1)

    def map(self, z: Tensor, class_ids: Tensor | None, psi: Tensor, cutoff: int | None = None) -> Tensor:
        return z[:, None]  # [n, 1, z_dim]

    def synthesize(
        self, ws: Tensor, class_ids: Tensor | None, psi: Tensor, noise: Sequence[Tensor] | None = None
    ) -> Tensor:
        if class_ids is None:
            raise ValueError("BigGAN draws classes: class_ids is None, expected int64 [n]")
        condition = torch.cat([ws[:, 0], self.embedding(class_ids)], dim=1)  # [n, 2 * z_dim]
        x = self.first(condition).unflatten(1, (-1, FIRST_PX, FIRST_PX))
        for i, block in enumerate(self.blocks):
            with half_where(x, i >= len(self.blocks) - self._half_layers):
                x = block(self.attention(x) if i == self._attention_position else x, condition, psi)
        return torch.tanh(self.to_rgb(F.relu(self.norm(x.float(), psi))))  # [n, 3, H, W]

    def constant_noise(self) -> None:
        return None


def _check_chain(layers: Sequence[tuple[bool, int, int]], channel_width: int, attention_position: int) -> None:
    """Refuse layers that do not fit each other."""
    if not 0 <= attention_position < len(layers):
        raise ValueError(f"attention_layer_position {attention_position} is none of the {len(layers)} layers")
    for i, (_, before, after) in enumerate(layers):
        if i and before != layers[i - 1][2]:
            raise ValueError(f"layer {i} takes {before} multiples of channels, the one before gives {layers[i - 1][2]}")
        if after > before:
            raise ValueError(f"layer {i} gives {after} multiples of channels, expected at most the {before} it takes")
    smallest = min(before for _, before, _ in layers) * channel_width
    attended = layers[attention_position][1] * channel_width
    if smallest < REDUCTION or attended < 8:
        raise ValueError(f"channel_width {channel_width} leaves no channels; expected at least {8}")
