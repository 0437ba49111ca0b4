"""A process that renders: its loaded generators, its way to the store, and the shards that it is handed.

The device draws one shard at a time; another may be put meanwhile. The same class is a Ray actor and the inline worker.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from factory.generators.protocol import Generator
from factory.logs import log
from factory.plan import ShardPlan
from factory.recipe import AnySource, Recipe
from factory.render import Bench, draw_shard
from factory.runs import RunLog
from factory.walks.file import Learned
from factory.watchdog import STALL_S, LeavingError, Pulse, Watchdog
from manifests.commit import CommitRecord, Group, commit_shard
from manifests.errors import UserError
from manifests.patience import PatientStore
from manifests.store import Store


@dataclass(frozen=True)
class Assignment:
    """All that a worker must know besides the shards it is handed; travels to other processes."""

    recipe: Recipe
    url: str
    run_id: str
    fingerprints: list[dict[str, str]]
    extra_types: dict[str, pa.DataType] = field(default_factory=dict)
    learned: Learned | None = None  # the steps that the strategy goes by
    pool: int | None = None  # the source whose shards this worker draws; None: all
    worker: int = 0
    gpus: float | None = None  # the share of GPUs that this worker is given; None: as its device says
    stall_s: float = STALL_S
    logs_json: bool = False


@dataclass(frozen=True)
class Opened:
    """What a worker tells when it has loaded; `loading_s` is how long it has been there, and paid for."""

    numerics: dict[str, str]
    gpus: float
    loading_s: float


class Workshop:
    """A process's loaded generators and its way to the store; renders the shards that it is handed."""

    def __init__(self, assignment: Assignment, *, is_alone: bool = False) -> None:
        self._assignment, self._placed_s = assignment, time.monotonic()
        self._gpus = assignment.gpus or 0.0
        self._gate = threading.Lock()  # the device draws one shard at a time
        self._generators: list[Generator] = []
        self._numerics: dict[str, str] = {}
        self._watchdog = Watchdog(assignment.stall_s, has_alarm=is_alone)
        if is_alone:  # a process of its own
            self._watchdog.listen()

    @property
    def _sources(self) -> dict[int, AnySource]:
        """Return the sources that this worker draws, by number."""
        pool, sources = self._assignment.pool, self._assignment.recipe.sources
        return dict(enumerate(sources)) if pool is None else {pool: sources[pool]}

    def begin(self) -> Opened:
        """Load the generators, and say what this worker is and what that took."""
        numerics = self.open()
        return Opened(numerics, self._gpus, time.monotonic() - self._placed_s)

    def open(self) -> dict[str, str]:
        """Load the generators; returns the numerics of this process."""
        import torch

        from factory.generators import open_generator
        from factory.numerics import numerics, pick_device

        recipe = self._assignment.recipe
        torch.set_num_threads(recipe.threads)
        device = pick_device(recipe.device)
        if self._assignment.gpus is None:
            self._gpus = float(device.startswith("cuda"))
        self._store = PatientStore.open(self._assignment.url)
        self._log = RunLog(self._store, self._assignment.run_id)
        sources = self._sources.values()
        self._generators = [open_generator(source, device=device, threads=recipe.threads) for source in sources]
        self._check_weights()
        self._numerics = numerics(device, recipe.encode)
        return self._numerics

    def _check_weights(self) -> None:
        found = [generator.fingerprint() for generator in self._generators]
        for (number, source), here in zip(self._sources.items(), found, strict=True):
            if here != self._assignment.fingerprints[number]:
                raise UserError(f"{source.model}: not the recipe's weights; give every worker the same files")

    def render(self, plan: ShardPlan, attempt: str) -> CommitRecord:
        """Render one shard and commit it.

        Raises: LeavingError, with nothing begun, where this worker has to go.
        """
        with self._gate:
            if why := self._watchdog.leaving:
                raise LeavingError(f"shard {plan.index:06d} is handed back: {why}")
            with self._watchdog.watching(plan.index):  # the notes are puts too
                self._log.begun(attempt, plan.index)
                log(self._assignment.logs_json, "shard_begun", self._told(plan, attempt))
                groups, facts = self._draw(plan)
        with self._watchdog.watching(plan.index):
            self._log.rendered(attempt, facts)
            log(self._assignment.logs_json, "shard_rendered", {**self._told(plan, attempt), **facts})
            record = self._commit(plan, groups)
        self._watchdog.put_bytes += record.shard.size + record.rows.size
        log(self._assignment.logs_json, "shard_put", {**self._told(plan, attempt), "bytes": record.shard.size})
        return record

    def _draw(self, plan: ShardPlan) -> tuple[list[Group], dict[str, Any]]:
        begun, known, watchdog = time.monotonic(), self._assignment, self._watchdog

        def beat(images: int, seconds: float, queued: int) -> None:
            watchdog.beat(plan.index)
            watchdog.images += images
            watchdog.generate_s += seconds
            watchdog.queued_batches = queued

        generators = dict(zip(self._sources, self._generators, strict=True))
        bench = Bench(known.recipe, generators, known.fingerprints, known.learned, beat=beat)
        groups = draw_shard(plan, bench)
        images = sum(len(group.views) for group in groups)
        facts = {"shard": plan.index, "images": images, "seconds": time.monotonic() - begun, "gpus": self._gpus}
        return groups, {**facts, **vars(bench.timings)}

    def _told(self, plan: ShardPlan, attempt: str) -> dict[str, Any]:
        known = self._assignment
        return {"run": known.run_id, "worker": known.worker, "shard": plan.index, "attempt": attempt}

    def pulse(self, wait_s: float) -> Pulse:
        """Wait for something to tell, such as that this worker's node is about to go; at most `wait_s`."""
        return self._watchdog.pulse(wait_s, self._log.stalled)

    def _commit(self, plan: ShardPlan, groups: Sequence[Group]) -> CommitRecord:
        scratch = scratch_folder(self._store)
        scratch.mkdir(parents=True, exist_ok=True)
        return commit_shard(
            self._store,
            stream_id=plan.stream_id,
            index=plan.index,
            first_group=plan.first_group,
            groups=groups,
            numerics=self._numerics,
            extra_types=self._assignment.extra_types,
            scratch=scratch,
        )

    def close(self) -> None:
        """Free the generators."""
        for generator in self._generators:
            generator.close()


def scratch_folder(store: Store) -> Path:
    """Return where shards are assembled: inside a local data set, so that `clean` finds what a killed worker leaves."""
    return store.local_path("runs/scratch") or Path(tempfile.gettempdir())
