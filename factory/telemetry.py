"""What a job tells while it runs: JSON lines, Prometheus metrics, and what it has cost so far.

It hears of every event and decides nothing. A worker's hours count from its readiness to its end, busy or not: that is
what is paid for.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from factory.crew import Crew, Event, Failed, Finished, Lost, Ready, Told
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
        self._since_s: dict[int, float] = {}  # workers that are ready
        self._worker_s = 0.0  # of those that are gone
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
            case Ready(worker=worker):
                self._ready_s = self._ready_s or now
                self._since_s[worker] = now
                self._say("worker_ready", worker=worker)
            case Finished(worker=worker, record=record):
                if record.index not in self._numbers:
                    self._numbers.add(record.index)
                    self.views.update(record.views)
                    self._finished(record)
                self._say("shard_finished", worker=worker, shard=record.index, views=record.views)
            case Failed(worker=worker, shard=shard, error=error):
                self._say("shard_failed", worker=worker, shard=shard, error=f"{type(error).__name__}: {error}")
            case Lost(worker=worker, shards=shards, was_preempted=was_preempted, reason=reason):
                self._gone(worker, now)
                self._say("worker_lost", worker=worker, shards=shards, was_preempted=was_preempted, reason=reason)
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
        self._worker_s += now_s - self._since_s.pop(worker, now_s)

    def count(self, ledger: Ledger, crew: Crew) -> None:
        """Look at the queues."""
        if self._metrics:
            worker_s = self._hours_s(self._clock())
            self._metrics.queues(ledger, crew.held(), worker_s=worker_s, price_per_hour=self._price_per_hour)

    def _hours_s(self, now_s: float) -> float:
        return self._worker_s + sum(now_s - since_s for since_s in self._since_s.values())

    def costs(self, images: int) -> dict[str, Any]:
        """Say what the run took: seconds, workers' hours (GPU-hours where each has a GPU), and money at a price."""
        now = self._clock()
        ready_s = self._ready_s or now
        hours, seconds = self._hours_s(now) / 3600, now - ready_s
        facts: dict[str, Any] = {
            "start_s": ready_s - self._begun_s,
            "seconds": seconds,
            "images_per_s": images / seconds if seconds > 0 else 0.0,
            "gpu_hours": hours,
            "generating_fraction": min(1.0, sum(self._generate_s.values()) / (hours * 3600)) if hours else 0.0,
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
