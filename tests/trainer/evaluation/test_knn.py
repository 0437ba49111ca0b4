"""Nearest neighbours against a loop in numpy."""

from collections import Counter

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.evaluation.knn import classify, neighbours


def brute_force(train: np.ndarray, labels: np.ndarray, test: np.ndarray, k: int) -> list[int]:
    answers = []
    for row in test:
        cosine = np.array([row @ other / np.linalg.norm(row) / np.linalg.norm(other) for other in train])
        nearest = np.argsort(-cosine)[:k]
        votes = Counter(labels[nearest].tolist())
        answers.append(max(votes, key=lambda c: (votes[c], cosine[nearest][labels[nearest] == c].sum())))
    return answers


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 7))
def test_classes_equal_those_of_a_brute_force_search(seed: int, k: int) -> None:
    draw = np.random.default_rng(seed)
    train, test, labels = draw.normal(size=(40, 6)), draw.normal(size=(15, 6)), draw.integers(0, 4, 40)
    found = classify(torch.from_numpy(train), torch.from_numpy(labels), torch.from_numpy(test), 4, k)
    assert found.tolist() == brute_force(train, labels, test, k)


def test_five_neighbours_are_the_default() -> None:
    train = torch.tensor([[1.0, 0.01 * i] for i in range(7)])
    labels = torch.tensor([0, 0, 1, 1, 1, 0, 0])
    assert classify(train, labels, torch.tensor([[1.0, 0.0]]), 2).item() == 1


def test_pictures_beside_an_image_are_its_neighbours_best_first_and_never_itself() -> None:
    angles = torch.tensor([0.0, 0.1, 0.3, 2.0])
    rows = torch.stack([angles.cos(), angles.sin()], 1)
    assert neighbours(rows, 3)[0].tolist() == [1, 2, 3]
    assert neighbours(rows, 1)[:, 0].tolist() == [1, 0, 1, 2]
