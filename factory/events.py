"""What a crew reports: what became of its workers and of the shards that they were handed."""

from __future__ import annotations

from dataclasses import dataclass

from factory.watchdog import Pulse
from manifests.commit import CommitRecord


@dataclass(frozen=True)
class Ready:
    """A worker has loaded its generators."""

    worker: int
    numerics: dict[str, str]
    gpus: float = 0.0  # its share of GPUs
    loading_s: float = 0.0  # how long it had been there by then


@dataclass(frozen=True)
class Finished:
    """A shard has its record."""

    worker: int
    record: CommitRecord
    attempt: str


@dataclass(frozen=True)
class Failed:
    """A worker lives, but what it tried failed; `shard` is None while it was still loading."""

    worker: int
    shard: int | None
    error: BaseException
    attempt: str = ""


@dataclass(frozen=True)
class Lost:
    """A worker died with what it held; another takes its place."""

    worker: int
    shards: tuple[int, ...]
    was_preempted: bool
    reason: str
    attempts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Told:
    """A worker told how it is."""

    worker: int
    pulse: Pulse


Event = Ready | Finished | Failed | Lost | Told
