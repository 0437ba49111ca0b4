"""Accuracy of E(x0, t) over t, and of the whole curve t -> E(x0, t), from few labels or all.

A probe at each time of a grid, and probes that read all times at once; both picked on validation images that are as
few as the labelled ones. Source: Abstreiter et al., arXiv:2105.14257 section 4.1; Mittal et al. 2022 section 4.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manifests.errors import UserError
from trainer.embed import prepared
from trainer.encoders import Encoder
from trainer.evaluation.evidence import Score, score
from trainer.evaluation.lists import shots_of_classes
from trainer.evaluation.pool import Pool
from trainer.evaluation.sequence_probes import Labelled, ProbeTraining, predict_with
from trainer.evaluation.subject import open_subject
from trainer.evaluation.task import open_task

GRID = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
Progress = Callable[[str], None]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Trajectory:
    """Scores at each time, and of the probes that see all times; `shots` a class, None for all labels."""

    subject: str
    set: str
    root: str
    split: str
    shots: int | None
    labelled: int
    seeds: int
    times: list[float]
    by_time: list[Score]
    by_curve: dict[str, Score]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def trajectory(
    subject: str,
    *,
    dataset: str = "clipart26",
    split: str = "dev",
    shots: int | None = None,
    times: Sequence[float] = GRID,
    curves: Sequence[str] = ("mlp", "rnn", "transformer"),
    seeds: int = 1,
    seed: int = 0,
    training: ProbeTraining = ProbeTraining(),
    progress: Progress = lambda name: None,
) -> Trajectory:
    """Probe an encoder that is told the time; `seed` draws the weights of `random:` ones.

    Raises: UserError for an encoder without times, or a set without labels.
    """
    task = open_task(dataset, split)
    if task.tuned is None:
        raise UserError(f"{dataset} has no labelled images to learn from")
    encoder, test = _timed(subject, task.pool, seed), task.tuned.test
    train, validation = (few_of(task.pool, rows, shots) for rows in (task.tuned.train, task.tuned.validation))
    progress(f"features of {len(train) + len(validation) + len(test)} images at {len(times)} times")
    rows = [train, validation, test]
    sets = [Labelled(curve_of(encoder, task.pool, part, times), task.pool.labels[part]) for part in rows]
    by_time, by_curve = [], {}
    for place, time in enumerate(times):
        progress(f"mlp at t = {time:g}")
        by_time.append(_scored("mlp", sets, slice(place, place + 1), task.pool, test, seeds, training))
    for kind in curves:
        progress(f"{kind} over all times")
        by_curve[kind] = _scored(kind, sets, slice(None), task.pool, test, seeds, training)
    root = task.pool.dataset.root
    return Trajectory(subject, dataset, root, split, shots, len(train), seeds, list(times), by_time, by_curve)


def _timed(subject: str, pool: Pool, seed: int) -> Encoder:
    encoder = open_subject(subject, seed=seed).calibrated(pool).encoder
    if encoder is None or not encoder.timed:
        raise UserError(f"{subject} is not told the time; train one with encoder.timed=true, as the preset drl does")
    return encoder


def few_of(pool: Pool, rows: Rows, shots: int | None) -> Rows:
    """Return the first `shots` images of each class among some, by the hash of their keys; all of them for None."""
    if shots is None:
        return rows
    keys = pool.keys
    return rows[shots_of_classes([keys[row] for row in rows], pool.labels[rows], shots, "trajectory")]


@torch.no_grad()
def curve_of(encoder: Encoder, pool: Pool, rows: Rows, times: Sequence[float]) -> Tensor:
    """Return the features of some images at every time, [N, T, D]."""
    encoder.eval()
    found = []
    for batch in pool.batches(rows):
        images = prepared(encoder, batch)
        found.append(torch.stack([encoder(images, images.new_full((len(images),), time)) for time in times], dim=1))
    return torch.cat(found).float().cpu()


def _scored(
    kind: str, sets: Sequence[Labelled], times: slice, pool: Pool, test: Rows, seeds: int, training: ProbeTraining
) -> Score:
    train, validation, asked = (Labelled(one.features[:, times], one.labels) for one in sets)
    classes = int(pool.labels.max()) + 1
    found = [
        predict_with(kind, train, validation, asked.features, classes, training=training, seed=seed)
        for seed in range(seeds)
    ]
    return score(np.stack(found), pool.labels[test], pool.components[test])
