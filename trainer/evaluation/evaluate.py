"""Scores an encoder and its baselines on a labelled set of other people's drawings, and compares whole sets of runs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.evidence import Difference, paired_difference, score
from trainer.evaluation.features import Embedding, embeddings
from trainer.evaluation.protocol import FOLDS, Predictions, predict
from trainer.evaluation.sets import Examples, folder, load

METHODS = ("knn", "linear")
PROTOCOL = "components-5fold-1"  # changes whenever numbers stop being comparable


@dataclass(frozen=True)
class Evaluation:
    """Where scores come from, and `results[name][method]` = {mean, low, high, n}."""

    protocol: str
    set: str
    root: str
    split: str
    seed: int
    results: dict[str, dict[str, dict[str, float]]]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def evaluate(
    checkpoint: str | Path, *, dataset: str = "clipart26", split: str = "dev", seed: int = 0, with_baselines: bool = True
) -> Evaluation:
    """Score an encoder, and beside it its architecture untrained, raw pixels and ImageNet's features.

    Raises: UserError for an unknown set or split, or a folder that holds no encoder.
    """
    examples = load(folder(dataset), split)
    chosen = embeddings(checkpoint, seed=seed, with_baselines=with_baselines)
    results = {name: scores(_predicted(embedding, examples), examples) for name, embedding in chosen.items()}
    return Evaluation(PROTOCOL, dataset, examples.root, split, seed, results)


def scores(predictions: Predictions, examples: Examples) -> dict[str, dict[str, float]]:
    """Return the score of each method with its interval."""
    return {
        method: asdict(score(getattr(predictions, method), examples.labels, examples.components)) for method in METHODS
    }


def compare(
    checkpoints: Sequence[str | Path], *, dataset: str = "clipart26", split: str = "test"
) -> dict[str, dict[str, Difference]]:
    """Compare the encoders of several training seeds with each baseline: `[baseline][method]`.

    Raises: UserError as `evaluate` does.
    """
    examples = load(folder(dataset), split)
    runs = [
        {name: _predicted(embedding, examples) for name, embedding in embeddings(path, seed=seed, with_baselines=True).items()}
        for seed, path in enumerate(checkpoints)
    ]
    baselines = [name for name in runs[0] if name != "encoder"]
    return {
        name: {
            method: paired_difference(
                _stacked(runs, "encoder", method), _stacked(runs, name, method), examples.labels, examples.components
            )
            for method in METHODS
        }
        for name in baselines
    }


def _predicted(embedding: Embedding, examples: Examples) -> Predictions:
    return predict(embedding(examples.images), examples.labels, examples.components)


def _stacked(runs: Sequence[dict[str, Predictions]], name: str, method: str) -> NDArray[np.int64]:
    return np.stack([getattr(run[name], method) for run in runs])
