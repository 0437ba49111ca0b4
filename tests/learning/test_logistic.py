"""The linear probe against scikit-learn, which shares nothing with it but the formula."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from learning.logistic import PENALTIES, Standardizer, fit_path


def ill_conditioned(count: int, width: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, width, generator=generator, dtype=torch.float64)
    noise = torch.randn(count, width, generator=generator, dtype=torch.float64)
    rows = (0.4 * centres[labels] + noise) * torch.logspace(1.5, -1.5, width, dtype=torch.float64)
    mixing = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0]
    rows = rows @ mixing
    return Standardizer.of(rows)(rows), labels


@pytest.mark.parametrize(("count", "width"), [(120, 20), (60, 90)])
def test_probabilities_equal_those_of_scikit_learn_along_the_path(count: int, width: int) -> None:
    rows, labels = ill_conditioned(count, width, 5)
    for probe in fit_path(rows, labels, 5, PENALTIES[::11], tolerance=1e-6):
        reference = LogisticRegression(C=1 / (probe.penalty * count), tol=1e-7, max_iter=20_000)
        expected = reference.fit(rows.numpy(), labels.numpy()).predict_proba(rows.numpy())
        assert np.abs(probe.logits(rows).softmax(1).numpy() - expected).max() < 1e-3


def test_the_path_goes_from_strong_to_weak_over_the_range_of_the_protocol() -> None:
    assert len(PENALTIES) == 45
    assert PENALTIES[0] == pytest.approx(1e5)
    assert PENALTIES[-1] == pytest.approx(1e-6)
    assert np.ptp(np.diff(np.log(PENALTIES))) < 1e-9


def test_a_cold_start_finds_what_the_path_finds() -> None:
    rows, labels = ill_conditioned(80, 12, 4)
    penalty = PENALTIES[28]
    along = list(fit_path(rows, labels, 4, PENALTIES[:29], tolerance=1e-7))[-1]
    (cold,) = fit_path(rows, labels, 4, [penalty], tolerance=1e-7)
    torch.testing.assert_close(cold.logits(rows), along.logits(rows), rtol=0, atol=1e-3)


def test_a_feature_that_never_changed_in_training_is_ignored() -> None:
    train = torch.tensor([[1.0, 7.0], [3.0, 7.0]])
    torch.testing.assert_close(
        Standardizer.of(train)(torch.tensor([[2.0, 9.0]])), torch.zeros(1, 2, dtype=torch.float64)
    )
