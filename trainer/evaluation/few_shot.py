"""Classifiers that see a handful of images a class: ridge regression, and prototypes in episodes of five classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manifests.seeds import derive, permutation
from trainer.evaluation.lists import shots_of_classes
from trainer.evaluation.protocol import Part
from trainer.evaluation.ridge import ridge

WAYS, QUERIES, EPISODES = 5, 15, 600  # classes, images of each to recognise at most, repetitions
_NORMAL_95 = 1.96


def predict_few_shot(
    features: Tensor, labels: NDArray[np.int64], keys: list[str], parts: Sequence[Part], *, shots: int, draw: int
) -> NDArray[np.int64]:
    """Predict every part's images by ridge regression on `shots` images a class; `draw` says which. -1 elsewhere.

    The penalty is the number of features, which is the mean diagonal of the Gram matrix between the images.
    """
    targets, found = torch.from_numpy(labels), np.full_like(labels, -1)
    for part in parts:
        known = part.learning
        few = known[shots_of_classes([keys[row] for row in known], labels[known], shots, f"few-shot/{draw}")]
        width = float(features.shape[1])
        answers = ridge(features[few], targets[few], features[part.test], int(labels.max()) + 1, width)
        found[part.test] = answers.numpy()
    return found


def prototypes(support: Tensor, labels: Tensor, queries: Tensor, classes: int) -> Tensor:
    """Return for each query the class whose mean is nearest. Source: Snell et al., arXiv:1703.05175 eq. 1, 2.

    Shapes: support [N, D], labels [N], queries [M, D] -> int64 [M].
    """
    members = torch.nn.functional.one_hot(labels, classes).to(support.dtype)  # [N, K]
    means = members.T @ support / members.sum(0)[:, None]  # [K, D]
    return torch.cdist(queries, means).argmin(dim=1)


@dataclass(frozen=True)
class Episode:
    """Images of an episode: what is shown [ways · shots] and what is to be recognised, with classes 0 … ways-1."""

    support: NDArray[np.int64]
    support_labels: NDArray[np.int64]
    queries: NDArray[np.int64]
    query_labels: NDArray[np.int64]


@dataclass(frozen=True)
class EpisodeScore:
    """Mean accuracy over episodes, with ±1.96 standard errors of it."""

    mean: float
    low: float
    high: float
    episodes: int


def usable_classes(labels: NDArray[np.int64], components: NDArray[np.int64], shots: int) -> list[NDArray[np.int64]]:
    """Return the images of each class with enough independent ones, one an x_component, in order."""
    found = []
    for label in np.unique(labels[labels >= 0]):
        members = np.flatnonzero(labels == label)
        members = members[np.sort(np.unique(components[members], return_index=True)[1])]
        if len(members) > shots:
            found.append(members)
    return found


def draw_episode(classes: Sequence[NDArray[np.int64]], shots: int, seed: int) -> Episode:
    """Draw five classes, and of each class `shots` images to show and 15 others, or what there is; pure."""
    support, queries = [], []
    for way, number in enumerate(permutation(seed, "episode", len(classes))[:WAYS].tolist()):
        members = classes[number]
        drawn = members[permutation(seed, f"episode/{way}", len(members))[: shots + QUERIES]]
        support.append(drawn[:shots])
        queries.append(drawn[shots:])
    sizes = [[len(rows) for rows in found] for found in (support, queries)]
    named = [np.repeat(np.arange(len(support)), size) for size in sizes]
    return Episode(np.concatenate(support), named[0], np.concatenate(queries), named[1])


def score_episodes(
    features: Tensor,
    labels: NDArray[np.int64],
    components: NDArray[np.int64],
    *,
    shots: int,
    seed: int = 0,
    episodes: int = EPISODES,
) -> EpisodeScore:
    """Score unit-length features by prototypes in episodes drawn from all labelled images.

    Raises: ValueError where fewer than five classes have more than `shots` independent images.
    """
    classes = usable_classes(labels, components, shots)
    if len(classes) < WAYS:
        raise ValueError(f"{len(classes)} classes have more than {shots} independent images, expected {WAYS} or more")
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    scores = [_accuracy(unit, draw_episode(classes, shots, derive(seed, f"episode {n}"))) for n in range(episodes)]
    half = _NORMAL_95 * float(np.std(scores, ddof=1)) / len(scores) ** 0.5
    mean = float(np.mean(scores))
    return EpisodeScore(mean, mean - half, mean + half, len(scores))


def _accuracy(unit: Tensor, episode: Episode) -> float:
    """Average over the classes, which may differ in queries."""
    shown = torch.from_numpy(episode.support_labels)
    found = prototypes(unit[episode.support], shown, unit[episode.queries], WAYS).numpy()
    right = (found == episode.query_labels).astype(np.float64)
    return float(np.mean([right[episode.query_labels == way].mean() for way in range(WAYS)]))
