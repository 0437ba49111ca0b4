"""How sure a score or a difference is: bootstrap over groups of near-duplicates, crossed with training seeds.

Images of a group are not independent draws, so whole groups are resampled; seeds are resampled in the same draw, which
makes the interval hold for other images and other seeds alike (the pigeonhole bootstrap of Owen, 2007). Pure: the
draws come from counter-based seeds, so that the same predictions give the same interval anywhere.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from manifests.seeds import integer_rows, integers

RESAMPLES = 2000
_BLOCK_NUMBERS = 1 << 22  # of resampled images at once: 32 MiB
SEEDS_NEEDED = 3
_QUANTILES = (0.025, 0.975)
_DETECTABLE_ERRORS = 1.96 + 0.84  # standard errors seen with probability 0.8 at the level 0.05


@dataclass(frozen=True)
class Score:
    """An estimate such as balanced accuracy, its 95 % interval, and how many independent groups it rests on."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference:
    """Balanced accuracy of a minus that of b, in the same images and seeds, with its 95 % interval."""

    mean: float
    low: float
    high: float
    smallest_detectable: float  # what this design would have seen four times in five
    signs_agree: bool
    seeds: int
    groups: int

    @property
    def is_evidence(self) -> bool:
        """Whether the interval excludes 0, all seeds agree in sign, and there are enough of them."""
        return self.seeds >= SEEDS_NEEDED and self.signs_agree and not self.low <= 0 <= self.high

    def to_dict(self) -> dict[str, float | int | bool]:
        return {**asdict(self), "is_evidence": self.is_evidence}


def score(predicted: NDArray[np.int64], labels: NDArray[np.int64], components: NDArray[np.int64]) -> Score:
    """Return the balanced accuracy, mean over training seeds, with its interval over components and seeds.

    Shapes: predictions [N], or [S, N] with one row a seed; labels and components [N].
    """
    rows = np.atleast_2d(predicted)
    groups, resampled = _resampled_recalls(rows, labels, components)
    return interval(float(np.mean(_accuracies(rows, labels))), _over_seeds(resampled), groups)


def mean_score(values: NDArray[np.float64], components: NDArray[np.int64]) -> Score:
    """Return the mean of one number an image, with its interval over components. Shapes: [N] each."""
    names, group = np.unique(components, return_inverse=True)
    sums, sizes = np.bincount(group, values), np.bincount(group)
    resampled = [(draws @ sums) / (draws @ sizes) for draws in draw_counts(len(names), len(values))]
    return interval(float(values.mean()), np.concatenate(resampled), len(names))


def interval(mean: float, resampled: NDArray[np.float64], groups: int) -> Score:
    """Return an estimate with the interval that its resamples [R] span."""
    low, high = np.quantile(resampled, _QUANTILES)
    return Score(mean, float(low), float(high), groups)


def paired_difference(
    predicted_a: NDArray[np.int64],
    predicted_b: NDArray[np.int64],
    labels: NDArray[np.int64],
    components: NDArray[np.int64],
) -> Difference:
    """Compare two methods seed by seed on the same images.

    Shapes: predictions [S, N], one row a training seed; labels and components [N].
    """
    seeds = len(predicted_a)
    if predicted_a.shape != predicted_b.shape:
        raise ValueError(f"predictions {predicted_a.shape} and {predicted_b.shape}: expected the same seeds and images")
    per_seed = np.subtract(_accuracies(predicted_a, labels), _accuracies(predicted_b, labels))
    groups, a = _resampled_recalls(predicted_a, labels, components)
    _, b = _resampled_recalls(predicted_b, labels, components)  # the same draws of groups
    resampled = _over_seeds(a - b)  # [R]
    low, high = np.quantile(resampled, _QUANTILES)
    return Difference(
        mean=float(per_seed.mean()),
        low=float(low),
        high=float(high),
        smallest_detectable=float(_DETECTABLE_ERRORS * resampled.std(ddof=1)),
        signs_agree=bool((per_seed > 0).all() or (per_seed < 0).all()),
        seeds=seeds,
        groups=groups,
    )


def _over_seeds(resampled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Resample the seeds too, in the same draws: [R, S] -> [R]."""
    seeds = resampled.shape[1]
    drawn = integers(0, "bootstrap seeds", seeds, (RESAMPLES, seeds))
    return np.asarray(np.take_along_axis(resampled, drawn, axis=1).mean(1))


def _accuracies(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> list[float]:
    right = predicted == labels
    return [float(np.mean([row[labels == c].mean() for c in np.unique(labels)])) for row in right]


def _resampled_recalls(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], components: NDArray[np.int64]
) -> tuple[int, NDArray[np.float64]]:
    """Return the number of groups, and the balanced accuracy of each resample and seed, [R, S]."""
    names, group = np.unique(components, return_inverse=True)
    by_class = np.argsort(labels, kind="stable")
    starts = np.unique(labels[by_class], return_index=True)[1]
    right = (predicted == labels)[:, by_class]  # [S, N]
    resampled = []
    for draws in draw_counts(len(names), len(labels)):
        counts = draws[:, group[by_class]]  # how often each image comes, [r, N]
        total = np.add.reduceat(counts, starts, axis=1)  # images of each class, [r, K]
        recalls = [_recalls(np.add.reduceat(counts * row, starts, axis=1), total) for row in right]
        resampled.append(np.stack(recalls, axis=1))
    return len(names), np.concatenate(resampled)


def _recalls(right: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the classes that a resample has any image of. Shapes: [r, K] each -> [r]."""
    shares = np.divide(right, total, out=np.full_like(right, np.nan), where=total > 0)
    return np.asarray(np.nanmean(shares, axis=1))


def draw_counts(groups: int, images: int) -> Iterator[NDArray[np.float64]]:
    """Return how often each group comes in each resample, [r, G] at a time, so that [r, images] fits into memory."""
    block = max(1, _BLOCK_NUMBERS // images)
    for drawn in integer_rows(0, "bootstrap groups", groups, (RESAMPLES, groups), block):
        offsets = np.arange(len(drawn))[:, None] * groups
        counts = np.bincount((drawn + offsets).ravel(), minlength=drawn.size)
        yield counts.reshape(drawn.shape).astype(float)
