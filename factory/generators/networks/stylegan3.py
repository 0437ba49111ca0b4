"""StyleGAN3's generator, translation-equivariant (t) or rotation-equivariant too (r), in plain PyTorch.

Karras et al., arXiv:2106.12423. Config r is conv_kernel 1, radial filters and twice the channels. Unlike the
official code, styles are normalised row by row, so that no image depends on its neighbours (the demodulation after
it takes any factor out again).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from factory.generators.networks.alias_free import filtered_lrelu, low_pass, radial_low_pass
from factory.generators.networks.bands import Band, plan_bands
from factory.generators.networks.equalized import EqualizedLinear, clamped
from factory.generators.networks.mapping import Mapping

MAX_TAPS = 256  # the official networks have 24 at most
MAGNITUDE_HALF_LIFE_IMAGES = 20_000


class FourierInput(nn.Module):
    """Waves of random frequencies, turned and shifted by the style and by the caller, then mixed."""

    freqs: Tensor
    phases: Tensor
    transform: Tensor

    def __init__(self, w_dim: int, band: Band) -> None:
        super().__init__()
        self.band = band
        directions = torch.randn(band.channels, 2)
        radii = directions.norm(dim=1, keepdim=True)  # [channels, 1]
        self.weight = nn.Parameter(torch.randn(band.channels, band.channels))
        self.affine = EqualizedLinear(w_dim, 4, weight_init=0.0, bias_init=(1.0, 0.0, 0.0, 0.0))
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", band.cutoff * directions / (radii * (radii.square() / 4).exp()))
        self.register_buffer("phases", torch.rand(band.channels) - 0.5)

    def forward(self, w: Tensor, transforms: Tensor | None) -> Tensor:
        band = self.band
        matrix = _pose(self.affine(w)) @ (self.transform if transforms is None else transforms)  # [n, 3, 3]
        phases = self.phases + (self.freqs @ matrix[:, :2, 2:]).squeeze(2)  # [n, channels]
        freqs = self.freqs @ matrix[:, :2, :2]  # [n, channels, 2]
        spare = band.rate / 2 - band.cutoff
        amplitudes = (1 - (freqs.norm(dim=2) - band.cutoff) / spare).clamp(0, 1)  # what would alias is left out
        places = (torch.arange(band.size, device=w.device) + 0.5 - band.size / 2) / band.rate
        across = freqs[:, None, None, :, 0] * places[:, None]  # [n, 1, size, channels]
        down = freqs[:, None, None, :, 1] * places[:, None, None]  # [n, size, 1, channels]
        waves = torch.sin(2 * math.pi * (across + down + phases[:, None, None]))
        mixed: Tensor = (waves * amplitudes[:, None, None]) @ (self.weight / math.sqrt(band.channels)).t()
        return mixed.permute(0, 3, 1, 2)  # [n, channels, size, size] in channels_last


class StyledLayer(nn.Module):
    """A modulated convolution and an alias-free leaky ReLU; the layer `to_rgb` has neither filters nor curve."""

    magnitude_ema: Tensor
    up_filter: Tensor
    down_filter: Tensor

    def __init__(
        self,
        w_dim: int,
        before: Band,
        after: Band,
        *,
        to_rgb: bool,
        is_half: bool,
        conv_kernel: int,
        filter_size: int,
        lrelu_upsampling: int,
        is_radial: bool,
        conv_clamp: float | None,
    ) -> None:
        super().__init__()
        self.to_rgb, self.is_half, self.conv_clamp = to_rgb, is_half, conv_clamp
        size = 1 if to_rgb else conv_kernel
        self.affine = EqualizedLinear(w_dim, before.channels, bias_init=(1.0,))
        weight = torch.randn(after.channels, before.channels, size, size)
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        self.bias = nn.Parameter(torch.zeros(after.channels))
        self.register_buffer("magnitude_ema", torch.ones(()))
        if not to_rgb:
            self._design(before, after, max(before.rate, after.rate) * lrelu_upsampling, filter_size, is_radial)

    def _design(self, before: Band, after: Band, rate: int, filter_size: int, is_radial: bool) -> None:
        self.factors = (rate // before.rate, rate // after.rate)
        up_taps, down_taps = (filter_size * factor for factor in self.factors)
        if not 2 <= min(up_taps, down_taps) <= max(up_taps, down_taps) <= MAX_TAPS:
            raise ValueError(
                f"filter_size {filter_size}: makes {up_taps} and {down_taps} taps, expected 2 to {MAX_TAPS}"
            )
        up = low_pass(up_taps, cutoff=before.cutoff, transition=2 * before.half_width, rate=rate)
        design = radial_low_pass if is_radial else low_pass
        down = design(down_taps, cutoff=after.cutoff, transition=2 * after.half_width, rate=rate)
        self.register_buffer("up_filter", up, persistent=False)
        self.register_buffer("down_filter", down, persistent=False)
        needed = (after.size - 1) * self.factors[1] + 1 + up_taps + down_taps - 2
        total = needed - (before.size + self.weight.shape[2] - 1) * self.factors[0]
        first = (total + self.factors[0]) // 2  # samples lie in the middle of their pixels (appendix C.3)
        self.padding = (first, total - first)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = x.to(torch.float16 if self.is_half and x.is_cuda else torch.float32)
        weight: Tensor = self.weight
        if self.training:
            self._measure(x)
        input_gain = self.magnitude_ema.rsqrt()
        if self.to_rgb:
            styles = self.affine(w) * (input_gain / math.sqrt(weight.shape[1]))
            x = F.conv2d(_scaled(x, styles), weight.to(x.dtype), self.bias.to(x.dtype))
            return clamped(x, self.conv_clamp)
        weight = weight * (weight.square().sum(dim=(1, 2, 3), keepdim=True)).rsqrt()  # of length 1 an output
        styles = self.affine(w)
        styles = styles * styles.square().mean(dim=1, keepdim=True).rsqrt()
        power = styles.square() @ weight.square().sum(dim=(2, 3)).t()  # [n, out]
        x = F.conv2d(_scaled(x, styles * input_gain), weight.to(x.dtype), padding=weight.shape[2] - 1)
        x = _scaled(x, power.clamp_min(1e-12).rsqrt()) + self.bias.to(x.dtype)[:, None, None]
        return filtered_lrelu(
            x, self.up_filter, self.down_filter, factors=self.factors, padding=self.padding, limit=self.conv_clamp
        )

    def _measure(self, x: Tensor) -> None:
        """Follow the size of what comes in, which is divided out: it takes the place of a norm (appendix C.1)."""
        with torch.no_grad():
            share = 1 - 0.5 ** (len(x) / MAGNITUDE_HALF_LIFE_IMAGES)
            self.magnitude_ema.lerp_(x.float().square().mean(), share)


class Generator(nn.Module):
    """StyleGAN3's mapping and synthesis; see networks/protocol.py for what it offers. It takes no noise.

    Units: resolution and margin_size in px; half_layers counts the doublings of the sampling rate, from the top, that
    are float16 on CUDA; first_cutoff and first_stopband in cycles per image width.
    """

    noise_shapes: tuple[tuple[int, int], ...] = ()

    def __init__(
        self,
        *,
        resolution: int,
        z_dim: int = 512,
        w_dim: int = 512,
        num_classes: int = 0,
        channel_base: int = 32768,
        channel_max: int = 512,
        mapping_layers: int = 2,
        mapping_lr_multiplier: float = 0.01,
        layers: int = 14,
        critical_layers: int = 2,
        first_cutoff: float = 2.0,
        first_stopband: float = 2**2.1,
        last_stopband_rel: float = 2**0.3,
        margin_size: int = 10,
        output_scale: float = 0.25,
        half_layers: int = 0,
        conv_kernel: int = 3,
        filter_size: int = 6,
        lrelu_upsampling: int = 2,
        use_radial_filters: bool = False,
        conv_clamp: float | None = 256.0,
    ) -> None:
        super().__init__()
        self.z_dim, self.w_dim, self.num_classes = z_dim, w_dim, num_classes
        self.image_size, self.num_layers, self.output_scale = (resolution, resolution), layers + 2, output_scale
        self.mapping = Mapping(z_dim, num_classes, w_dim, layers=mapping_layers, lr_multiplier=mapping_lr_multiplier)
        stopbands = (first_stopband, last_stopband_rel)
        bands = plan_bands(
            resolution, layers, critical_layers, first_cutoff, stopbands, margin_size, (channel_base, channel_max)
        )
        self.input = FourierInput(w_dim, bands[0])
        self.layers: Any = nn.ModuleList(
            StyledLayer(
                w_dim,
                bands[max(i - 1, 0)],
                band,
                to_rgb=i == layers,
                is_half=band.rate * 2**half_layers > resolution,
                conv_kernel=conv_kernel,
                filter_size=filter_size,
                lrelu_upsampling=lrelu_upsampling,
                is_radial=use_radial_filters and i < layers - critical_layers,
                conv_clamp=conv_clamp,
            )
            for i, band in enumerate(bands)
        )

    def map(
        self, z: Tensor, class_ids: Tensor | None, psi: Tensor, cutoff: int | None = None
    ) -> Tensor:  # [n, num_layers, w_dim]
        return self.mapping.truncated(self.mapping(z, class_ids), psi, self.num_layers, cutoff)

    def synthesize(
        self,
        ws: Tensor,
        class_ids: Tensor | None,
        psi: Tensor,
        noise: Sequence[Tensor] | None = None,
        transforms: Tensor | None = None,
    ) -> Tensor:
        """Draw images, each moved by its transform [3, 3] of [n, 3, 3] (see `transform_matrix`) if there are any."""
        styles = ws.float().unbind(dim=1)
        x: Tensor = self.input(styles[0], transforms)
        for layer, w in zip(self.layers, styles[1:], strict=True):
            x = layer(x, w)
        images: Tensor = x.float() * self.output_scale
        return images.contiguous()

    def constant_noise(self) -> None:
        return None


def transform_matrix(*, right: float = 0.0, down: float = 0.0, clockwise_degrees: float = 0.0) -> Tensor:
    """Return the transform [3, 3] that turns the image about its centre, then shifts it.

    Units: right and down in image widths.
    """
    angle = math.radians(clockwise_degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    forward = torch.tensor([[cosine, -sine, right], [sine, cosine, down], [0.0, 0.0, 1.0]], dtype=torch.float64)
    backward: Tensor = torch.linalg.inv(forward)  # the input asks where a pixel comes from
    return backward.float()


def _pose(style: Tensor) -> Tensor:
    """Turn (cos, sin, right, down), of any length, into rotation after translation, [n, 3, 3]."""
    cosine, sine, right, down = (style / style[:, :2].norm(dim=1, keepdim=True)).unbind(dim=1)
    zero, one = torch.zeros_like(cosine), torch.ones_like(cosine)
    rotation = torch.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, one], dim=1).view(-1, 3, 3)
    translation = torch.stack([one, zero, -right, zero, one, -down, zero, zero, one], dim=1).view(-1, 3, 3)
    pose: Tensor = rotation @ translation
    return pose


def _scaled(x: Tensor, factors: Tensor) -> Tensor:
    return x * factors.to(x.dtype)[:, :, None, None]
