"""How alike two sets of feature vectors are: kernel (KID) and Fréchet distance, and the spread of groups within one.

Numbers are comparable only between sets seen through the same feature network. Everything is computed in float64.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.floating]


def kernel_distance(first: Features, second: Features, *, block: int = 2048) -> float:
    """Return the unbiased squared maximum mean discrepancy under the kernel (x·y/D + 1)^3: KID. May be below 0.

    Shapes: [n, D], [m, D], n and m at least 2.
    Source: Bińkowski et al., arXiv:1801.01401, section 4; equation 3 of Gretton et al. 2012.
    """
    ours, theirs = _checked(first, second)
    within = [(_kernel_sum(x, x, block) - _diagonal_sum(x)) / (len(x) * (len(x) - 1)) for x in (ours, theirs)]
    return within[0] + within[1] - 2 * _kernel_sum(ours, theirs, block) / (len(ours) * len(theirs))


def kernel_distance_of_subsets(
    first: Features, second: Features, *, subset_images: int, subsets: int, seed: int
) -> tuple[float, float]:
    """Return the mean and standard deviation of the kernel distance over random subsets."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    sizes = min(subset_images, len(first)), min(subset_images, len(second))
    draws = [
        kernel_distance(
            first[rng.permutation(len(first))[: sizes[0]]], second[rng.permutation(len(second))[: sizes[1]]]
        )
        for _ in range(subsets)
    ]
    return float(np.mean(draws)), float(np.std(draws))


def frechet_distance(first: Features, second: Features) -> float:
    """Return the Fréchet distance of the Gaussians fitted to two sets (FID's formula, on whatever features these are).

    Shapes: [n, D], [m, D].
    Source: Heusel et al., arXiv:1706.08500, equation 6. tr sqrt(AB) is the sum of singular values of sqrt(A)ᵀ sqrt(B).
    """
    ours, theirs = _checked(first, second)
    means = ours.mean(0) - theirs.mean(0)
    roots = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (ours, theirs)]  # covariance = rootᵀ root
    variances = sum(float(np.square(root).sum()) for root in roots)
    overlap = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return float(means @ means + variances - 2 * overlap)


def mean_group_distances(features: Features, groups: npt.ArrayLike) -> tuple[float, float]:
    """Return the mean cosine distance of two members of one group, and of members of different groups.

    Shapes: features [N, D], groups [N].
    """
    unit = np.asarray(features, np.float64) / np.linalg.norm(features, axis=1, keepdims=True)
    names, inverse, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if len(names) < 2 or counts.max() < 2:
        raise ValueError(f"{len(names)} groups of at most {counts.max()} members: expected two groups and two members")
    sums = np.zeros((len(names), unit.shape[1]))
    np.add.at(sums, inverse, unit)
    own = float(np.square(sums).sum())  # of cosines over all ordered pairs in one group, a member with itself included
    everything = float(np.square(unit.sum(0)).sum())
    own_pairs, all_pairs = float(np.square(counts).sum()), float(len(unit) ** 2)
    within = 1 - (own - len(unit)) / (own_pairs - len(unit))
    return within, 1 - (everything - own) / (all_pairs - own_pairs)


def _checked(first: Features, second: Features) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    for features in (first, second):
        if features.ndim != 2 or len(features) < 2 or features.shape[1] != first.shape[1]:
            raise ValueError(
                f"features of shapes {first.shape} and {second.shape}: expected [n, D] and [m, D], n, m >= 2"
            )
    return np.asarray(first, np.float64), np.asarray(second, np.float64)


def _kernel_sum(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], block: int) -> float:
    starts = range(0, len(first), block)
    scale = first.shape[1]
    return sum(float(((first[start : start + block] @ second.T / scale + 1) ** 3).sum()) for start in starts)


def _diagonal_sum(features: npt.NDArray[np.float64]) -> float:
    return float(((np.square(features).sum(1) / features.shape[1] + 1) ** 3).sum())
