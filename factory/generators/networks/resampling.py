"""Doubling and halving of images with a small symmetric low-pass filter, as StyleGAN2 does it.

Depthwise convolutions in channels_last: on a CPU that is several times quicker than banded matrices or one-channel
convolutions, and it can be differentiated twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from manifests.errors import UserError


def low_pass(taps: Sequence[float]) -> Tensor:
    """Return the separable filter as a matrix of sum 1, [k, k].

    Raises: UserError unless the taps are an even number, the same backwards.
    """
    if len(taps) < 2 or len(taps) % 2 or list(taps) != list(taps)[::-1] or sum(taps) <= 0:
        raise UserError(
            f"resample_filter {list(taps)}: expected an even number of taps, the same backwards, as in [1, 3, 3, 1]"
        )
    row = torch.tensor(taps, dtype=torch.float32) / sum(taps)
    return row.outer(row)


def blur(x: Tensor, kernel: Tensor, *, padding: int, stride: int = 1) -> Tensor:
    """Filter every channel of x [n, c, h, w] with zeros around."""
    return F.conv2d(x, _per_channel(kernel, x), padding=padding, stride=stride, groups=x.shape[1])


def doubled(x: Tensor, kernel: Tensor) -> Tensor:
    """Double the resolution of x [n, c, h, w]."""
    padding = kernel.shape[0] // 2 - 1
    return F.conv_transpose2d(x, _per_channel(4 * kernel, x), padding=padding, stride=2, groups=x.shape[1])


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


def _per_channel(kernel: Tensor, x: Tensor) -> Tensor:
    return kernel.to(x.dtype).repeat(x.shape[1], 1, 1, 1)  # [c, 1, k, k]
