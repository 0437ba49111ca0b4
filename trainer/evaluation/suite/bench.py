"""What a protocol is given, and what it gives back: numbers with their intervals and what they rest on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from manifests.errors import UserError
from trainer.evaluation.evidence import Score, score
from trainer.evaluation.lists import list_hash
from trainer.evaluation.protocol import Part
from trainer.evaluation.subject import Subject
from trainer.evaluation.task import Task


class InapplicableError(UserError):
    """A protocol that this subject or this data set cannot undergo; says what is missing."""


@dataclass(frozen=True)
class Measurement:
    """One number. `interval` says what `low` and `high` are; without one they are None."""

    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    interval: str = ""
    images: int = 0  # that were predicted or looked at
    groups: int = 0  # independent ones among them
    learned_from: int = 0  # labelled images, in the largest part
    list_sha256: str = ""  # of the few images that had labels


@dataclass(frozen=True)
class Protocol:
    """A way to measure; the version changes whenever numbers stop being comparable."""

    name: str
    version: int
    measure: Callable[[Bench], list[Measurement]]


class Bench:
    """A subject in front of a task; features are computed when a protocol first asks for them."""

    def __init__(self, subject: Subject, task: Task, seed: int) -> None:
        self._given, self.task, self.seed = subject, task, seed
        self.name, self.sha256 = subject.name, subject.sha256

    @cached_property
    def subject(self) -> Subject:
        return self._given.calibrated(self.task.pool)

    @cached_property
    def features(self) -> Tensor:
        """Features of every image of the pool, [N, D]."""
        return self.subject.features(self.task.pool)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts, for a protocol that needs labels.

        Raises: InapplicableError where there are none.
        """
        if not self.task.parts:
            raise InapplicableError(f"{self.task.name} has too few labelled images of split {self.task.split}")
        return self.task.parts

    @property
    def tuned(self) -> Part:
        """The one part that whole encoders are trained on.

        Raises: InapplicableError where there is none.
        """
        if self.task.tuned is None:
            raise InapplicableError(f"{self.task.name} has too few labelled images of split {self.task.split}")
        return self.task.tuned

    def scored(
        self, metric: str, predicted: NDArray[np.int64], parts: Sequence[Part], *, few: NDArray[np.int64] | None = None
    ) -> Measurement:
        """Score predictions [N] or [S, N] of the parts' images by balanced accuracy; `few` are all that had labels."""
        pool, tested = self.task.pool, np.concatenate([part.test for part in parts])
        found = score(np.atleast_2d(predicted)[:, tested], pool.labels[tested], pool.components[tested])
        learned = max(len(part.learning) for part in parts) if few is None else len(few)
        named = "" if few is None else list_hash([self.keys[row] for row in few])
        return measured(metric, found, len(tested), learned, named)

    @cached_property
    def keys(self) -> list[str]:
        return self.task.pool.keys


def measured(metric: str, found: Score, images: int, learned_from: int = 0, list_sha256: str = "") -> Measurement:
    """Return a bootstrapped score as a measurement."""
    words = "95 %, bootstrap over components"
    return Measurement(metric, found.mean, found.low, found.high, words, images, found.n, learned_from, list_sha256)
