"""Who renders: a crew of one in this process, or Ray actors. Both run the same Workshop and report the same events.

Each worker owns whole shards; pixels never leave it. A worker may hold two shards: one is put while the next is drawn.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from factory.plan import ShardPlan
from factory.workshop import Assignment, Workshop
from manifests.commit import CommitRecord
from manifests.errors import UserError

DEPTH = 2
START_TIMEOUT_S = 300.0
CONNECT_TIMEOUT_S = 10.0
OBJECT_STORE_BYTES = 100 << 20  # plans and records only; pixels never pass through it


@dataclass(frozen=True)
class Ready:
    """A worker has loaded its generators."""

    worker: int
    numerics: dict[str, str]


@dataclass(frozen=True)
class Finished:
    """A shard has its record."""

    worker: int
    record: CommitRecord


@dataclass(frozen=True)
class Failed:
    """A worker lives, but what it tried failed; `shard` is None while it was still loading."""

    worker: int
    shard: int | None
    error: BaseException


@dataclass(frozen=True)
class Lost:
    """A worker died with what it held; another takes its place."""

    worker: int
    shards: tuple[int, ...]
    was_preempted: bool
    reason: str


Event = Ready | Finished | Failed | Lost


class Crew(Protocol):
    """Workers that take shards and report events."""

    def held(self) -> Mapping[int, Sequence[int]]:
        """Return, for each worker that is ready, the shards that it holds."""

    def hand(self, worker: int, plan: ShardPlan) -> None:
        """Give a shard to a worker."""

    def wait(self, timeout_s: float) -> list[Event]:
        """Wait for something to happen."""

    def close(self) -> None:
        """Stop the workers, finished or not."""


class InlineCrew:
    """One worker in this process, for debugging and small machines: no Ray at all."""

    def __init__(self, assignment: Assignment) -> None:
        self._workshop = Workshop(assignment)
        self._pool = ThreadPoolExecutor(DEPTH, thread_name_prefix="render")
        self._futures: dict[Future[CommitRecord], int] = {}
        self._events: list[Event] = [Ready(0, self._workshop.open())]

    def held(self) -> Mapping[int, Sequence[int]]:
        """Return the shards that the one worker holds."""
        return {0: list(self._futures.values())}

    def hand(self, worker: int, plan: ShardPlan) -> None:
        """Start a shard in a thread."""
        self._futures[self._pool.submit(self._workshop.render, plan)] = plan.index

    def wait(self, timeout_s: float) -> list[Event]:
        """Wait for a thread to end."""
        events, self._events = self._events, []
        if not events and self._futures:
            done, _ = wait_for_futures(self._futures, timeout_s, FIRST_COMPLETED)
            events = [self._ended(future) for future in done]
        return events

    def _ended(self, future: Future[CommitRecord]) -> Event:
        shard = self._futures.pop(future)
        error = future.exception()
        return Finished(0, future.result()) if error is None else Failed(0, shard, error)

    def close(self) -> None:
        """Let the running threads end and free the generators."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._workshop.close()


