"""Separability: known separations, balance, shuffling, and scikit-learn's logistic regression."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from factory.gan.separability import fit_line, separability


def drawn(seed: int, count: int, shift: float = 0.0, width: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, width)).astype(np.float32)


def test_the_line_is_scikit_learns() -> None:
    real, fake = drawn(0, 80, 0.4), drawn(1, 60) * [1, 2, 3, 4, 5]
    line = fit_line(real, fake.astype(np.float32))
    rows, labels = np.concatenate([real, fake]), [1] * 80 + [0] * 60
    scaler = StandardScaler().fit(rows)
    model = LogisticRegression(C=0.2, tol=1e-9, max_iter=10_000).fit(scaler.transform(rows), labels)
    expected = model.predict_proba(scaler.transform(rows))[:, 1]
    np.testing.assert_allclose(line.realism(rows), expected, atol=1e-4)


def test_one_law_is_told_apart_by_chance_and_far_ones_always() -> None:
    same = separability(drawn(0, 600), drawn(1, 600), seed=0)
    far = separability(drawn(0, 100), drawn(1, 100, shift=9), seed=0)
    assert same.low < 0.5 < same.high
    assert (far.accuracy, far.low, far.high) == (1, 1, 1)


def test_two_gaussians_are_told_apart_as_often_as_can_be() -> None:
    width, shift = 5, 0.6
    best = 0.5 * (1 + math.erf(shift * math.sqrt(width) / 2 / math.sqrt(2)))
    found = separability(drawn(2, 4000, shift), drawn(3, 4000), seed=1)
    assert found.accuracy == pytest.approx(best, abs=0.02)
    assert found.low < best < found.high + 0.01
    assert found.high - found.low < 0.05


def test_kinds_are_balanced_and_drawn_from_the_whole() -> None:
    """The first rows of the real ones look generated: whoever took the first images would see no difference."""
    real = np.concatenate([drawn(4, 300), drawn(5, 2700, shift=9)])
    found = separability(real, drawn(6, 100), seed=0)
    assert found.images == 100
    assert found.accuracy > 0.9


def test_so_many_images_at_most_and_equal_seeds_agree() -> None:
    sets = drawn(7, 200, 0.5), drawn(8, 200)
    first, again, other = (separability(*sets, seed=seed, most_images=50) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first.images == 50


def test_a_handful_of_images_is_refused() -> None:
    with pytest.raises(ValueError, match="3 real and 50 generated images: expected at least 8 each"):
        separability(drawn(0, 3), drawn(1, 50), seed=0)


def test_models_that_tell_all_images_right_differ_in_how_surely() -> None:
    near, far = (separability(drawn(0, 200, shift), drawn(1, 200), seed=0) for shift in (7, 20))
    assert near.accuracy == far.accuracy == 1
    assert far.log_loss < near.log_loss
    chance = separability(drawn(0, 4000), drawn(1, 4000), seed=0)
    assert chance.log_loss == pytest.approx(math.log(2), abs=0.02)
