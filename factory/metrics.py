"""The factory's metrics for Prometheus; docker/grafana draws them. All begin with viewmill_factory_."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from factory.ledger import Ledger
from factory.watchdog import Pulse
from manifests.commit import CommitRecord
from manifests.prometheus import Exposition

PREFIX = "viewmill_factory"


class FactoryMetrics:
    """Counters and gauges of one job."""

    def __init__(self, target: str) -> None:
        from prometheus_client import Counter, Gauge

        self._exposition = Exposition(target)
        registry = self._exposition.registry

        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(f"{PREFIX}_{name}", meaning, labels, registry=registry)

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"{PREFIX}_{name}", meaning, labels, registry=registry)

        self._shards = gauge("shards", "shards that the data set is to hold")
        self._done = gauge("shards_done", "shards that have a record, of this run and earlier ones")
        self._waiting = gauge("shards_waiting", "shards that nobody holds yet")
        self._held = gauge("shards_held", "shards that workers hold")
        self._failed = gauge("shards_failed", "shards that were given up")
        self._workers = gauge("workers", "workers that have loaded their generators")
        self._images = counter("images", "images in finished shards, by status", "status")
        self._bytes = counter("bytes", "bytes of finished shards and their rows")
        self._retries = gauge("retries", "shards handed out again, by cause", "cause")
        self._twins = gauge("twins", "shards that were drawn a second time at the end")
        self._drawn = gauge("drawn_images", "images that a worker drew, finished or not", "worker")
        self._generating = gauge("generating_seconds", "time that a worker's generator computed", "worker")
        self._queued = gauge("queued_batches", "batches that wait for a worker's encoder", "worker")
        self._worker_s = gauge("worker_seconds", "time that workers were there, loading, busy or not")
        self._gpu_s = gauge("gpu_seconds", "the same times each worker's share of GPUs")
        self._cost = gauge("cost", "worker hours times their price, where one was given")

    @property
    def exposition(self) -> Exposition:
        """Return what is read."""
        return self._exposition

    def begin(self, *, shards: int, done: int) -> None:
        """Note how much there is to do."""
        self._shards.set(shards)
        self._done.set(done)
        self._exposition.update()

    def finished(self, record: CommitRecord) -> None:
        """Count a finished shard."""
        self._done.inc()
        self._bytes.inc(record.shard.size + record.rows.size)
        for status, count in record.views.items():
            self._images.labels(status).inc(count)

    def pulse(self, worker: int, pulse: Pulse) -> None:
        """Note what a worker told."""
        self._drawn.labels(worker).set(pulse.images)
        self._generating.labels(worker).set(pulse.generate_s)
        self._queued.labels(worker).set(pulse.queued_batches)

    def lost(self, worker: int) -> None:
        """Show a worker no more that is gone: its last values would count for ever in every mean."""
        for gauge in (self._drawn, self._generating, self._queued):
            gauge.remove(worker)

    def queues(self, ledger: Ledger, held: Mapping[int, Sequence[int]]) -> None:
        """Note what waits and what is held."""
        out = sum(map(len, held.values()))
        self._held.set(out)
        self._waiting.set(max(0, len(ledger.open) - out))
        self._failed.set(len(ledger.failed))
        self._workers.set(len(held))
        self._twins.set(ledger.twins)
        for cause, count in ledger.retries.items():
            self._retries.labels(cause).set(count)

    def paid(self, worker_s: float, gpu_s: float, *, price_per_hour: float | None) -> None:
        """Note what it has taken and cost."""
        self._worker_s.set(worker_s)
        self._gpu_s.set(gpu_s)
        self._cost.set(worker_s / 3600 * (price_per_hour or 0.0))
        self._exposition.update()

    def close(self) -> None:
        """Stop being read."""
        self._exposition.close()
