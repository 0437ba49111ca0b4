"""StyleGAN2's discriminator, which StyleGAN3 shares: residual, aware of the batch, conditional by projection.

Karras et al., arXiv:1912.04958, section 4.1 and appendix B; projection after Miyato and Koyama, arXiv:1802.05637.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from factory.generators.networks.equalized import LRELU_GAIN, LRELU_SLOPE, EqualizedLinear, clamped
from factory.generators.networks.mapping import Mapping
from factory.generators.networks.resampling import halved_and_convolved, low_pass
from factory.generators.networks.stylegan2 import channels_at, first_half_resolution, resolutions

_RESIDUAL_GAIN = math.sqrt(0.5)


class EqualizedConvolution(nn.Module):
    """A convolution with bias, leaky ReLU and clamp; one without bias is linear."""

    down_kernel: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int,
        *,
        has_bias: bool = True,
        down_kernel: Tensor | None = None,
        conv_clamp: float | None = None,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        weight = torch.randn(out_channels, in_channels, size, size)
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if has_bias else None
        self.register_buffer("down_kernel", down_kernel, persistent=False)
        self.gain = gain * LRELU_GAIN if has_bias else gain
        self.weight_gain = self.gain / math.sqrt(in_channels * size**2)
        self.limit = None if conv_clamp is None else conv_clamp * gain

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight * self.weight_gain).to(x.dtype)
        bias = None if self.bias is None else (self.bias * self.gain).to(x.dtype)
        if self.down_kernel is None:
            x = F.conv2d(x, weight, bias, padding=weight.shape[2] // 2)
        else:
            x = halved_and_convolved(x, weight, bias, self.down_kernel)
        return x if bias is None else clamped(F.leaky_relu(x, LRELU_SLOPE, inplace=True), self.limit)


class DownBlock(nn.Module):
    """Two convolutions, the second of which halves the resolution, beside a linear short cut if it is residual."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        down_kernel: Tensor,
        conv_clamp: float | None,
        is_residual: bool,
        is_half: bool,
    ) -> None:
        super().__init__()
        self.is_half = is_half
        gain = _RESIDUAL_GAIN if is_residual else 1.0
        self.conv = EqualizedConvolution(in_channels, in_channels, 3, conv_clamp=conv_clamp)
        self.down = EqualizedConvolution(
            in_channels, out_channels, 3, down_kernel=down_kernel, conv_clamp=conv_clamp, gain=gain
        )
        short_cut = EqualizedConvolution(
            in_channels, out_channels, 1, has_bias=False, down_kernel=down_kernel, gain=gain
        )
        self.short_cut = short_cut if is_residual else None

    def forward(self, x: Tensor) -> Tensor:
        deep: Tensor = self.down(self.conv(x))
        return deep if self.short_cut is None else self.short_cut(x) + deep


class Discriminator(nn.Module):
    """Images to one logit each; the batch must be a multiple of its groups of `group_images`, or smaller than one.

    Units: resolution in px; half_layers counts the resolutions that are float16 on CUDA, from the top.
    """

    def __init__(
        self,
        *,
        resolution: int,
        num_classes: int = 0,
        channel_base: int = 32768,
        channel_max: int = 512,
        architecture: Literal["resnet", "orig"] = "resnet",
        conv_clamp: float | None = None,
        half_layers: int = 0,
        resample_filter: Sequence[float] = (1, 3, 3, 1),
        group_images: int | None = 4,
        statistics_channels: int = 1,
        projection_dim: int | None = None,
        mapping_layers: int = 8,
        mapping_lr_multiplier: float = 0.01,
    ) -> None:
        super().__init__()
        self.resolution, self.num_classes = resolution, num_classes
        self.group_images, self.statistics_channels = group_images, statistics_channels
        sizes = resolutions(resolution)[::-1]
        channels = [channels_at(size, channel_base, channel_max) for size in sizes]
        last = channels[-1]
        self.from_rgb = EqualizedConvolution(3, channels[0], 1, conv_clamp=conv_clamp)
        self.blocks = nn.ModuleList(
            DownBlock(
                channels[i],
                channels[i + 1],
                down_kernel=low_pass(resample_filter),
                conv_clamp=conv_clamp,
                is_residual=architecture == "resnet",
                is_half=size >= first_half_resolution(resolution, half_layers),
            )
            for i, size in enumerate(sizes[:-1])
        )
        width = (projection_dim or last) if num_classes else 0
        self.mapping = (
            Mapping(0, num_classes, width, layers=mapping_layers, lr_multiplier=mapping_lr_multiplier)
            if num_classes
            else None
        )
        self.conv = EqualizedConvolution(last + statistics_channels, last, 3, conv_clamp=conv_clamp)
        self.dense = EqualizedLinear(last * 4**2, last, activated=True)
        self.out = EqualizedLinear(last, width or 1)

    def forward(self, images: Tensor, class_ids: Tensor | None = None) -> Tensor:
        """Shapes: images [n, 3, resolution, resolution]; class_ids int64 [n]; returns [n]."""
        x = images.contiguous(memory_format=torch.channels_last)
        for i, block in enumerate(self.blocks):
            x = x.to(torch.float16 if block.is_half and x.is_cuda else torch.float32)
            x = block(self.from_rgb(x) if i == 0 else x)
        x = self.conv(self._with_statistics(x.float()))
        scores: Tensor = self.out(self.dense(x.flatten(1)))  # [n, 1] or [n, projection_dim]
        if self.mapping is None:
            return scores[:, 0]
        directions: Tensor = self.mapping(None, class_ids)
        return (scores * directions).sum(dim=1) / math.sqrt(scores.shape[1])

    def _with_statistics(self, x: Tensor) -> Tensor:
        """Append the deviation over each group of images, as channels (Karras et al., arXiv:1710.10196, section 3)."""
        if not self.statistics_channels:
            return x
        n, c, h, w = x.shape
        group = min(self.group_images or n, n)
        parts = self.statistics_channels
        split = x.reshape(group, n // group, parts, c // parts, h, w)
        deviation = (split.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(2, 3, 4))  # [n / group, parts]
        return torch.cat([x, deviation.repeat(group, 1)[:, :, None, None].expand(-1, -1, h, w)], dim=1)
