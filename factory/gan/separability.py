"""How well a line tells real from generated in a model's features: what a bank's models are ranked by.

Images are shuffled before any are left out, both kinds are equally many, a half is fitted and the other half judged,
again for each repeat. The interval is a bootstrap's over images, each with its mean over the repeats it was judged in.
Source: Kumari et al., arXiv:2112.09130, section 3.3 and equation 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from learning.logistic import Probe, Standardizer, fit_path

MOST_IMAGES = 10_000  # of each kind
INVERSE_PENALTY = 0.2  # scikit-learn's C
REPEATS = 3
RESAMPLES = 1000
LEAST_IMAGES = 8


@dataclass(frozen=True)
class Separability:
    """Share of unseen images that are told right, with its interval of 95 %; 0.5 is chance."""

    accuracy: float
    low: float
    high: float
    log_loss: float  # of unseen images, in nats; orders models that tell all of them right
    images: int  # of each kind
    repeats: int


@dataclass(frozen=True)
class Line:
    """A direction that tells real from generated: the logit of being real is features @ weights + bias.

    Shapes: weights float64 [D].
    """

    weights: np.ndarray
    bias: float

    def realism(self, features: np.ndarray) -> np.ndarray:
        """Return how likely each is real, in 0 … 1, float32 [n]."""
        logits = np.asarray(features, np.float64) @ self.weights + self.bias
        return np.asarray(0.5 * (1 + np.tanh(logits / 2)), np.float32)


def separability(
    real: np.ndarray, generated: np.ndarray, *, seed: int, repeats: int = REPEATS, most_images: int = MOST_IMAGES
) -> Separability:
    """Measure on features [n, D] and [m, D].

    Raises: ValueError for fewer than LEAST_IMAGES of a kind.
    """
    count = _count(real, generated, most_images)
    rng = np.random.Generator(np.random.Philox(key=seed))
    right, judged, losses = np.zeros((3, 2, max(len(real), len(generated))))
    for _ in range(repeats):
        chosen = [rng.permutation(len(features))[:count] for features in (real, generated)]
        fitted, unseen = ([part[half] for part in chosen] for half in (slice(count // 2), slice(count // 2, None)))
        line = fit_line(real[fitted[0]], generated[fitted[1]])
        for kind, (features, numbers) in enumerate(zip((real, generated), unseen, strict=True)):
            logits = (features[numbers].astype(np.float64) @ line.weights + line.bias) * (1, -1)[kind]
            right[kind, numbers] += logits > 0
            losses[kind, numbers] += np.logaddexp(0, -logits)
            judged[kind, numbers] += 1
    means = [right[kind][judged[kind] > 0] / judged[kind][judged[kind] > 0] for kind in (0, 1)]
    drawn = np.mean([_resampled(mean, rng) for mean in means], axis=0)
    low, high = np.quantile(drawn, (0.025, 0.975))
    accuracy, log_loss = (float(total.sum() / judged.sum()) for total in (right, losses))
    return Separability(accuracy, float(low), float(high), log_loss, count, repeats)


def fit_line(real: np.ndarray, generated: np.ndarray) -> Line:
    """Fit a logistic regression with an L2 penalty to standardised features [n, D] and [m, D]; it takes raw ones."""
    rows = torch.from_numpy(np.concatenate([real, generated]).astype(np.float64))
    labels = torch.cat([torch.ones(len(real)), torch.zeros(len(generated))]).long()
    standardizer = Standardizer.of(rows)
    penalty = 2 / (INVERSE_PENALTY * len(rows))  # twice: the penalty of two logits' weights is half that of one's
    probe: Probe = next(fit_path(standardizer(rows), labels, 2, (penalty,)))
    weights = (probe.weights[:, 1] - probe.weights[:, 0]) / standardizer.deviation
    bias = probe.bias[1] - probe.bias[0] - standardizer.mean @ weights
    return Line(weights.numpy(), float(bias))


def _count(real: np.ndarray, generated: np.ndarray, most_images: int) -> int:
    count = min(len(real), len(generated), most_images)
    if count < LEAST_IMAGES:
        raise ValueError(
            f"{len(real)} real and {len(generated)} generated images: expected at least {LEAST_IMAGES} each"
        )
    return count


def _resampled(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.array([values[rng.integers(len(values), size=len(values))].mean() for _ in range(RESAMPLES)])
