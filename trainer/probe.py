"""Scores the encoder while it learns: nearest neighbours and a closed-form ridge probe on a small labelled set.

Both are exact, without tuning, and take seconds; what is published comes from `trainer evaluate`.
Source of the ridge probe: fewshot_lsr of big_vision, one-hot targets ±1, standardised features, a fixed penalty.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.evaluation.features import embed
from trainer.evaluation.knn import classify
from trainer.evaluation.protocol import balanced_accuracy
from trainer.evaluation.sets import SETS, Examples, folder, load
from trainer.state import TrainingState

NEIGHBOURS_SPLIT = 5  # every fifth component of near-duplicates is predicted from the others
RIDGE = 1e-3  # of the number of training images


class Probe:
    """A labelled set, cut once; due every so many images."""

    def __init__(self, examples: Examples, every_images: int, images_seen: int) -> None:
        self._examples, self._every, self._scored_at = examples, every_images, images_seen
        self._labels = torch.from_numpy(examples.labels)
        self._is_test = torch.from_numpy(examples.components % NEIGHBOURS_SPLIT == 0)

    def is_due(self, images_seen: int) -> bool:
        """Say whether the interval has passed."""
        return images_seen // self._every > self._scored_at // self._every

    def score(self, state: TrainingState) -> dict[str, float]:
        """Return balanced accuracies of the encoder and, where one is kept, of its average."""
        self._scored_at = state.images_seen
        found = self._scores(state.objective.encoder, "probe")
        if state.ema is not None:
            found |= self._scores(state.exported.encoder, "probe_average")
        return found

    def _scores(self, encoder: Encoder, name: str) -> dict[str, float]:
        was_training = encoder.training
        features = embed(encoder.eval(), self._examples.images)
        encoder.train(was_training)
        train, test, classes = ~self._is_test, self._is_test, int(self._labels.max()) + 1
        neighbours = classify(features[train], self._labels[train], features[test], classes)
        fitted = ridge(features[train], self._labels[train], features[test], classes)
        truth = self._labels[test].numpy()
        return {
            f"{name}_knn": float(balanced_accuracy(neighbours.numpy(), truth)),
            f"{name}_ridge": float(balanced_accuracy(fitted.numpy(), truth)),
        }


def ridge(features: Tensor, labels: Tensor, queries: Tensor, classes: int) -> Tensor:
    """Fit ±1 targets by least squares with a fixed penalty, and return the class of each query.

    Shapes: features [N, D], labels [N], queries [M, D] -> int64 [M].
    """
    mean, std = features.double().mean(dim=0), features.double().std(dim=0).clamp(min=1e-6)
    x, q = (features.double() - mean) / std, (queries.double() - mean) / std
    targets = 2.0 * torch.nn.functional.one_hot(labels, classes).double() - 1
    offset = targets.mean(dim=0)
    gram = x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, x.T @ (targets - offset))
    found: Tensor = (q @ weights + offset).argmax(dim=1)
    return found


def open_probe(config: RunConfig, images_seen: int) -> Probe | None:
    """Load the labelled set that a config names."""
    wanted = config.probe
    if wanted is None:
        return None
    examples = load(folder(wanted.set) if wanted.set in SETS else wanted.set, "dev")
    kept = np.sort(np.random.Generator(np.random.Philox(0)).permutation(len(examples.labels))[: wanted.images])
    return Probe(examples.part(kept), wanted.every_images, images_seen)
