"""The distances against torch-fidelity on the same features, scipy's square root, and Gaussians' closed forms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg

from manifests.distances import frechet_distance, frechet_distance_at_infinity, kernel_distance
from manifests.neighbours import support
from tests.manifests.record_fidelity import NEIGHBOURS, SIZES
from tests.manifests.record_fidelity import drawn as recorded_features

# By torch-fidelity 0.4.0; tests/manifests/record_fidelity.py says how.
THEIRS = json.loads((Path(__file__).parents[1] / "golden" / "torch-fidelity.json").read_text())["found"]


def drawn(seed: int, count: int, width: int = 24) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, width)) @ rng.normal(size=(width, width)) / 4 + rng.normal(size=width)


def moments(count: int, mean: np.ndarray, covariance: np.ndarray, seed: int) -> np.ndarray:
    """Return points whose sample mean and covariance are exactly these."""
    points = np.random.default_rng(seed).normal(size=(count, len(mean)))
    points -= points.mean(0)
    whitened = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points.T))).T
    return whitened @ np.linalg.cholesky(covariance).T + mean


def closed_form(means: tuple[np.ndarray, np.ndarray], covariances: tuple[np.ndarray, np.ndarray]) -> float:
    shift = means[0] - means[1]
    root = scipy.linalg.sqrtm(covariances[0])
    cross = scipy.linalg.sqrtm(root @ covariances[1] @ root).real
    return float(shift @ shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(cross))


@pytest.mark.parametrize("counts", [(400, 300), (60, 300)])
def test_gaussians_have_the_distance_of_their_closed_form(counts: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    factors = [rng.normal(size=(16, 16)) for _ in range(2)]
    covariances = tuple(factor @ factor.T + np.eye(16) for factor in factors)
    means = tuple(rng.normal(size=(2, 16)))
    sets = [moments(n, m, c, i) for i, (n, m, c) in enumerate(zip(counts, means, covariances, strict=True))]
    assert frechet_distance(*sets) == pytest.approx(closed_form(means, covariances), abs=1e-6, rel=1e-6)


def test_a_scaled_gaussian_has_a_distance_that_one_can_write_down() -> None:
    points = moments(200, np.zeros(8), np.eye(8), 1)
    assert frechet_distance(points, 3 * points + 2) == pytest.approx(8 * (3 - 1) ** 2 + 8 * 2**2, abs=1e-6)


@pytest.mark.parametrize(("sizes", "theirs"), list(zip(SIZES, THEIRS, strict=True)))
def test_distances_precision_and_recall_are_torch_fidelitys(sizes: tuple[int, int], theirs: dict[str, float]) -> None:
    sets, least = [recorded_features(key, size) for key, size in enumerate(sizes)], min(sizes)
    assert frechet_distance(*sets) == pytest.approx(theirs["frechet_inception_distance"], abs=1e-6, rel=1e-6)
    ours = kernel_distance(*(features[:least] for features in sets))
    assert ours == pytest.approx(theirs["kernel_inception_distance_mean"], abs=1e-6, rel=1e-6)
    found = support(sets[1], sets[0], neighbours=NEIGHBOURS)
    assert found.precision == pytest.approx(theirs["precision"], abs=1e-6)
    assert found.recall == pytest.approx(theirs["recall"], abs=1e-6)


def test_the_distance_at_infinity_is_nearer_the_truth_than_that_of_few_images() -> None:
    width, shift = 12, 0.3
    reference = np.random.default_rng(0).normal(size=(200_000, width))
    truth = width * shift**2
    errors = []
    for seed in range(8):
        few = np.random.default_rng(seed + 1).normal(shift, 1, size=(300, width))
        found = frechet_distance(few, reference), frechet_distance_at_infinity(few, reference, seed=seed, points=8)
        errors.append([value - truth for value in found])
    biased, corrected = np.mean(errors, 0)
    assert biased > 0.1
    assert abs(corrected) < biased / 3


def test_the_distance_at_infinity_wants_more_images_than_features() -> None:
    with pytest.raises(ValueError, match="expected at least 50 images"):
        frechet_distance_at_infinity(drawn(0, 49), drawn(1, 100), seed=0)
