"""Intervals that cover what they claim, and evidence that is declared where it is and refused where it is not."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from trainer.evaluation.evidence import Difference, paired_difference, score
from trainer.evaluation.protocol import balanced_accuracy

LABELS = np.arange(400) % 4
COMPONENTS = np.arange(400) // 2 // 4 * 4 + LABELS  # pairs of one class


def guesses(draw: np.random.Generator, share: float) -> np.ndarray:
    """Predictions right for a share of components: images of a component fail together."""
    is_right = draw.random(COMPONENTS.max() + 1)[COMPONENTS] < share
    return np.where(is_right, LABELS, (LABELS + 1) % 4)


def test_balanced_accuracy_is_scikit_learns() -> None:
    draw = np.random.default_rng(0)
    labels, predicted = draw.choice(5, 300, p=[0.5, 0.3, 0.1, 0.05, 0.05]), draw.integers(0, 5, 300)
    expected = balanced_accuracy_score(labels, predicted)
    assert balanced_accuracy(predicted, labels) == pytest.approx(expected, abs=1e-12)
    assert score(predicted, labels, np.arange(300)).mean == pytest.approx(expected, abs=1e-12)


def test_intervals_cover_the_truth_about_nineteen_times_in_twenty() -> None:
    draw = np.random.default_rng(1)
    found = [score(guesses(draw, 0.6), LABELS, COMPONENTS) for _ in range(40)]
    assert sum(s.low <= 0.6 <= s.high for s in found) >= 34
    assert np.mean([s.high - s.low for s in found]) < 0.2
    assert found[0].n == len(set(COMPONENTS.tolist()))


def test_images_that_fail_together_widen_the_interval() -> None:
    predicted = guesses(np.random.default_rng(2), 0.6)
    grouped, single = score(predicted, LABELS, COMPONENTS), score(predicted, LABELS, np.arange(400))
    assert grouped.high - grouped.low > 1.2 * (single.high - single.low)


def difference(gain: float, seeds: int = 3) -> Difference:
    draw = np.random.default_rng(5)
    worse = np.stack([guesses(draw, 0.5) for _ in range(seeds)])
    lifted = draw.random((seeds, COMPONENTS.max() + 1))[:, COMPONENTS] < gain
    return paired_difference(np.where(lifted, LABELS, worse), worse, LABELS, COMPONENTS)


def test_a_known_difference_is_evidence_and_larger_than_the_smallest_detectable() -> None:
    found = difference(gain=0.3)
    assert found.is_evidence
    assert found.low < 0.15 < found.high
    assert 0 < found.smallest_detectable < found.mean


def test_no_difference_is_no_evidence() -> None:
    draw = np.random.default_rng(6)
    a, b = (np.stack([guesses(draw, 0.5) for _ in range(3)]) for _ in range(2))
    found = paired_difference(a, b, LABELS, COMPONENTS)
    assert not found.is_evidence
    assert found.low < 0 < found.high


def test_two_seeds_are_no_evidence_however_large_the_difference() -> None:
    found = difference(gain=0.9, seeds=2)
    assert found.low > 0
    assert not found.is_evidence


def test_one_seed_of_another_sign_is_no_evidence() -> None:
    draw = np.random.default_rng(7)
    base = np.stack([guesses(draw, 0.5) for _ in range(4)])
    better = np.stack([*(np.where(draw.random(400) < 0.6, LABELS, row) for row in base[:3]), base[3].copy()])
    better[3, :4] = (LABELS[:4] + 1) % 4
    base[3, :4] = LABELS[:4]
    found = paired_difference(better, base, LABELS, COMPONENTS)
    assert found.mean > 0.1
    assert not found.signs_agree
    assert not found.is_evidence


def test_predictions_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 400\)"):
        paired_difference(np.zeros((3, 400), np.int64), np.zeros((2, 400), np.int64), LABELS, COMPONENTS)
