"""What the two players of a plain GAN lose by, and the optimizer whose penalties come only now and then."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return the mean logistic loss of telling real from generated.

    Source: Goodfellow et al., arXiv:1406.2661, equation 1, on logits.
    """
    return softplus(-real_logits).mean() + softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Return the mean non-saturating loss: -log of being taken for real.

    Source: Goodfellow et al., arXiv:1406.2661, section 3.
    """
    return softplus(-fake_logits).mean()


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