class RayCrew:
    """Ray actors, one per slot; a dead one is replaced."""

    def __init__(
        self, assignment: Assignment, *, address: str | None, workers: int | None, most: int, gpus_per_worker: float
    ) -> None:
        self._stop_ray = start_ray(address, assignment.recipe.threads * (workers or 1))
        self._assignment = assignment
        self._options = worker_options(_resources(), assignment.recipe, gpus_per_worker)
        count = min(most, workers or worker_count(_resources(), self._options))
        self._actors: dict[int, Any] = {}
        self._tasks: dict[
            Any, tuple[int, int | None]
        ] = {}  # what Ray will report -> (worker, shard or None while loading)
        self._ready: set[int] = set()
        for worker in range(count):
            self._start(worker)

    def _start(self, worker: int) -> None:
        import ray

        self._ready.discard(worker)
        remote = ray.remote(Workshop).options(max_concurrency=DEPTH, max_restarts=0, **self._options)
        self._actors[worker] = remote.remote(self._assignment)
        self._tasks[self._actors[worker].open.remote()] = (worker, None)

    def held(self) -> Mapping[int, Sequence[int]]:
        """Return, for each actor that has loaded its generators, the shards that it holds."""
        tasks = self._tasks.values()
        return {w: [s for worker, s in tasks if worker == w and s is not None] for w in sorted(self._ready)}

    def hand(self, worker: int, plan: ShardPlan) -> None:
        """Send a shard's plan to an actor."""
        self._tasks[self._actors[worker].render.remote(plan)] = (worker, plan.index)

    def wait(self, timeout_s: float) -> list[Event]:
        """Wait for an actor to answer or die."""
        import ray

        done, _ = ray.wait(list(self._tasks), num_returns=1, timeout=timeout_s)
        return [event for task in done if task in self._tasks for event in [self._settled(task)]]

    def _settled(self, task: Any) -> Event:
        import ray

        worker, shard = self._tasks[task]
        try:
            answer = ray.get(task)
        except ray.exceptions.RayTaskError as error:
            del self._tasks[task]
            return Failed(worker, shard, error.cause if isinstance(error.cause, BaseException) else error)
        except ray.exceptions.RayError as error:
            return self._lost(worker, error)
        del self._tasks[task]
        if shard is not None:
            return Finished(worker, answer)
        self._ready.add(worker)
        return Ready(worker, answer)

    def _lost(self, worker: int, error: BaseException) -> Lost:
        """Forget all that a dead actor held and start another; one that only seems dead must free its slot."""
        import ray

        with suppress(ray.exceptions.RayError):
            ray.kill(self._actors[worker])
        tasks = [task for task, (holder, _) in self._tasks.items() if holder == worker]
        shards = [self._tasks.pop(task)[1] for task in tasks]
        self._start(worker)
        reason = next((line.strip() for line in str(error).splitlines()[::-1] if line.strip()), type(error).__name__)
        preempted = bool(getattr(error, "preempted", False))
        return Lost(worker, tuple(shard for shard in shards if shard is not None), preempted, reason)

    def close(self) -> None:
        """Kill the actors, and stop Ray if this job started it."""
        import ray

        for actor in self._actors.values():
            ray.kill(actor)
        self._stop_ray()


def start_ray(address: str | None, cpus: int) -> Callable[[], None]:
    """Join a cluster, or start one of this machine's own; returns what ends that, and leaves alone what was there.

    Raises: UserError when there is no cluster to reach.
    """
    import ray

    if ray.is_initialized():
        return lambda: None
    if address:
        _check_reachable(address)
    folder = tempfile.TemporaryDirectory(prefix="vm-", ignore_cleanup_errors=True)

    def stop() -> None:
        ray.shutdown()
        folder.cleanup()

    for is_last in (False, True):  # on a busy machine Ray's own processes may miss their deadline once
        try:
            ray.init(**_ray_options(address, cpus, folder.name), log_to_driver=False, logging_level="ERROR")
            break
        except Exception as error:  # Ray raises whatever its transport does
            ray.shutdown()
            if is_last or address:
                told = next(iter(str(error).splitlines()), type(error).__name__)
                where = address or "this machine"
                raise UserError(f"Ray on {where} cannot be reached or started: {told}; --inline needs none") from error
    return stop


def _check_reachable(address: str) -> None:
    """Knock before Ray does, which goes on knocking for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        if address != "auto":
            raise UserError(f"--address {address}: expected auto, HOST:PORT or ray://HOST:PORT")
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"Ray on {address} cannot be reached: {error}; --inline needs none") from error


def _ray_options(address: str | None, cpus: int, folder: str) -> dict[str, Any]:
    """Say how to start Ray; the folder's name is short, since Ray's socket paths lie below it (107 characters)."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address:
        return {"address": address}
    own = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    return {"address": "local", "num_cpus": max(cpus, os.cpu_count() or 1), "_temp_dir": folder, **own}


def _resources() -> dict[str, float]:
    import ray

    return dict(ray.cluster_resources())


def worker_options(resources: Mapping[str, float], recipe: Any, gpus_per_worker: float) -> dict[str, float]:
    """Say what one actor asks for: a GPU or its fraction where there are any, else as many CPUs as threads."""
    wants_gpu = recipe.device == "auto" or recipe.device.startswith("cuda")
    if wants_gpu and resources.get("GPU", 0) > 0:
        return {"num_gpus": gpus_per_worker, "num_cpus": 1}
    return {"num_cpus": recipe.threads}


def worker_count(resources: Mapping[str, float], options: Mapping[str, float]) -> int:
    """Count the actors that fit.

    Raises: UserError when not one does.
    """
    names = {"num_gpus": "GPU", "num_cpus": "CPU"}
    fits = [int(resources.get(names[key], 0) // amount) for key, amount in options.items() if amount]
    if not fits or min(fits) < 1:
        raise UserError(f"no worker fits: one needs {dict(options)}, the cluster has {dict(resources)}")
    return min(fits)
