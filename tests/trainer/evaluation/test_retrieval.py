"""Views that seek one another: exact on constructed features, against scikit-learn on drawn ones."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from trainer.evaluation import retrieval
from trainer.evaluation.retrieval import average_precisions


def at(*degrees: float) -> torch.Tensor:
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1)


def test_views_that_lie_together_are_found_without_a_mistake() -> None:
    precision, hit = average_precisions(at(0, 1, 90, 91, 180, 181), np.array([0, 0, 1, 1, 2, 2]))
    assert precision.tolist() == [1.0] * 6
    assert hit.all()


def test_the_average_precision_of_a_known_order_is_exact() -> None:
    # from 0 degrees the others come as 10 (other), 20 (mine), 30 (other), 40 (mine): (1/2 + 2/4) / 2
    precision, hit = average_precisions(at(0, 10, 20, 30, 40), np.array([0, 1, 0, 2, 0]))
    assert precision[0] == pytest.approx(0.5)
    assert not hit[0]


def test_features_that_are_all_equal_find_nothing_first() -> None:
    precision, hit = average_precisions(torch.ones(40, 8), np.arange(40) // 2)
    assert not hit.any()
    assert precision == pytest.approx(np.full(40, 1 / 39))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), views=st.integers(2, 4))
def test_average_precisions_equal_scikit_learns(seed: int, views: int) -> None:
    draw = np.random.default_rng(seed)
    features, groups = draw.normal(size=(6 * views, 5)), np.arange(6 * views) // views
    precision, hit = average_precisions(torch.from_numpy(features), groups)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for index in range(len(unit)):
        others = np.arange(len(unit)) != index
        cosine, is_mine = (unit @ unit[index])[others], (groups == groups[index])[others]
        assert precision[index] == pytest.approx(average_precision_score(is_mine, cosine))
        assert hit[index] == is_mine[cosine.argmax()]


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 6)))
    whole = average_precisions(features, np.arange(50) // 5)[0]
    monkeypatch.setattr(retrieval, "_CHUNK_VALUES", 150)
    assert average_precisions(features, np.arange(50) // 5)[0] == pytest.approx(whole)
