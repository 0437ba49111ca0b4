"""Labels of a few nodes, spread over a graph of nearest neighbours: pseudo-labels for all others.

Cosines to the power of 3 between k neighbours, symmetrically normalised; labels F solve (1 - α S) F = Y by conjugate
gradients. Sources: Zhou et al. 2003, eq. 4; LaplaceNet, Sellars et al., arXiv:2106.04527 section 3; the powers and
certainties of Iscen et al., arXiv:1904.04717 eq. 9 and 11.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NEIGHBOURS = 50
ALPHA = 0.99
_POWER = 3
_TOLERANCE = 1e-6
_MOST_ROUNDS = 200
_BLOCK = 1024  # rows of cosines at a time


class PseudoLabels(NamedTuple):
    """Shapes: labels int64 [N]; certainty float64 [N] in 0 … 1, and 0 for nodes that no label reaches."""

    labels: Tensor
    certainty: Tensor


def spread_labels(features: Tensor, labels: Tensor, classes: int, neighbours: int = NEIGHBOURS) -> PseudoLabels:
    """Label every node from those that have one; these keep theirs.

    Shapes: features [N, D], labels int64 [N], -1 for none.
    """
    known = labels >= 0
    seeds = torch.zeros(len(labels), classes, dtype=torch.float64)
    seeds[known.nonzero()[:, 0], labels[known]] = 1.0
    spread = diffuse(affinity(features, neighbours), seeds, ALPHA).clamp(min=0)
    shares = spread / spread.sum(dim=1, keepdim=True).clamp(min=1e-300)
    entropy = -(shares * shares.clamp(min=1e-300).log()).sum(dim=1)
    certainty = (1 - entropy / torch.tensor(float(classes), dtype=torch.float64).log()).clamp(0, 1)
    certainty = torch.where(spread.sum(dim=1) > 0, certainty, 0.0)
    found = torch.where(known, labels, shares.argmax(dim=1))
    return PseudoLabels(found, torch.where(known, 1.0, certainty))


def affinity(features: Tensor, neighbours: int) -> Tensor:
    """Return the normalised affinities of a k-nearest-neighbour graph, sparse float64 [N, N], symmetric, diagonal 0."""
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    count, k = len(unit), min(neighbours, len(unit) - 1)
    cosines, columns = (torch.cat(parts) for parts in zip(*_nearest(unit, k), strict=True))  # [N, k] each
    rows = torch.arange(count).repeat_interleave(k)
    values = cosines.clamp(min=0).flatten() ** _POWER
    one_way = torch.sparse_coo_tensor(
        torch.stack([rows, columns.flatten()]), values, (count, count), check_invariants=False
    )
    graph = (one_way + one_way.t()).coalesce()
    degrees = torch.sparse.sum(graph, dim=1).to_dense().clamp(min=1e-12)
    (source, target), weight = graph.indices(), graph.values()
    scaled = weight * (degrees[source] * degrees[target]).rsqrt()
    return torch.sparse_coo_tensor(graph.indices(), scaled, (count, count), is_coalesced=True, check_invariants=False)


def diffuse(graph: Tensor, seeds: Tensor, alpha: float) -> Tensor:
    """Solve (1 - alpha · graph) F = seeds, a column for each class. Shapes: [N, N], [N, K] -> [N, K]."""
    found = torch.zeros_like(seeds)
    residual = seeds.clone()
    direction, squares = residual.clone(), residual.square().sum(dim=0)  # [K]
    goal = _TOLERANCE**2 * squares
    for _ in range(_MOST_ROUNDS):
        if (squares <= goal).all():
            break
        moved = direction - alpha * torch.sparse.mm(graph, direction)
        step = squares / (direction * moved).sum(dim=0).clamp(min=1e-300)
        found, residual = found + step * direction, residual - step * moved
        before, squares = squares, residual.square().sum(dim=0)
        direction = residual + squares / before.clamp(min=1e-300) * direction
    return found


def _nearest(unit: Tensor, k: int) -> list[tuple[Tensor, Tensor]]:
    found = []
    for start in range(0, len(unit), _BLOCK):
        cosines = unit[start : start + _BLOCK] @ unit.T  # [block, N]
        rows = torch.arange(len(cosines))
        cosines[rows, start + rows] = -torch.inf
        values, columns = cosines.topk(k, dim=1)
        found.append((values, columns))
    return found
