"""StyleGAN2 (config-f) and StyleGAN2-ADA's generator, in plain PyTorch.

Karras et al., arXiv:1912.04958 and arXiv:2006.06676. Modulation scales the activations before the convolution and
demodulation after it (eq. 1-3), which is the same as scaling the weights, but leaves one convolution for the whole
batch. All is channels_last; float16, in the highest resolutions, on CUDA only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from factory.generators.networks.equalized import LRELU_GAIN, LRELU_SLOPE, EqualizedLinear, clamped
from factory.generators.networks.mapping import Mapping
from factory.generators.networks.resampling import convolved_and_doubled, doubled, low_pass


class StyledConvolution(nn.Module):
    """A 3x3 convolution modulated by a style; it may double the resolution first, and adds noise if it is given any."""

    noise_const: Tensor | None
    up_kernel: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        *,
        up_kernel: Tensor | None,
        conv_clamp: float | None,
        use_noise: bool,
    ) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = EqualizedLinear(w_dim, in_channels, bias_init=(1.0,))
        self.weight = nn.Parameter(_channels_last(torch.randn(out_channels, in_channels, 3, 3)))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(())) if use_noise else None
        self.register_buffer("noise_const", torch.randn(resolution, resolution) if use_noise else None)
        self.register_buffer("up_kernel", up_kernel, persistent=False)

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        weight: Tensor = self.weight
        styles: Tensor = self.affine(w)
        if x.dtype == torch.float16:  # else sums over the channels overflow; demodulation takes the factors out again
            weight = weight / (math.sqrt(weight[0].numel()) * weight.abs().amax(dim=(1, 2, 3), keepdim=True))
            styles = styles / styles.abs().amax(dim=1, keepdim=True)
        power = styles.square() @ weight.square().sum(dim=(2, 3)).t()  # [n, out]
        scale = LRELU_GAIN * (power + 1e-8).rsqrt()
        x = x * _per_channel(styles, x.dtype)
        if self.up_kernel is None:
            x = F.conv2d(x, weight.to(x.dtype), padding=1)
        else:
            x = convolved_and_doubled(x, weight.to(x.dtype), self.up_kernel)
        x = torch.addcmul(_per_channel(LRELU_GAIN * self.bias[None], x.dtype), x, _per_channel(scale, x.dtype))
        if noise is not None and self.noise_strength is not None:
            x = x + (LRELU_GAIN * self.noise_strength * noise).to(x.dtype)
        return clamped(F.leaky_relu(x, LRELU_SLOPE, inplace=True), self.conv_clamp)


class ToRgb(nn.Module):
    """A modulated 1x1 convolution to red, green and blue, without demodulation."""

    def __init__(self, in_channels: int, w_dim: int, *, conv_clamp: float | None) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = EqualizedLinear(w_dim, in_channels, bias_init=(1.0,))
        self.weight = nn.Parameter(torch.randn(3, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.style_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        styles = self.affine(w) * self.style_gain
        x = F.conv2d(x * _per_channel(styles, x.dtype), self.weight.to(x.dtype), self.bias.to(x.dtype))
        return clamped(x, self.conv_clamp).float()


class Block(nn.Module):
    """All layers of one resolution; the first block starts from a learned constant, the others double what they get."""

    up_kernel: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        *,
        up_kernel: Tensor,
        conv_clamp: float | None,
        use_noise: bool,
        is_half: bool,
    ) -> None:
        super().__init__()
        self.is_half = is_half
        is_first = in_channels == 0

        def layer(channels: int, kernel: Tensor | None) -> StyledConvolution:
            return StyledConvolution(
                channels, out_channels, w_dim, resolution, up_kernel=kernel, conv_clamp=conv_clamp, use_noise=use_noise
            )

        self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution)) if is_first else None
        self.convolutions: Any = nn.ModuleList(
            [layer(out_channels, None)] if is_first else [layer(in_channels, up_kernel), layer(out_channels, None)]
        )
        self.to_rgb = ToRgb(out_channels, w_dim, conv_clamp=conv_clamp)
        self.register_buffer("up_kernel", up_kernel, persistent=False)

    def forward(
        self, x: Tensor | None, image: Tensor | None, ws: Sequence[Tensor], noise: Sequence[Tensor | None]
    ) -> tuple[Tensor, Tensor]:
        """Shapes: one w [n, w_dim] a convolution and one for the colours; one noise a convolution."""
        if self.const is not None:
            x = self.const.expand(ws[0].shape[0], -1, -1, -1)
        assert x is not None
        dtype = torch.float16 if self.is_half and x.is_cuda else torch.float32
        x = x.to(dtype=dtype, memory_format=torch.channels_last)
        for convolution, w, one in zip(self.convolutions, ws, noise, strict=False):
            x = convolution(x, w, one)
        colours = self.to_rgb(x, ws[len(self.convolutions)])
        return x, colours if image is None else doubled(image, self.up_kernel) + colours


class Generator(nn.Module):
    """StyleGAN2's mapping and synthesis with output skips; see networks/protocol.py for what it offers.

    `crop_rows` keeps rows [first, last) of the square image, for sets that were trained inside black bars.
    Units: resolution in px; half_layers counts the resolutions that are float16 on CUDA, from the top.
    """

    def __init__(
        self,
        *,
        resolution: int,
        z_dim: int = 512,
        w_dim: int = 512,
        num_classes: int = 0,
        channel_base: int = 32768,
        channel_max: int = 512,
        mapping_layers: int = 8,
        mapping_lr_multiplier: float = 0.01,
        conv_clamp: float | None = None,
        half_layers: int = 0,
        resample_filter: Sequence[float] = (1, 3, 3, 1),
        use_noise: bool = True,
        crop_rows: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        sizes = resolutions(resolution)
        self.crop_rows = _checked_rows(crop_rows, resolution)
        self.z_dim, self.w_dim, self.num_classes = z_dim, w_dim, num_classes
        self.image_size = (self.crop_rows[1] - self.crop_rows[0], resolution)
        self.num_layers = 2 * len(sizes)
        repeated = [size for size in sizes for _ in range(1 if size == 4 else 2)]
        self.noise_shapes = tuple((size, size) for size in repeated) if use_noise else ()
        self.mapping = Mapping(z_dim, num_classes, w_dim, layers=mapping_layers, lr_multiplier=mapping_lr_multiplier)
        channels = [0, *(channels_at(size, channel_base, channel_max) for size in sizes)]
        self.blocks: Any = nn.ModuleList(
            Block(
                channels[i],
                channels[i + 1],
                w_dim,
                size,
                up_kernel=low_pass(resample_filter),
                conv_clamp=conv_clamp,
                use_noise=use_noise,
                is_half=size >= first_half_resolution(resolution, half_layers),
            )
            for i, size in enumerate(sizes)
        )

    def map(
        self, z: Tensor, class_ids: Tensor | None, psi: Tensor, cutoff: int | None = None
    ) -> Tensor:  # [n, num_layers, w_dim]
        return self.mapping.truncated(self.mapping(z, class_ids), psi, self.num_layers, cutoff)

    def synthesize(
        self, ws: Tensor, class_ids: Tensor | None, psi: Tensor, noise: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Draw images; the class and psi have done their work in `map`. The colours of a block take the next w."""
        styles = ws.float().unbind(dim=1)
        noises = list(noise) if noise else [None] * (self.num_layers - 1)
        x: Tensor | None = None
        image: Tensor | None = None
        layer = 0
        for block in self.blocks:
            x, image = block(x, image, styles[layer:], noises[layer:])
            layer += len(block.convolutions)
        assert image is not None
        return image[:, :, slice(*self.crop_rows)].contiguous()

    def constant_noise(self) -> Sequence[Tensor] | None:
        noise = [layer.noise_const[None, None] for layer in self._layers() if layer.noise_const is not None]
        return noise or None

    def _layers(self) -> list[StyledConvolution]:
        return [layer for block in self.blocks for layer in block.convolutions]


def resolutions(resolution: int) -> list[int]:
    """List the resolutions of the blocks, from 4 px.

    Raises: ValueError unless it is a power of two.
    """
    if resolution < 4 or resolution & (resolution - 1):
        raise ValueError(f"resolution {resolution}: expected a power of two from 4 on")
    return [2**i for i in range(2, resolution.bit_length())]


def channels_at(resolution: int, channel_base: int, channel_max: int) -> int:
    """Return the width of the layers at a resolution."""
    return min(channel_base // resolution, channel_max)


def first_half_resolution(resolution: int, half_layers: int) -> int:
    """Return the lowest resolution that is float16 on CUDA; 8 px at least."""
    return max(2 * resolution >> half_layers, 8)


def _checked_rows(rows: Sequence[int] | None, resolution: int) -> tuple[int, int]:
    first, last = (0, resolution) if rows is None else rows
    if not 0 <= first < last <= resolution:
        raise ValueError(f"crop_rows [{first}, {last}]: expected 0 <= first < last <= {resolution}")
    return first, last


def _per_channel(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values.to(dtype)[:, :, None, None]


def _channels_last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)
