"""The protocol: every image predicted once, from others only, and nothing tuned on what is scored."""

import numpy as np
import pytest
import torch

from trainer.evaluation import protocol
from trainer.evaluation.protocol import folds, pick_penalty, predict


def clusters(noise: float, seed: int = 0) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    labels = np.arange(120) % 3
    centres = torch.randn(3, 8, generator=generator)
    rows = centres[torch.from_numpy(labels)] + noise * torch.randn(120, 8, generator=generator)
    return rows, labels, np.arange(120) // 6


@pytest.fixture(autouse=True)
def few_penalties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "PENALTIES", protocol.PENALTIES[::8])


def test_separable_classes_are_recognised_by_both_methods() -> None:
    rows, labels, components = clusters(0.05)
    found = predict(rows, labels, components)
    assert (found.knn == labels).all()
    assert (found.linear == labels).all()
    assert len(found.penalties) == 5


def test_labels_that_only_near_duplicates_betray_stay_at_chance() -> None:
    draw = np.random.default_rng(0)
    group_label = draw.integers(0, 2, 60)
    components = np.repeat(np.arange(60), 8)
    rows = torch.randn(60, 16, generator=torch.Generator().manual_seed(1)).repeat_interleave(8, 0)
    found = predict(rows, group_label[components], components)
    assert (found.knn == group_label[components]).mean() < 0.7
    leaking = predict(rows, group_label[components], np.arange(480))
    assert (leaking.knn == group_label[components]).mean() > 0.85


def test_test_images_have_no_say_in_the_penalty_or_the_weights() -> None:
    rows, labels, components = clusters(1.5)
    is_first_fold = folds(labels, components) == 0
    changed = np.where(is_first_fold, (labels + 1) % 3, labels)
    assert (folds(changed, components) == folds(labels, components)).all()
    before, after = predict(rows, labels, components), predict(rows, changed, components)
    assert (before.linear == after.linear)[is_first_fold].all()
    assert (before.knn == after.knn)[is_first_fold].all()
    assert before.penalties[0] == after.penalties[0]


def test_equal_penalties_are_decided_for_the_strongest() -> None:
    rows, labels, _ = clusters(0.01)
    train = torch.arange(120) % 2 == 0
    picked = pick_penalty(rows, torch.from_numpy(labels), train, ~train, 3)
    guesses = protocol.probed(rows, torch.from_numpy(labels), train, ~train, 3, protocol.PENALTIES, 1e-4)
    best = [bool((guess.numpy() == labels[~train]).all()) for guess in guesses]
    assert picked == protocol.PENALTIES[best.index(True)]
