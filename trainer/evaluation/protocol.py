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

from trainer.evaluation.knn import classify
from trainer.evaluation.partition import deal
from trainer.evaluation.probe import PENALTIES, PICKING_TOLERANCE, TOLERANCE, Standardizer, fit_path

FOLDS = 5


@dataclass(frozen=True)
class Part:
    """Indices of images to learn from, to pick settings on, and to predict; no component lies in two of them."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]

    @property
    def learning(self) -> NDArray[np.int64]:
        """Return all that may be learned from once settings are picked, in order."""
        return np.sort(np.concatenate([self.train, self.validation]))


@dataclass(frozen=True)
class Predictions:
    """One class per image [N] by each method, and the penalty picked in each fold."""

    knn: NDArray[np.int64]
    linear: NDArray[np.int64]
    penalties: list[float]


def folds(labels: NDArray[np.int64], components: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the fold of each image: whole components, classes spread evenly."""
    return deal(labels, components, FOLDS, "folds")


def fold_parts(labels: NDArray[np.int64], components: NDArray[np.int64]) -> tuple[Part, ...]:
    """Return five parts that predict every image once."""
    fold_of = folds(labels, components)
    return tuple(_part((fold_of - fold) % FOLDS) for fold in range(FOLDS))


def _part(turned: NDArray[np.int64]) -> Part:
    """Predict fold 0, pick settings on fold 1."""
    return Part(np.flatnonzero(turned > 1), np.flatnonzero(turned == 1), np.flatnonzero(turned == 0))


def predict(features: Tensor, labels: NDArray[np.int64], components: NDArray[np.int64]) -> Predictions:
    """Predict every image from the folds that it is not in.

    Shapes: features [N, D]; labels and components [N].
    """
    parts = fold_parts(labels, components)
    linear, penalties = predict_linear(features, labels, parts)
    return Predictions(predict_knn(features, labels, parts), linear, penalties)


def predict_knn(features: Tensor, labels: NDArray[np.int64], parts: Sequence[Part]) -> NDArray[np.int64]:
    """Predict every part's images from their nearest neighbours in the rest of it; -1 for images of no part."""
    targets, classes = torch.from_numpy(labels), int(labels.max()) + 1
    found = np.full_like(labels, -1)
    for part in parts:
        known = part.learning
        found[part.test] = classify(features[known], targets[known], features[part.test], classes).numpy()
    return found


def predict_linear(
    features: Tensor, labels: NDArray[np.int64], parts: Sequence[Part]
) -> tuple[NDArray[np.int64], list[float]]:
    """Predict every part's images by a probe whose penalty is picked within it; and return the penalties."""
    targets, classes = torch.from_numpy(labels), int(labels.max()) + 1
    found, penalties = np.full_like(labels, -1), []
    for part in parts:
        train, validation, test, known = map(torch.from_numpy, (part.train, part.validation, part.test, part.learning))
        penalty = pick_penalty(features, targets, train, validation, classes)
        found[part.test] = probed(features, targets, known, test, classes, [penalty], TOLERANCE)[0].numpy()
        penalties.append(penalty)
    return found, penalties


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
