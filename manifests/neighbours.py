"""Who lies next to whom among feature vectors: fidelity and variety of one set beside another, copies, likeness.

A set's support is what lies within reach of one of its members: no farther than that member's own k-th neighbour.
Distances are Euclidean and computed in float64, block by block: memory grows with one set at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from manifests.distances import Features, Float64

BLOCK = 1024


@dataclass(frozen=True)
class Support:
    """How far two sets lie in each other's support, as fractions; density may be above 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def support(real: Features, generated: Features, *, neighbours: int = 5) -> Support:
    """Compare what is generated with what is real.

    Shapes: [n, D], [m, D], n and m above `neighbours`.
    Source: Kynkäänniemi et al., arXiv:1904.06991, equations 1 and 2 (precision, recall); Naeem et al.,
    arXiv:2002.09797, equations 4 and 5 (density, coverage).
    """
    ours, theirs = _centred(real, generated)
    real_reach, generated_reach = reach(ours, neighbours), reach(theirs, neighbours)
    covering = np.zeros(len(theirs))  # how many real images' reach each generated one lies in
    is_covered, is_recalled = np.zeros(len(ours), np.bool_), np.zeros(len(ours), np.bool_)
    for rows, squared in _blocks(ours, theirs):
        is_near = squared <= real_reach[rows, None]  # [b, m]
        covering += is_near.sum(0)
        is_covered[rows] = is_near.any(1)
        is_recalled[rows] = (squared <= generated_reach).any(1)
    density = float(covering.mean()) / neighbours
    return Support(float((covering > 0).mean()), float(is_recalled.mean()), density, float(is_covered.mean()))


def reach(features: Features, neighbours: int) -> Float64:
    """Return each member's squared distance to its k-th nearest other member, [n].

    Raises: ValueError where there are not so many others.
    """
    if not 1 <= neighbours < len(features):
        raise ValueError(f"{neighbours} neighbours among {len(features)} images: expected fewer, and at least 1")
    own = np.asarray(features, np.float64)
    found = [
        np.partition(_without_itself(rows, squared), neighbours - 1)[:, neighbours - 1]
        for rows, squared in _blocks(own, own)
    ]
    return np.concatenate(found)


def nearest(first: Features, second: Features) -> tuple[npt.NDArray[np.int64], Float64]:
    """Return for each of the first the index of its nearest in the second, and their distance; [n] both."""
    ours, theirs = _centred(first, second)
    pairs = [(squared.argmin(1), np.sqrt(squared.min(1))) for _, squared in _blocks(ours, theirs)]
    return np.concatenate([index for index, _ in pairs]), np.concatenate([distance for _, distance in pairs])


def authenticity(real: Features, generated: Features) -> float:
    """Return the share of generated images that are farther from their nearest real one than it is from other reals.

    About one half where both come from one law; far below it, real images are reproduced.
    Shapes: [n, D] with n at least 2, [m, D].
    Source: Alaa et al., arXiv:2102.08921, section 3.2, of the real image that is nearest.
    """
    index, distance = nearest(generated, real)
    return float((np.square(distance) > reach(real, 1)[index]).mean())


def unit(features: Features) -> Float64:
    """Return vectors of length 1, so that half a squared distance is a cosine distance; a zero stays zero."""
    wide = np.asarray(features, np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True).clip(1e-300))


def _blocks(first: Float64, second: Float64) -> Iterator[tuple[slice, Float64]]:
    """Yield squared distances [b, m] of some of the first to all of the second."""
    lengths = np.square(second).sum(1)
    for start in range(0, len(first), BLOCK):
        part = first[start : start + BLOCK]
        squared = np.square(part).sum(1)[:, None] + lengths - 2 * part @ second.T
        yield slice(start, start + len(part)), squared.clip(0)


def _without_itself(rows: slice, squared: Float64) -> Float64:
    squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = np.inf
    return squared


def _centred(first: Features, second: Features) -> tuple[Float64, Float64]:
    """Move the origin amid the features: far from it, differences of squared lengths lose digits."""
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or not len(first) or not len(second):
        raise ValueError(f"features of shapes {first.shape} and {second.shape}: expected [n, D] and [m, D]")
    ours, theirs = np.asarray(first, np.float64), np.asarray(second, np.float64)
    middle = ours.mean(0)
    return ours - middle, theirs - middle
