"""The whole encoder learns from 1 %, 10 % or all of the labels; the few are fixed lists, named by their hash."""

from __future__ import annotations

import numpy as np

from trainer.evaluation.fine_tuning import fine_tune
from trainer.evaluation.lists import PERCENTS, labelled_few
from trainer.evaluation.suite.bench import Bench, InapplicableError, Measurement, Protocol


def _few(bench: Bench) -> list[Measurement]:
    return [_of_share(bench, percent) for percent in PERCENTS]


def _all(bench: Bench) -> list[Measurement]:
    return [_of_share(bench, 100)]


def _of_share(bench: Bench, percent: int) -> Measurement:
    pool, part = bench.task.pool, bench.tuned
    if bench.subject.encoder is None:
        raise InapplicableError(f"{bench.subject.name} has no weights to fine-tune")
    known = part.learning
    if percent < 100:
        keys = [bench.keys[row] for row in known]
        known = known[labelled_few(pool.dataset.root, bench.task.split, keys, pool.labels[known], percent)]
    classes = int(pool.labels.max()) + 1
    model = fine_tune(bench.subject.encoder, pool.images(known), pool.labels[known], classes, seed=bench.seed)
    predicted = np.full_like(pool.labels, -1)
    predicted[part.test] = np.concatenate([model.predict(images) for images in pool.batches(part.test)])
    return bench.scored(f"fine_tuned_{percent}_percent", predicted, [part], few=known)


FEW_LABELS = Protocol("fine-tune-few", 1, _few)
ALL_LABELS = Protocol("fine-tune", 1, _all)
