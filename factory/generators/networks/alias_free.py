"""StyleGAN3's low-pass filters and its leaky ReLU between upsampling and downsampling, in plain PyTorch.

Karras et al., arXiv:2106.12423, section 3.2 and appendix C. Depthwise convolutions in channels_last, for the reason
given in resampling.py.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from factory.generators.networks.equalized import LRELU_GAIN, LRELU_SLOPE, clamped


def low_pass(taps: int, *, cutoff: float, transition: float, rate: float) -> Tensor:
    """Design a separable filter by Kaiser's window, [taps], of sum 1.

    Units: cutoff, transition (the width of its band) and rate in cycles per image width.
    """
    position = np.arange(taps) - (taps - 1) / 2
    response = np.sinc(2 * cutoff / rate * position) * _window(taps, transition / (rate / 2))
    return torch.from_numpy(response / response.sum()).float()


def radial_low_pass(taps: int, *, cutoff: float, transition: float, rate: float) -> Tensor:
    """Design a filter that is the same in all directions, [taps, taps], of sum 1, for an even number of taps.

    Source: arXiv:2106.12423, appendix C.2: a jinc, under the same window on both axes.
    """
    position = (np.arange(taps) - (taps - 1) / 2) / rate
    radius = np.hypot(position[:, None], position[None])
    jinc = torch.special.bessel_j1(torch.from_numpy(2 * math.pi * cutoff * radius)).numpy() / (math.pi * radius)
    window = _window(taps, transition / (rate / 2))
    response = jinc * np.outer(window, window)
    return torch.from_numpy(response / response.sum()).float()


def _window(taps: int, width: float) -> NDArray[np.float64]:
    """Return Kaiser's window for a transition of `width`, as a share of half the rate.

    Source: Oppenheim and Schafer, Discrete-Time Signal Processing, section 7.6.
    """
    attenuation_db = 2.285 * (taps - 1) * math.pi * width + 7.95
    if attenuation_db > 50:
        beta = 0.1102 * (attenuation_db - 8.7)
    elif attenuation_db > 21:
        beta = 0.5842 * (attenuation_db - 21) ** 0.4 + 0.07886 * (attenuation_db - 21)
    else:
        beta = 0.0
    return np.asarray(np.kaiser(taps, beta), dtype=np.float64)


def filtered_lrelu(
    x: Tensor, up: Tensor, down: Tensor, *, factors: tuple[int, int], padding: tuple[int, int], limit: float | None
) -> Tensor:
    """Raise the resolution, apply the leaky ReLU, lower the resolution.

    Shapes: x [n, c, s, s]; up [taps], separable; down [taps] or, not separable, [taps, taps].
    Units: padding in px of the raised resolution, before and after.
    """
    up_factor, down_factor = factors
    kernel = up.to(x.dtype) * up_factor
    x = _raised(x, kernel.view(1, 1, -1, 1) * LRELU_GAIN, up_factor, padding, axis=0)
    x = _raised(x, kernel.view(1, 1, 1, -1), up_factor, padding, axis=1)
    x = clamped(F.leaky_relu(x, LRELU_SLOPE, inplace=True), limit)
    kernel = down.to(x.dtype)
    if kernel.ndim == 2:
        return _depthwise(x, kernel[None, None], (down_factor, down_factor))
    x = _depthwise(x, kernel.view(1, 1, -1, 1), (down_factor, 1))
    return _depthwise(x, kernel.view(1, 1, 1, -1), (1, down_factor))


def _depthwise(x: Tensor, kernel: Tensor, stride: tuple[int, int]) -> Tensor:
    return F.conv2d(x, kernel.repeat(x.shape[1], 1, 1, 1), stride=stride, groups=x.shape[1])


def _raised(x: Tensor, kernel: Tensor, factor: int, padding: tuple[int, int], *, axis: int) -> Tensor:
    """Upsample one axis: put zeros between the samples, pad or crop, and keep where the filter lies inside."""
    size, taps = x.shape[2 + axis], kernel.shape[2 + axis]
    whole = (size - 1) * factor + taps
    first = taps - 1 - padding[0]
    last = whole - first - (size * factor + sum(padding) - taps + 1)
    both = max(min(first, last), 0)  # what is cropped on both sides need not be computed
    stride, crop = ((factor, 1), (both, 0)) if axis == 0 else ((1, factor), (0, both))
    x = F.conv_transpose2d(x, kernel.repeat(x.shape[1], 1, 1, 1), stride=stride, padding=crop, groups=x.shape[1])
    rest = (both - first, both - last)
    if not any(rest):
        return x
    return F.pad(x, (0, 0, *rest) if axis == 0 else rest)
