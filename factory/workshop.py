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

import pyarrow as pa

from factory.generators.protocol import Generator
from factory.patience import PatientStore
from factory.plan import ShardPlan
from factory.recipe import Recipe
from factory.render import Bench, draw_shard
from factory.runs import RunLog
from factory.walks.file import Learned
from manifests.commit import CommitRecord, Group, commit_shard
from manifests.errors import UserError
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


class Workshop:
    """A process's loaded generators and its way to the store; renders the shards that it is handed."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._gate = threading.Lock()  # the device draws one shard at a time
        self._generators: list[Generator] = []
        self._numerics: dict[str, str] = {}

    def open(self) -> dict[str, str]:
        """Load the generators; returns the numerics of this process."""
        import torch

        from factory.generators import open_generator
        from factory.numerics import numerics, pick_device

        recipe = self._assignment.recipe
        torch.set_num_threads(recipe.threads)
        device = pick_device(recipe.device)
        self._store = PatientStore.open(self._assignment.url)
        self._log = RunLog(self._store, self._assignment.run_id)
        self._generators = [open_generator(s, device=device, threads=recipe.threads) for s in recipe.sources]
        self._check_weights()
        self._numerics = numerics(device, recipe.encode)
        return self._numerics

    def _check_weights(self) -> None:
        found = [generator.fingerprint() for generator in self._generators]
        sources, expected_ones = self._assignment.recipe.sources, self._assignment.fingerprints
        for source, here, expected in zip(sources, found, expected_ones, strict=True):
            if here != expected:
                raise UserError(f"{source.model}: not the recipe's weights; give every worker the same files")

    def render(self, plan: ShardPlan) -> CommitRecord:
        """Render one shard and commit it."""
        with self._gate:
            attempt = self._log.begun(plan.index)
            begun = time.monotonic()
            known = self._assignment
            bench = Bench(known.recipe, self._generators, known.fingerprints, known.learned)
            groups = draw_shard(plan, bench)
            images = sum(len(group.views) for group in groups)
            seconds = time.monotonic() - begun
        self._log.rendered(attempt, {"shard": plan.index, "images": images, "seconds": seconds, **vars(bench.timings)})
        return self._commit(plan, groups)

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
