"""Scores the encoder while it learns: nearest neighbours and a closed-form ridge probe on a small labelled set.

Both are exact, without tuning, and take seconds; what is published comes from `trainer evaluate`.
"""

from __future__ import annotations

import numpy as np
import torch

from trainer.config import RunConfig
from trainer.encoders import Encoder
from trainer.evaluation.features import embed
from trainer.evaluation.knn import classify
from trainer.evaluation.protocol import balanced_accuracy
from trainer.evaluation.ridge import ridge
from trainer.evaluation.sets import Examples, load, located
from trainer.state import TrainingState

NEIGHBOURS_SPLIT = 5  # every fifth component of near-duplicates is predicted from the others


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


def open_probe(config: RunConfig, images_seen: int) -> Probe | None:
    """Load the labelled set that a config names."""
    wanted = config.probe
    if wanted is None:
        return None
    examples = load(located(wanted.set), "dev")
    kept = np.sort(np.random.Generator(np.random.Philox(0)).permutation(len(examples.labels))[: wanted.images])
    return Probe(examples.part(kept), wanted.every_images, images_seen)
