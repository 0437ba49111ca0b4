"""Multinomial logistic regression over a path of penalties, the linear probe: exact and quick on one core.

Minimises mean cross-entropy + penalty / 2 * |weights|^2 (bias free of penalty), so penalty = 1 / (C * N) for
scikit-learn's C. The weights live in the span of the features; in the basis of singular vectors, scaled by the
curvature of each direction, L-BFGS needs tens of iterations, not thousands, and each penalty starts from the last.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES: tuple[float, ...] = tuple(torch.logspace(5, -6, 45, dtype=torch.float64).tolist())  # strong to weak
TOLERANCE = 3e-5  # largest entry of the scaled gradient
PICKING_TOLERANCE = 3e-4  # while only the best penalty is looked for
MAX_ITERATIONS = 300


@dataclass(frozen=True)
class Standardizer:
    """Zero mean and unit deviation, by the statistics of the rows it was made from."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> "Standardizer":
        deviation = rows.double().std(0, correction=0)
        return cls(rows.double().mean(0), torch.where(deviation > 1e-8 * deviation.max(), deviation, torch.inf))

    def __call__(self, rows: Tensor) -> Tensor:
        return (rows.double() - self.mean) / self.deviation  # constant features become 0


@dataclass(frozen=True)
class Probe:
    """Weights [D, K] and bias [K] for one penalty."""

    penalty: float
    weights: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Return [N, K] for standardised features [N, D]."""
        return features @ self.weights + self.bias


def fit_path(
    features: Tensor, labels: Tensor, classes: int, penalties: Sequence[float] = PENALTIES, tolerance: float = TOLERANCE
) -> Iterator[Probe]:
    """Yield the fitted probe of every penalty, in the order given (strong to weak is quickest).

    Shapes: standardised features [N, D], labels [N].
    """
    left, singular, right = torch.linalg.svd(features.double(), full_matrices=False)
    rank = int((singular > singular[0] * 1e-10).sum())
    rows, basis = left[:, :rank] * singular[:rank], right[:rank].T  # features = rows @ basis.T: [N, r], [D, r]
    curvature = singular[:rank] ** 2 / (len(features) * classes)  # of cross-entropy near zero weights, [r]
    targets = torch.nn.functional.one_hot(labels, classes).double()
    weights, bias = torch.zeros(rank, classes, dtype=torch.float64), targets.mean(0).clamp(min=1e-3).log()
    for penalty in penalties:
        scale = (curvature + penalty).rsqrt()[:, None]  # [r, 1]
        weights, bias = _minimise(rows, targets, penalty, scale, weights, bias, tolerance)
        yield Probe(penalty, basis @ weights, bias)


def _minimise(
    rows: Tensor, targets: Tensor, penalty: float, scale: Tensor, weights: Tensor, bias: Tensor, tolerance: float
) -> tuple[Tensor, Tensor]:
    scaled, scaled_rows = weights / scale, rows * scale[:, 0]
    parameters = [scaled.requires_grad_(), bias.clone().requires_grad_()]
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=MAX_ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=0,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def loss_and_gradient() -> Tensor:
        with torch.no_grad():
            logits = scaled_rows @ parameters[0] + parameters[1]  # [N, K]
            normaliser = logits.logsumexp(1, keepdim=True)
            loss = (normaliser[:, 0] - (logits * targets).sum(1)).mean()
            residual = ((logits - normaliser).exp() - targets) / len(rows)
            shrunk = penalty * scale**2 * parameters[0]  # gradient of penalty / 2 * |scale * scaled|^2
            parameters[0].grad, parameters[1].grad = scaled_rows.T @ residual + shrunk, residual.sum(0)
            return loss + (shrunk * parameters[0]).sum() / 2

    optimizer.step(loss_and_gradient)  # type: ignore[no-untyped-call]
    return parameters[0].detach() * scale, parameters[1].detach()
