"""Intervals that cover what they claim, and evidence that is declared where it is and refused where it is not."""

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from trainer.evaluation import evidence
from trainer.evaluation.evidence import Difference, mean_score, paired_difference, score
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


def peak_bytes_of(act) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_hundred_thousand_groups_of_many_classes_need_a_fraction_of_a_gigabyte(monkeypatch) -> None:
    monkeypatch.setattr(evidence, "RESAMPLES", 90)
    labels = np.arange(100_000) % 1000
    predicted = np.where(np.arange(100_000) % 5 == 0, labels, 0)[None]
    whole = 90 * 100_000 * 8
    assert peak_bytes_of(lambda: score(predicted, labels, np.arange(100_000))) < 0.25e9
    monkeypatch.setattr(evidence, "_BLOCK_NUMBERS", 1 << 40)  # all resamples at once: what the blocks are for
    assert peak_bytes_of(lambda: score(predicted, labels, np.arange(100_000))) > 3 * whole


def test_blocks_change_no_interval(monkeypatch) -> None:
    draw = np.random.default_rng(3)
    predicted, values = np.stack([guesses(draw, 0.6), guesses(draw, 0.5)]), draw.random(400)
    whole = score(predicted, LABELS, COMPONENTS), mean_score(values, COMPONENTS)
    monkeypatch.setattr(evidence, "_BLOCK_NUMBERS", 3 * 400 + 1)
    assert score(predicted, LABELS, COMPONENTS) == whole[0]
    found = mean_score(values, COMPONENTS)
    assert (found.low, found.high) == pytest.approx((whole[1].low, whole[1].high), rel=1e-12)


def test_a_class_that_a_resample_has_no_image_of_is_left_out_of_its_mean() -> None:
    labels, components = np.array([0, 0, 0, 1]), np.arange(4)
    found = score(np.array([0, 0, 0, 0]), labels, components)
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 1.0)
