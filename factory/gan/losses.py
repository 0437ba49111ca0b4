"""What the players of a GAN lose by, and the optimizer whose penalties come only now and then."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

Rule = Literal["logistic", "hinge"]


def discriminator_loss(
    real: Sequence[Tensor], fake: Sequence[Tensor], rule: Rule = "logistic", smoothing: float = 0.0
) -> Tensor:
    """Return the loss of telling real from generated, the mean at each place of judgement, summed over places.

    `smoothing` moves the target of real images from 1 down.
    Source: Goodfellow et al., arXiv:1406.2661, equation 1, on logits; hinge: Lim and Ye, arXiv:1705.02894, section 3;
    smoothing: Salimans et al., arXiv:1606.03498, section 3.4.
    """
    if rule == "hinge":
        return _summed([relu(1 - smoothing - each) for each in real]) + _summed([relu(1 + each) for each in fake])
    return _taken_for_real(real, smoothing) + _summed([softplus(each) for each in fake])


def generator_loss(fake: Sequence[Tensor], rule: Rule = "logistic", smoothing: float = 0.0) -> Tensor:
    """Return the non-saturating loss: -log of being taken for real, or under the hinge rule the negative logit.

    Source: Goodfellow et al., arXiv:1406.2661, section 3.
    """
    return _summed([-each for each in fake]) if rule == "hinge" else _taken_for_real(fake, smoothing)


def _taken_for_real(logits: Sequence[Tensor], smoothing: float) -> Tensor:
    """Cross-entropy to a target of 1 - smoothing, which is softplus(-x) + smoothing x."""
    return _summed([softplus(-each) + smoothing * each for each in logits])


def _summed(losses: Sequence[Tensor]) -> Tensor:
    return torch.stack([each.mean() for each in losses]).sum()


def squared_gradient(logits: Tensor, images: Tensor) -> Tensor:
    """Return each image's squared gradient length, differentiable once more: R1 is gamma / 2 times its mean.

    Shapes: logits [n], each of its own image alone; images [n, 3, H, W]; returns [n].
    Source: Mescheder et al., arXiv:1801.04406, equation 9.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3))


def lazy_adam(
    parameters: Iterable[nn.Parameter], *, learning_rate: float, betas: tuple[float, float], interval: int | None
) -> torch.optim.Adam:
    """Return Adam, slowed so that a penalty step every `interval` steps leaves its pace as it was; None: no penalty.

    Source: Karras et al., arXiv:1912.04958, appendix B.
    """
    share = 1.0 if interval is None else interval / (interval + 1)
    slowed = (betas[0] ** share, betas[1] ** share)
    return torch.optim.Adam(parameters, lr=learning_rate * share, betas=slowed, eps=1e-8, fused=True)


def path_lengths(images: Tensor, ws: Tensor, directions: Tensor) -> Tensor:
    """Return how far each image moves along a random direction for a step in w, differentiable once more.

    Shapes: images [n, 3, H, W], made from ws [n, layers, w_dim]; directions normal, as images; returns [n].
    Source: Karras et al., arXiv:1912.04958, section 3.2.
    """
    scaled = directions / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad((images * scaled).sum(), ws, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()
