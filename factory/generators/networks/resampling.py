"""Doubling and halving of images with a small symmetric low-pass filter, as StyleGAN2 does it.

Depthwise convolutions in channels_last: on a CPU that is several times quicker than banded matrices or one-channel
convolutions, and it can be differentiated twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def low_pass(taps: Sequence[float]) -> Tensor:
    """Return the separable filter as a matrix of sum 1, [k, k].

    Raises: ValueError unless the taps are an even number, the same backwards.
    """
    if len(taps) < 2 or len(taps) % 2 or list(taps) != list(taps)[::-1] or sum(taps) <= 0:
        raise ValueError(
            f"resample_filter {list(taps)}: expected an even number of taps, the same backwards, as in [1, 3, 3, 1]"
        )
    row = torch.tensor(taps, dtype=torch.float32) / sum(taps)
    return row.outer(row)


def blur(x: Tensor, kernel: Tensor, *, padding: int, stride: int = 1) -> Tensor:
    """Filter every channel of x [n, c, h, w] with zeros around."""
    return _each_channel(F.conv2d, x, kernel, padding=padding, stride=stride)


def doubled(x: Tensor, kernel: Tensor) -> Tensor:
    """Double the resolution of x [n, c, h, w]."""
    padding = kernel.shape[0] // 2 - 1
    return _each_channel(F.conv_transpose2d, x, 4 * kernel, padding=padding, stride=2)


def halved(x: Tensor, kernel: Tensor) -> Tensor:
    """Halve the resolution of x [n, c, h, w]."""
    return blur(x, kernel, padding=kernel.shape[0] // 2 - 1, stride=2)


def convolved_and_doubled(x: Tensor, weight: Tensor, kernel: Tensor) -> Tensor:
    """Double the resolution, then convolve with weight [o, i, 3, 3], in the cheaper order.

    The weight is applied as a true convolution (flipped), which is how StyleGAN2's weights are meant here.
    """
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # [n, o, 2h + 1, 2w + 1]
    return blur(x, 4 * kernel, padding=kernel.shape[0] // 2 - 1)


def halved_and_convolved(x: Tensor, weight: Tensor, bias: Tensor | None, kernel: Tensor) -> Tensor:
    """Low-pass, then convolve with weight [o, i, k, k] (k 1 or 3) in steps of two."""
    if weight.shape[2] == 1:
        return F.conv2d(halved(x, kernel), weight, bias)
    return F.conv2d(blur(x, kernel, padding=kernel.shape[0] // 2), weight, bias, stride=2)


def _each_channel(convolve: Callable[..., Tensor], x: Tensor, kernel: Tensor, **settings: int) -> Tensor:
    """Filter in x's own type, but on a CPU never in bfloat16: there its gradient takes ten times as long."""
    with torch.autocast(x.device.type, enabled=False):
        x = x.float() if x.dtype == torch.bfloat16 and not x.is_cuda else x
        each = kernel.to(x.dtype).repeat(x.shape[1], 1, 1, 1)  # [c, 1, k, k]
        return convolve(x, each, groups=x.shape[1], **settings)
