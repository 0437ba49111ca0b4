"""What is asked of features: a data set, a split of it, and which images are learned from to predict which.

Sets split into dev and test are small: five folds within the split predict every image. Sets with train and test are
predicted from train; with `dev`, a fifth of train stands in, or a validation split where there is one. Sets without
splits are predicted in five folds. What takes long (fine-tuning) uses a single part: of the small sets, dev predicts
test. Nothing that is chosen on `dev` has seen an image of test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manifests.errors import UserError
from trainer.evaluation.partition import deal
from trainer.evaluation.pool import Pool, read_pool
from trainer.evaluation.protocol import FOLDS, Part, fold_parts
from trainer.evaluation.sets import SPLITS, located

_VALIDATION = ("validation", "val", "valid", "dev")
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """A pool, the parts that classifiers of frozen features use, and the one that whole encoders are trained on.

    `scored` are the images that are looked at without labels; parts are empty where no image has a label.
    """

    name: str
    split: str
    pool: Pool
    partition: str  # in words: rows of another partition are not comparable
    parts: tuple[Part, ...]
    tuned: Part | None
    scored: Rows


def open_task(name: str, split: str) -> Task:
    """Open a shipped set by its name, or a data set by its folder or URL.

    Raises: UserError for splits that it does not have.
    """
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r}: choose dev (to decide anything) or test (to publish)")
    pool = read_pool(located(name))
    known = set(pool.splits.tolist())
    if len(known) == 1:
        return _folded(name, "all", pool, np.arange(len(pool)))
    if {"train", "test"} <= known:
        return _learned_from_train(name, split, pool)
    if {"dev", "test"} <= known:
        return _small(name, split, pool)
    raise UserError(f"{name} has splits {sorted(known)}; expected train and test, dev and test, or none")


def _folded(name: str, split: str, pool: Pool, rows: Rows) -> Task:
    parts = _parts(pool, rows)
    return Task(name, split, pool, f"{FOLDS} folds", parts, parts[0] if parts else None, rows)


def _small(name: str, split: str, pool: Pool) -> Task:
    task = _folded(name, split, pool, _rows(pool, split))
    if split == "dev" or not task.parts:
        return task
    tuned = _held_out(pool, _labelled(pool, _rows(pool, "dev")), _labelled(pool, task.scored))
    return Task(name, split, pool, task.partition, task.parts, tuned, task.scored)


def _learned_from_train(name: str, split: str, pool: Pool) -> Task:
    train, test = _rows(pool, "train"), _rows(pool, "test")
    validation = next((rows for word in _VALIDATION if len(rows := _rows(pool, word))), np.array([], np.int64))
    if split == "dev":
        words = "validation from train" if len(validation) else "a fifth of train from the rest"
        parts = _dev_parts(pool, _labelled(pool, train), _labelled(pool, validation))
        scored = parts[0].test if parts else train
    else:
        words, scored = "test from train", test
        known, asked = _labelled(pool, train), _labelled(pool, test)
        given = _labelled(pool, validation)
        parts = () if not len(known) or not len(asked) else (_tested(pool, known, given, asked),)
    return Task(name, split, pool, words, parts, parts[0] if parts else None, scored)


def _dev_parts(pool: Pool, train: Rows, validation: Rows) -> tuple[Part, ...]:
    if not len(train):
        return ()
    if len(validation):
        return (_held_out(pool, train, validation),)
    return _parts(pool, train)[:1]


def _tested(pool: Pool, train: Rows, validation: Rows, test: Rows) -> Part:
    return Part(train, validation, test) if len(validation) else _held_out(pool, train, test)


def _held_out(pool: Pool, known: Rows, test: Rows) -> Part:
    """Predict some images from others, of which a fifth is for picking settings."""
    is_validation = deal(pool.labels[known], pool.components[known], FOLDS, "folds") == 0
    return Part(known[~is_validation], known[is_validation], test)


def _parts(pool: Pool, rows: Rows) -> tuple[Part, ...]:
    """Cut the labelled ones of these images into five parts; none where there are too few to cut."""
    known = _labelled(pool, rows)
    if len(np.unique(pool.components[known])) < FOLDS:
        return ()
    found = fold_parts(pool.labels[known], pool.components[known])
    return tuple(Part(known[part.train], known[part.validation], known[part.test]) for part in found)


def _rows(pool: Pool, split: str) -> Rows:
    return np.flatnonzero(pool.splits == split)


def _labelled(pool: Pool, rows: Rows) -> Rows:
    return rows[pool.labels[rows] >= 0]
