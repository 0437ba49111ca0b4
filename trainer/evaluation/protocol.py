"""From features and labels to predictions that were never tuned on what they are scored on.

Five folds over components of near-duplicates. A fold is predicted from the other four; the probe's penalty is picked on
one of those four after fitting on the remaining three, then the probe is fitted again on all four. Every image is
predicted once, so a score is one balanced accuracy over the whole split.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learning.logistic import PENALTIES, PICKING_TOLERANCE, TOLERANCE, Standardizer, fit_path
from trainer.evaluation.knn import classify
from trainer.evaluation.partition import deal

FOLDS = 5


@dataclass(frozen=True)
class Predictions:
    """One class per image [N] by each method, and the penalty picked in each fold."""

    knn: NDArray[np.int64]
    linear: NDArray[np.int64]
    penalties: list[float]


def folds(labels: NDArray[np.int64], components: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the fold of each image: whole components, classes spread evenly."""
    return deal(labels, components, FOLDS, "folds")


def predict(features: Tensor, labels: NDArray[np.int64], components: NDArray[np.int64]) -> Predictions:
    """Predict every image from the folds that it is not in.

    Shapes: features [N, D]; labels and components [N].
    """
    fold_of, targets, classes = folds(labels, components), torch.from_numpy(labels), int(labels.max()) + 1
    knn, linear, penalties = np.empty_like(labels), np.empty_like(labels), []
    for fold in range(FOLDS):
        test = torch.from_numpy(fold_of == fold)
        chosen = torch.from_numpy(fold_of == (fold + 1) % FOLDS)
        knn[test] = classify(features[~test], targets[~test], features[test], classes).numpy()
        penalty = pick_penalty(features, targets, ~test & ~chosen, chosen, classes)
        linear[test] = probed(features, targets, ~test, test, classes, [penalty], TOLERANCE)[0].numpy()
        penalties.append(penalty)
    return Predictions(knn, linear, penalties)


def pick_penalty(features: Tensor, labels: Tensor, train: Tensor, validation: Tensor, classes: int) -> float:
    """Return the penalty of best balanced accuracy on the validation rows, the strongest among equals."""
    truth = labels[validation].numpy()
    guesses = probed(features, labels, train, validation, classes, PENALTIES, PICKING_TOLERANCE)
    return PENALTIES[int(np.argmax([balanced_accuracy(guess.numpy(), truth) for guess in guesses]))]


def probed(
    features: Tensor,
    labels: Tensor,
    train: Tensor,
    test: Tensor,
    classes: int,
    penalties: Sequence[float],
    tolerance: float,
) -> list[Tensor]:
    """Return the predictions for the test rows of a probe fitted on the train rows, for each penalty."""
    standardize = Standardizer.of(features[train])
    rows = standardize(features[test])
    path = fit_path(standardize(features[train]), labels[train], classes, penalties, tolerance)
    return [probe.logits(rows).argmax(1) for probe in path]


def balanced_accuracy(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Return the mean over the classes present of the share that was recognised."""
    is_right = (predicted == labels).astype(np.float64)
    counts = np.bincount(labels)
    return float((np.bincount(labels, is_right)[counts > 0] / counts[counts > 0]).mean())
