"""Divide spectral norms out of weights, so that plain layers remain.

Paper: Miyato et al. 2018, Spectral Normalization for GANs, equation 8: the weight over its largest singular value,
which is u^T W v with the singular vectors that training has followed.
"""

from __future__ import annotations

import torch
from torch import Tensor


def divided(weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Divide by the singular value of the recorded pair of singular vectors.

    Shapes: weight [out, ...]; u [out]; v [the product of the rest].
    """
    matrix = weight.double().flatten(1)
    return (weight.double() / (u.double() @ (matrix @ v.double()))).float()


def divided_after_one_step(weight: Tensor, u: Tensor) -> Tensor:
    """Divide by the singular value that one step of the power iteration finds from u."""
    matrix = weight.double().flatten(1)
    v = torch.nn.functional.normalize(matrix.t() @ u.double().flatten(), dim=0)
    return divided(weight, torch.nn.functional.normalize(matrix @ v, dim=0), v)
