"""What a run tells besides metrics.jsonl: Prometheus metrics while it lives, and what each life of it took.

A life is one start of the command. Its file in runs/ says how many images it saw, its GPU-hours (all processes', from
its start to its end) and, at a price, its cost; it is replaced at every checkpoint, so that a life that was killed has
one up to its last.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from manifests.prometheus import Exposition
from manifests.target import replaced

PREFIX = "viewmill_trainer"
GAUGES = {
    "images_seen": "images that the run has seen",
    "loss": "mean loss of the last window",
    "images_per_s": "images a second in the last window",
    "data_wait_fraction": "share of the last window spent waiting for data",
    "lr": "learning rate",
    "grad_norm": "mean gradient norm of the last window",
    "skipped_steps": "steps left out because a number was not finite",
    "unreadable_groups": "groups that could not be read",
    "memory_peak_bytes": "most memory used so far",
}


class RunMetrics:
    """Gauges that follow the lines of metrics.jsonl."""

    def __init__(self, target: str, *, images: int) -> None:
        from prometheus_client import Gauge

        self.exposition = Exposition(target)
        registry = self.exposition.registry
        self._gauges = {name: Gauge(f"{PREFIX}_{name}", text, registry=registry) for name, text in GAUGES.items()}
        Gauge(f"{PREFIX}_images", "images that the run is to see", registry=registry).set(images)
        self._gpu_seconds = Gauge(f"{PREFIX}_gpu_seconds", "time of all processes of this life", registry=registry)
        self._cost = Gauge(f"{PREFIX}_cost", "GPU-hours of this life times their price", registry=registry)
        self.exposition.update()

    def write(self, line: Mapping[str, Any], gpu_s: float, cost: float | None) -> None:
        """Show a line; a number that is not finite shows as NaN."""
        for name, gauge in self._gauges.items():
            if name in line:
                gauge.set(float("nan") if line[name] is None else line[name])
        self._gpu_seconds.set(gpu_s)
        self._cost.set(cost or 0.0)
        self.exposition.update()


class Outlet:
    """Where one life of a run tells what it does; only the process that writes has one."""

    def __init__(
        self,
        folder: Path,
        *,
        processes: int,
        metrics: RunMetrics | None = None,
        price_per_hour: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._processes, self._metrics, self._price_per_hour, self._clock = processes, metrics, price_per_hour, clock
        self._began_s, self._images_from = clock(), 0
        name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:8]}"
        self._path = folder / "runs" / f"{name}.json"

    def begin(self, images_from: int) -> None:
        """Note how many images the run had seen before this life."""
        self._images_from = images_from

    @property
    def _gpu_s(self) -> float:
        return (self._clock() - self._began_s) * self._processes

    @property
    def _cost(self) -> float | None:
        return None if self._price_per_hour is None else self._gpu_s / 3600 * self._price_per_hour

    def write(self, line: Mapping[str, Any]) -> None:
        """Hand on a line of metrics.jsonl."""
        if self._metrics:
            self._metrics.write(line, self._gpu_s, self._cost)

    def note(self, images_seen: int) -> Path:
        """Write what this life has taken so far into the run's folder; returns the file."""
        images, cost = images_seen - self._images_from, self._cost
        facts: dict[str, Any] = {"images_from": self._images_from, "images_seen": images_seen, "images": images}
        facts |= {"processes": self._processes, "gpu_hours": self._gpu_s / 3600}
        if cost is not None:
            facts |= {"cost": cost, "cost_per_1000_images": cost / images * 1000 if images else None}
        self._path.parent.mkdir(exist_ok=True)
        with replaced(self._path) as part:
            part.write_text(json.dumps(facts) + "\n")
        return self._path

    def close(self, images_seen: int) -> None:
        """Write what this life took, and stop being read."""
        self.note(images_seen)
        if self._metrics:
            self._metrics.exposition.close()
