"""What a job tells while it runs: JSON lines, Prometheus metrics, and what it has cost so far.

It hears of every event and decides nothing. A worker's hours count from its placement to its end, loading, busy or not:
that is what is paid for. Its GPU-hours are those times its share of GPUs, none on a cluster of CPUs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from factory.crew import Crew
from factory.events import Event, Failed, Finished, Lost, Ready, Told
from factory.ledger import Ledger
from factory.logs import log
from factory.metrics import FactoryMetrics


class Telemetry:
    """Counts, and hands on what it hears."""

    def __init__(
        self,
        *,
        metrics: FactoryMetrics | None = None,
        logs_json: bool = False,
        price_per_hour: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics, self._logs_json, self._clock = metrics, logs_json, clock
        self._price_per_hour = price_per_hour
        self._run_id = self._dashboard_url = ""
        self._begun_s = clock()
        self._ready_s: float | None = None
        self._there: dict[int, tuple[float, float]] = {}  # workers that are ready: since when, and their GPUs
        self._worker_s = self._gpu_s = 0.0  # of those that are gone
        self._generate_s: dict[int, float] = {}
        self._numbers: set[int] = set()
        self.views: Counter[str] = Counter()

    def begin(self, run_id: str, *, shards: int, missing: int) -> None:
        """Note that a run begins."""
        self._run_id, self._begun_s = run_id, self._clock()
        log(self._logs_json, "run_begun", {"run": run_id, "shards": shards, "missing": missing})
        if self._metrics:
            self._metrics.begin(shards=shards, done=shards - missing)

    def reached(self, dashboard_url: str) -> None:
        """Note where Ray's dashboard shows the workers; nowhere for a job that joined no cluster."""
        self._dashboard_url = dashboard_url
        if dashboard_url:
            self._say("cluster_reached", dashboard_url=dashboard_url)

    def take(self, event: Event) -> None:
        """Hear of what became of a worker or a shard."""
        now = self._clock()
        match event:
            case Ready(worker=worker, gpus=gpus, loading_s=loading_s):
                self._ready_s = self._ready_s or now
                self._there[worker] = now - loading_s, gpus
                self._say("worker_ready", worker=worker, gpus=gpus, loading_s=loading_s)
            case Finished(worker=worker, record=record, attempt=attempt):
                if record.index not in self._numbers:
                    self._numbers.add(record.index)
                    self.views.update(record.views)
                    self._finished(record)
                self._say("shard_finished", worker=worker, shard=record.index, attempt=attempt, views=record.views)
            case Failed(worker=worker, shard=shard, error=error, attempt=attempt):
                told = f"{type(error).__name__}: {error}"
                self._say("shard_failed", worker=worker, shard=shard, attempt=attempt, error=told)
            case Lost(worker=worker):
                self._gone(worker, now)
                self._say("worker_lost", **vars(event))
            case Told(worker=worker, pulse=pulse):
                self._generate_s[worker] = pulse.generate_s
                if pulse.state == "leaving":
                    self._say("worker_leaves", worker=worker, reason=pulse.detail)
                if self._metrics:
                    self._metrics.pulse(worker, pulse)

    def _finished(self, record: Any) -> None:
        if self._metrics:
            self._metrics.finished(record)

    def _gone(self, worker: int, now_s: float) -> None:
        since_s, gpus = self._there.pop(worker, (now_s, 0.0))
        self._worker_s += now_s - since_s
        self._gpu_s += (now_s - since_s) * gpus
        if self._metrics:
            self._metrics.lost(worker)

    def count(self, ledger: Ledger, crew: Crew) -> None:
        """Look at the queues."""
        if self._metrics:
            self._metrics.queues(ledger, crew.held())
            self._metrics.paid(*self._paid_s(self._clock()), price_per_hour=self._price_per_hour)

    def _paid_s(self, now_s: float) -> tuple[float, float]:
        """Return the seconds of workers and those of GPUs."""
        worker_s = self._worker_s + sum(now_s - since_s for since_s, _ in self._there.values())
        return worker_s, self._gpu_s + sum((now_s - since_s) * gpus for since_s, gpus in self._there.values())

    def costs(self, images: int) -> dict[str, Any]:
        """Say what the run took: seconds, hours of workers and of GPUs, and money at a price of a worker's hour."""
        now = self._clock()
        ready_s, (worker_s, gpu_s) = self._ready_s or now, self._paid_s(now)
        hours, seconds = worker_s / 3600, now - ready_s
        facts: dict[str, Any] = {
            "start_s": ready_s - self._begun_s,
            "seconds": seconds,
            "images_per_s": images / seconds if seconds > 0 else 0.0,
            "worker_hours": hours,
            "gpu_hours": gpu_s / 3600,
            "generating_fraction": min(1.0, sum(self._generate_s.values()) / worker_s) if worker_s else 0.0,
        }
        if self._dashboard_url:
            facts["dashboard_url"] = self._dashboard_url
        if self._price_per_hour is None:
            return facts
        cost = hours * self._price_per_hour
        return {**facts, "cost": cost, "cost_per_1000_images": cost / images * 1000 if images else None}

    def end(self, facts: Mapping[str, Any]) -> None:
        """Note that a run ended."""
        self._say("run_ended", **facts)
        if self._metrics:
            self._metrics.close()

    def _say(self, event: str, **facts: Any) -> None:
        log(self._logs_json, event, {"run": self._run_id, **facts})
