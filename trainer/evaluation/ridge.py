"""Ridge regression to targets of ±1: a classifier in closed form, for few labels and for a look at a running training.

Source: fewshot_lsr of big_vision, with standardised features, a fixed penalty and an offset that is not penalised.
"""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-3  # of the number of training images, where nothing else is said


def ridge(features: Tensor, labels: Tensor, queries: Tensor, classes: int, penalty: float | None = None) -> Tensor:
    """Fit ±1 targets by least squares with a fixed penalty, and return the class of each query.

    Shapes: features [N, D], labels [N], queries [M, D] -> int64 [M].
    """
    mean, std = features.double().mean(dim=0), features.double().std(dim=0).clamp(min=1e-6)
    x, q = (features.double() - mean) / std, (queries.double() - mean) / std
    targets = 2.0 * torch.nn.functional.one_hot(labels, classes).double() - 1
    offset = targets.mean(dim=0)
    scores = q @ _weights(x, targets - offset, RIDGE * len(x) if penalty is None else penalty) + offset
    found: Tensor = scores.argmax(dim=1)
    return found


def _weights(x: Tensor, targets: Tensor, penalty: float) -> Tensor:
    """Solve in the smaller of the two Gram matrices: X'(XX' + p)^-1 = (X'X + p)^-1 X'."""
    count, width = x.shape
    gram = x.T @ x if width <= count else x @ x.T
    gram.diagonal().add_(penalty)
    weights: Tensor = torch.linalg.solve(gram, x.T @ targets if width <= count else targets)
    return weights if width <= count else x.T @ weights
