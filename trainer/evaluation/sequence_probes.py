"""Classifiers of an image's features at one time or at many: an MLP, a recurrent net, a small transformer.

Widths and dropout are those of Mittal et al., "From Points to Functions" (2022), section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainer.evaluation.protocol import balanced_accuracy

KINDS = ("mlp", "rnn", "transformer")
_SCORED_IMAGES = 2048  # at a time
_STRIDE = 5  # epochs between two looks at the validation images


@dataclass(frozen=True)
class ProbeTraining:
    """How a probe is trained; rate and epoch are picked on validation images."""

    epochs: int = 60
    batch_images: int = 128
    least_steps: int = 200  # taken at least, however few images there are
    learning_rates: tuple[float, ...] = (3e-3, 1e-3, 3e-4)
    width: int = 512
    sequence_width: int = 128
    dropout: float = 0.25


class MlpProbe(nn.Module):
    """Shapes: [n, T, D] -> [n, K], all times at once."""

    def __init__(self, times: int, features: int, classes: int, training: ProbeTraining) -> None:
        super().__init__()
        wide = training.width
        self.layers = nn.Sequential(
            nn.Linear(times * features, wide), nn.ReLU(), nn.Dropout(training.dropout), nn.Linear(wide, classes)
        )

    def forward(self, rows: Tensor) -> Tensor:
        logits: Tensor = self.layers(rows.flatten(1))
        return logits


class RnnProbe(nn.Module):
    """A gated recurrent net over the times, from the noisiest to the cleanest. Shapes: [n, T, D] -> [n, K]."""

    def __init__(self, times: int, features: int, classes: int, training: ProbeTraining) -> None:
        super().__init__()
        self.layers = nn.GRU(features, training.sequence_width, batch_first=True)
        self.dropout, self.head = nn.Dropout(training.dropout), nn.Linear(training.sequence_width, classes)

    def forward(self, rows: Tensor) -> Tensor:
        _, last = self.layers(rows.flip(1))
        logits: Tensor = self.head(self.dropout(last[-1]))
        return logits


class TransformerProbe(nn.Module):
    """One layer of four heads, gone through twice, over the times. Shapes: [n, T, D] -> [n, K]."""

    def __init__(self, times: int, features: int, classes: int, training: ProbeTraining) -> None:
        super().__init__()
        wide = training.sequence_width
        self.enter, self.place = nn.Linear(features, wide), nn.Parameter(0.02 * torch.randn(times, wide))
        self.layer = nn.TransformerEncoderLayer(wide, 4, 2 * wide, training.dropout, batch_first=True)
        self.head = nn.Linear(wide, classes)

    def forward(self, rows: Tensor) -> Tensor:
        hidden = self.enter(rows) + self.place
        hidden = self.layer(self.layer(hidden))
        logits: Tensor = self.head(hidden.mean(dim=1))
        return logits


_PROBES = {"mlp": MlpProbe, "rnn": RnnProbe, "transformer": TransformerProbe}


@dataclass(frozen=True)
class Labelled:
    """Features [N, T, D] and labels [N]."""

    features: Tensor
    labels: NDArray[np.int64]


def predict_with(
    kind: str,
    train: Labelled,
    validation: Labelled,
    test: Tensor,
    classes: int,
    *,
    training: ProbeTraining = ProbeTraining(),
    seed: int = 0,
) -> NDArray[np.int64]:
    """Train a probe at every rate, and predict with the epoch that was best on the validation images.

    Shapes: test [M, T, D] -> [M].
    """
    mean, std = train.features.mean(dim=0), train.features.std(dim=0).clamp(min=1e-4)  # [T, D]
    known = Labelled((train.features - mean) / std, train.labels)
    asked = [(validation.features - mean) / std, (test - mean) / std]
    best, answers = -1.0, np.zeros(len(test), np.int64)
    for rate in training.learning_rates:
        for guessed, predicted in _epochs(kind, known, asked, classes, rate, training, seed):
            accuracy = balanced_accuracy(guessed, validation.labels)
            if accuracy > best:
                best, answers = accuracy, predicted
    return answers


def _epochs(
    kind: str,
    known: Labelled,
    asked: Sequence[Tensor],
    classes: int,
    rate: float,
    training: ProbeTraining,
    seed: int,
) -> list[list[NDArray[np.int64]]]:
    """Answers to what is asked after every epoch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        count, times, features = known.features.shape
        model = _PROBES[kind](times, features, classes, training)
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        labels, found = torch.from_numpy(known.labels), []
        batches = -(-count // training.batch_images)
        for _ in range(max(training.epochs, -(-training.least_steps // batches)) // _STRIDE):
            for _ in range(_STRIDE):
                for rows in torch.split(torch.randperm(count), training.batch_images):
                    loss = cross_entropy(model.train()(known.features[rows]), labels[rows])
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
            found.append([_answers(model, rows) for rows in asked])
    return found


@torch.no_grad()
def _answers(model: nn.Module, rows: Tensor) -> NDArray[np.int64]:
    parts = [model.eval()(part).argmax(dim=1) for part in torch.split(rows, _SCORED_IMAGES)]
    answers: NDArray[np.int64] = torch.cat(parts).numpy()
    return answers
