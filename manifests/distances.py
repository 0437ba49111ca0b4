"""How alike two feature sets are: kernel (KID) and Fréchet distance (FID), and the spread of groups within one.

Numbers are comparable only between sets seen through the same feature network. Everything is computed in float64.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]


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
    return _gaussian_distance(*(_gaussian(features) for features in _checked(first, second)))


def frechet_distance_at_infinity(first: Features, second: Features, *, seed: int, points: int = 15) -> float:
    """Return the Fréchet distance that infinitely many of the first set's kind would have: its bias is linear in 1/n.

    The second set is the reference and is taken whole.
    Shapes: [n, D], [m, D], n at least 2 (D + 1): with fewer the bias is not linear yet.
    Source: Chong and Forsyth, arXiv:1911.07023, section 4.
    """
    ours, theirs = _checked(first, second)
    n, least = len(ours), max(len(ours) // 10, ours.shape[1] + 1)
    if n < 2 * (ours.shape[1] + 1):
        raise ValueError(
            f"{n} images with {ours.shape[1]} features: expected at least {2 * (ours.shape[1] + 1)} images"
        )
    rng, reference = np.random.Generator(np.random.Philox(key=seed)), _gaussian(theirs)
    sizes = np.linspace(least, n, points).astype(int)
    found = [_gaussian_distance(_gaussian(ours[rng.permutation(n)[:size]]), reference) for size in sizes]
    _, intercept = np.polyfit(1 / sizes, found, 1)
    return float(intercept)


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


def _checked(first: Features, second: Features) -> tuple[Float64, Float64]:
    for features in (first, second):
        if features.ndim != 2 or len(features) < 2 or features.shape[1] != first.shape[1]:
            raise ValueError(
                f"features of shapes {first.shape} and {second.shape}: expected [n, D] and [m, D], n, m >= 2"
            )
    return np.asarray(first, np.float64), np.asarray(second, np.float64)


def _gaussian(features: Float64) -> tuple[Float64, Float64]:
    """Return a mean [D] and a root [min(n, D), D] of the covariance, which is rootᵀ root."""
    mean = features.mean(0)
    root = (features - mean) / np.sqrt(len(features) - 1)
    return mean, (root if len(root) <= root.shape[1] else np.asarray(np.linalg.qr(root, mode="r")))


def _gaussian_distance(first: tuple[Float64, Float64], second: tuple[Float64, Float64]) -> float:
    shift, roots = first[0] - second[0], (first[1], second[1])
    variances = sum(float(np.square(root).sum()) for root in roots)
    overlap = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return float(shift @ shift + variances - 2 * overlap)


def _kernel_sum(first: Float64, second: Float64, block: int) -> float:
    starts = range(0, len(first), block)
    scale = first.shape[1]
    return sum(float(((first[start : start + block] @ second.T / scale + 1) ** 3).sum()) for start in starts)


def _diagonal_sum(features: Float64) -> float:
    return float(((np.square(features).sum(1) / features.shape[1] + 1) ** 3).sum())
