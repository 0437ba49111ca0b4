"""Few labels on frozen features: ridge regression on 1, 5 and 10 images a class, prototypes in five-way episodes."""

from __future__ import annotations

import numpy as np

from trainer.evaluation.few_shot import WAYS, predict_few_shot, score_episodes, usable_classes
from trainer.evaluation.suite.bench import Bench, InapplicableError, Measurement, Protocol

RIDGE_SHOTS = (1, 5, 10)
PROTOTYPE_SHOTS = (1, 5)
DRAWS = 3  # of the few images


def _ridge(bench: Bench) -> list[Measurement]:
    return [_ridge_of(bench, shots) for shots in RIDGE_SHOTS]


def _ridge_of(bench: Bench, shots: int) -> Measurement:
    labels, parts = bench.task.pool.labels, bench.parts
    draws = [
        predict_few_shot(bench.features, labels, bench.keys, parts, shots=shots, draw=draw) for draw in range(DRAWS)
    ]
    return bench.scored(f"ridge_{shots}_shot", np.stack(draws), parts)


def _prototypes(bench: Bench) -> list[Measurement]:
    scored, pool = bench.task.scored, bench.task.pool
    labels, components = pool.labels[scored], pool.components[scored]
    features, found = bench.features[scored], []
    for shots in PROTOTYPE_SHOTS:
        classes = usable_classes(labels, components, shots)
        if len(classes) < WAYS:
            raise InapplicableError(f"{len(classes)} classes have more than {shots} independent images, not {WAYS}")
        score = score_episodes(features, labels, components, shots=shots)
        images = sum(len(members) for members in classes)
        words = f"95 %, {score.episodes} episodes"
        metric = f"prototypes_{WAYS}_way_{shots}_shot"
        found.append(Measurement(metric, score.mean, score.low, score.high, words, images, images))
    return found


RIDGE = Protocol("few-shot", 1, _ridge)
PROTOTYPES = Protocol("prototypes", 1, _prototypes)
