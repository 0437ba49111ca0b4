"""runs/: what happened while rendering. Volatile, outside every hash, and never read to decide what is done.

runs/<id>/summary.json says how a run went. runs/attempts/ holds two small files a shard attempt, so that killed runs
can be counted and timed too: `begun` when a worker takes a shard, `rendered` when its pixels are made and none is put.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from manifests.canonical import canonical_json
from manifests.store import Store

READS_AT_ONCE = 16


def new_run_id() -> str:
    """Name a run so that names sort by start."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:8]}"


def new_attempt(shard: int) -> str:
    """Name an attempt at a shard, so that the lines of driver and worker about it are found together."""
    return f"{shard:06d}-{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True)
class RunLog:
    """Where one run writes down what its workers do."""

    store: Store
    run_id: str

    def begun(self, attempt: str, shard: int) -> None:
        """Note that a worker takes a shard."""
        who = {"host": socket.gethostname(), "pid": os.getpid()}
        self._note("begun", attempt, {"shard": shard, **who, "at_s": time.time()})

    def rendered(self, attempt: str, facts: dict[str, Any]) -> None:
        """Note that all pixels of a shard are made."""
        self._note("rendered", attempt, {**facts, "at_s": time.time()})

    def stalled(self, shard: int, stacks: bytes) -> str:
        """Keep the stacks of a worker that stalls; returns where they are."""
        name = f"runs/{self.run_id}/stalls/{shard:06d}-{uuid.uuid4().hex[:12]}.txt"
        self.store.put_bytes(stacks, name)
        return f"the stacks of its threads are in {name}"

    def summary(self, facts: dict[str, Any]) -> None:
        """Write how the whole run went."""
        self.store.put_bytes(canonical_json(facts), f"runs/{self.run_id}/summary.json")

    def _note(self, event: str, attempt: str, facts: dict[str, Any]) -> None:
        self.store.put_bytes(canonical_json(facts), f"runs/attempts/{self.run_id}.{attempt}.{event}.json")


@dataclass(frozen=True)
class RunFacts:
    """What can be read back about the runs into a folder."""

    begun: int
    rendered: int
    images: int
    worker_s: float
    gpu_s: float
    images_per_s: float | None


def read_runs(store: Store) -> RunFacts:
    """Count and time the shard attempts of all runs; the rate is that of the newest run."""
    names = [name.removeprefix("runs/attempts/") for name, _ in store.list("runs/attempts")]
    finished = [name for name in names if name.endswith(".rendered.json")]
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:  # in a bucket each takes its time
        read = list(pool.map(lambda name: json.loads(store.get_bytes(f"runs/attempts/{name}")), finished))
    rendered = [(name.split(".")[0], facts) for name, facts in zip(finished, read, strict=True)]
    last_run = max((run for run, _ in rendered), default="")
    newest = [facts for run, facts in rendered if run == last_run]
    elapsed_s = max((f["at_s"] for f in newest), default=0.0) - min(
        (f["at_s"] - f["seconds"] for f in newest), default=0.0
    )
    return RunFacts(
        begun=len(names) - len(finished),
        rendered=len(finished),
        images=sum(facts["images"] for _, facts in rendered),
        worker_s=sum(facts["seconds"] for _, facts in rendered),
        gpu_s=sum(facts["seconds"] * facts.get("gpus", 0.0) for _, facts in rendered),  # older notes have none
        images_per_s=sum(facts["images"] for facts in newest) / elapsed_s if elapsed_s > 0 else None,
    )
