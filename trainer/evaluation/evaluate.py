"""Scores an encoder and its baselines on a labelled set of other people's drawings, and compares whole sets of runs."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.evidence import Difference, Score, paired_difference, score
from trainer.evaluation.features import Embedding, baselines, trained
from trainer.evaluation.one_method import check_seeds_alone
from trainer.evaluation.protocol import Predictions, predict
from trainer.evaluation.sets import Examples, folder, load

Progress = Callable[[str], None]  # told the name of what is scored next
METHODS = ("knn", "linear")
PROTOCOL = "components-5fold-1"  # changes whenever numbers stop being comparable


@dataclass(frozen=True)
class Evaluation:
    """Scores `results[name][method]`, and the encoder minus each baseline, `differences[baseline][method]`."""

    protocol: str
    set: str
    root: str
    split: str
    seeds: list[int]  # of the random baseline, one a run; several runs are one method's training seeds
    results: dict[str, dict[str, Score]]
    differences: dict[str, dict[str, Difference]]

    def to_json(self) -> str:
        differences = {name: {k: d.to_dict() for k, d in found.items()} for name, found in self.differences.items()}
        return json.dumps({**asdict(self), "differences": differences}, indent=1)


def evaluate(
    checkpoint: str | Path,
    *,
    dataset: str = "clipart26",
    split: str = "dev",
    seed: int = 0,
    with_baselines: bool = True,
    progress: Progress = lambda name: None,
) -> Evaluation:
    """Score an encoder, and beside it its architecture untrained, raw pixels and ImageNet's features.

    Raises: UserError for an unknown set or split, or a folder that holds no encoder.
    """
    examples = load(folder(dataset), split)
    chosen = {"encoder": trained(checkpoint), **(baselines(checkpoint, seed) if with_baselines else {})}
    found = {name: [predicted(embedding, examples, name, progress)] for name, embedding in chosen.items()}
    return _evaluation(dataset, split, [seed], found, examples)


def compare(
    checkpoints: Sequence[str | Path],
    *,
    dataset: str = "clipart26",
    split: str = "test",
    progress: Progress = lambda name: None,
) -> Evaluation:
    """Score the encoders of several training seeds as one method, beside the same baselines.

    Raises: UserError as `evaluate` does; ConflictError for runs that differ in more than their seed.
    """
    check_seeds_alone(checkpoints)
    examples = load(folder(dataset), split)
    encoders = [predicted(trained(path), examples, f"encoder {path}", progress) for path in checkpoints]
    first, *others = [baselines(path, seed) for seed, path in enumerate(checkpoints)]
    runs = len(checkpoints)
    rivals = {name: [predicted(embedding, examples, name, progress)] * runs for name, embedding in first.items()}
    rivals["random"][1:] = [predicted(other["random"], examples, "random", progress) for other in others]
    return _evaluation(dataset, split, list(range(runs)), {"encoder": encoders, **rivals}, examples)


def predicted(embedding: Embedding, examples: Examples, name: str, progress: Progress) -> Predictions:
    """Embed all examples and predict each from the others' folds."""
    progress(name)
    return predict(embedding(examples.images), examples.labels, examples.components)


def _evaluation(
    dataset: str, split: str, seeds: list[int], found: dict[str, list[Predictions]], examples: Examples
) -> Evaluation:
    results = {name: _scores(runs, examples) for name, runs in found.items()}
    rivals = {name: runs for name, runs in found.items() if name != "encoder"}
    differences = {name: _differences(found["encoder"], runs, examples) for name, runs in rivals.items()}
    return Evaluation(PROTOCOL, dataset, examples.root, split, seeds, results, differences)


def _scores(runs: Sequence[Predictions], examples: Examples) -> dict[str, Score]:
    return {method: score(_stacked(runs, method), examples.labels, examples.components) for method in METHODS}


def _differences(a: Sequence[Predictions], b: Sequence[Predictions], examples: Examples) -> dict[str, Difference]:
    return {
        method: paired_difference(_stacked(a, method), _stacked(b, method), examples.labels, examples.components)
        for method in METHODS
    }


def _stacked(runs: Sequence[Predictions], method: str) -> NDArray[np.int64]:
    return np.stack([getattr(run, method) for run in runs])
