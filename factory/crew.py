"""Who renders: a crew of one in this process, or Ray actors. Both run the same Workshop and report the same events.

Each worker owns whole shards; pixels never leave it. A worker may hold two shards: one is put while the next is drawn.
Actors come and go with the cluster's nodes; one that is about to go, or that shows no sign of life, is replaced.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for_futures
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Thread
from typing import Any, Protocol

from factory.cluster import (
    actor_options,
    cluster_resources,
    dashboard_url,
    needs_of,
    pool_options,
    share_out,
    start_ray,
    worker_count,
)
from factory.events import Event, Failed, Finished, Lost, Ready, Told
from factory.plan import ShardPlan
from factory.runs import new_attempt
from factory.watchdog import ALARM_AFTER_S, Pulse, StalledError
from factory.workshop import Assignment, Opened, Workshop
from manifests.commit import CommitRecord

DEPTH = 2
PULSE_S = 5.0  # a worker tells how it is at least so often
STAFF_EVERY_S = 5.0
NODE_DIED = "node has died"  # as Ray words it
DOUBT_S = 120.0  # in which Ray finds out whether it was the worker or its node
ASK_AGAIN_S = 1.0
ANSWER_S = 60.0  # to fetch an answer that is there
CLOSE_S = 60.0  # that threads have to end when a job does


class Crew(Protocol):
    """Workers that take shards and report events."""

    dashboard_url: str  # where Ray shows them, if it does

    def staff(self, open_shards: Mapping[int, int]) -> None:
        """Start and end workers to fit the unfinished shards of each pool and what the cluster has."""

    def held(self) -> Mapping[int, Sequence[int]]:
        """Return, for each worker that may be given shards, those that it holds."""

    def pool(self, worker: int) -> int:
        """Return which shards a worker can draw."""

    def is_busy(self) -> bool:
        """Say whether anybody holds a shard."""

    def shortage(self) -> str:
        """Say what a worker needs and what is there, for when none comes."""

    def hand(self, worker: int, plan: ShardPlan) -> None:
        """Give a shard to a worker."""

    def wait(self, timeout_s: float) -> list[Event]:
        """Wait for something to happen."""

    def close(self) -> None:
        """Stop the workers, finished or not."""


def _ready(worker: int, opened: Opened) -> Ready:
    return Ready(worker, opened.numerics, opened.gpus, opened.loading_s)


def _fulfil(future: Future[CommitRecord], work: Callable[[], CommitRecord]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


class InlineCrew:
    """One worker in this process, for debugging and small machines: no Ray at all.

    Its threads are daemons: Python waits for others at its end, and one that hangs cannot be ended.
    """

    dashboard_url = ""

    def __init__(self, assignment: Assignment) -> None:
        self._workshop = Workshop(replace(assignment, pool=None))
        self._futures: dict[Future[CommitRecord], tuple[int, str]] = {}
        self._is_stalled = False
        self._events: list[Event] = [_ready(0, self._workshop.begin())]

    def staff(self, open_shards: Mapping[int, int]) -> None:
        """Leave the one worker alone."""

    def held(self) -> Mapping[int, Sequence[int]]:
        """Return the shards that the one worker holds."""
        return {0: [shard for shard, _ in self._futures.values()]}

    def pool(self, worker: int) -> int:
        """Draw from the one pool that there is."""
        return 0

    def is_busy(self) -> bool:
        """Say whether a thread runs."""
        return bool(self._futures)

    def shortage(self) -> str:
        """Say nothing: the worker is there."""
        return ""

    def hand(self, worker: int, plan: ShardPlan) -> None:
        """Start a shard in a thread."""
        attempt, future = new_attempt(plan.index), Future[CommitRecord]()
        self._futures[future] = plan.index, attempt
        work = partial(self._workshop.render, plan, attempt)
        Thread(target=_fulfil, args=(future, work), name=f"render {plan.index:06d}", daemon=True).start()

    def wait(self, timeout_s: float) -> list[Event]:
        """Wait for a thread to end; one that stalls fails the whole job, since none can take its place."""
        events, self._events = self._events, []
        if not events and self._futures:
            done, _ = wait_for_futures(self._futures, timeout_s, FIRST_COMPLETED)
            events = [self._ended(future) for future in done]
            pulse = self._workshop.pulse(0.0)
            events.append(Told(0, pulse))
            self._is_stalled = pulse.state == "stalled"
            if self._is_stalled:
                error = StalledError(f"rendering stalled: {pulse.detail}; run the same command again to go on")
                events.append(Failed(0, None, error))
        return events

    def _ended(self, future: Future[CommitRecord]) -> Event:
        shard, attempt = self._futures.pop(future)
        error = future.exception()
        return Finished(0, future.result(), attempt) if error is None else Failed(0, shard, error, attempt)

    def close(self) -> None:
        """Give the running threads a while to end, and free the generators unless one still draws."""
        if not wait_for_futures(self._futures, 0.0 if self._is_stalled else CLOSE_S).not_done:
            self._workshop.close()


@dataclass
class Hand:
    """One actor: what it is given and when it last told how it is."""

    actor: Any
    pool: int
    shards: dict[int, str] = field(default_factory=dict)  # and the attempts at them
    is_ready: bool = False
    is_leaving: bool = False
    pulse: Any = None  # the answer that is awaited
    asked_at_s: float = 0.0
    doubted_at_s: float | None = None  # its connection broke, and Ray does not know yet what died


class RayCrew:
    """Ray actors, as many as fit or as were asked for; they are replaced as they and their nodes go."""

    def __init__(
        self,
        assignment: Assignment,
        *,
        address: str | None,
        workers: int | None,
        open_shards: Mapping[int, int],
        gpus_per_worker: float,
        runtime_env: dict[str, Any] | None = None,
    ) -> None:
        self._stop_ray = start_ray(address, assignment.recipe.threads * (workers or 1))
        self.dashboard_url = dashboard_url()
        self._assignment, self._workers = assignment, workers
        self._runtime_env = runtime_env
        self._options = pool_options(cluster_resources(), assignment.recipe, gpus_per_worker)
        self._hands: dict[int, Hand] = {}
        self._tasks: dict[Any, tuple[int, int | None]] = {}  # what Ray will report -> (worker, shard; None: loading)
        self._pulses: dict[Any, int] = {}
        self._next_worker, self._staffed_at_s = 0, 0.0
        self._gone: list[Event] = []  # whoever left in peace
        if workers is None and address is None:  # to a cluster that is joined, nodes may still come
            for pool in open_shards:
                worker_count(cluster_resources(), self._options[pool])
        self.staff(open_shards)

    def staff(self, open_shards: Mapping[int, int]) -> None:
        """Bring the number of actors to what is left to do and what the cluster has now."""
        now = time.monotonic()
        if self._staffed_at_s and now - self._staffed_at_s < STAFF_EVERY_S:
            return
        self._staffed_at_s = now
        for worker in [w for w, hand in self._hands.items() if not open_shards.get(hand.pool) and not hand.shards]:
            self._let_go(worker, "nothing is left for it")
        wanted = share_out(cluster_resources(), self._options, open_shards, self._workers)
        for pool, count in enumerate(wanted):
            there = sum(hand.pool == pool and not hand.is_leaving for hand in self._hands.values())
            room = count - there if self._workers is None else min(count - there, self._workers - len(self._hands))
            for _ in range(room):
                self._start(pool)

    def _start(self, pool: int) -> None:
        import ray

        worker, self._next_worker = self._next_worker, self._next_worker + 1
        own, gpus = pool if len(self._options) > 1 else None, needs_of(self._options[pool]).get("GPU", 0.0)
        known = replace(self._assignment, pool=own, worker=worker, gpus=gpus)
        options = actor_options(self._options[pool], self._runtime_env)
        remote = ray.remote(Workshop).options(max_concurrency=DEPTH + 1, max_restarts=0, **options)
        self._hands[worker] = Hand(remote.remote(known, is_alone=True), pool)
        self._tasks[self._hands[worker].actor.begin.remote()] = (worker, None)

    def held(self) -> Mapping[int, Sequence[int]]:
        """Return what each actor holds that has loaded its generators and is to stay."""
        return {w: list(hand.shards) for w, hand in self._hands.items() if hand.is_ready and not hand.is_leaving}

    def pool(self, worker: int) -> int:
        """Return an actor's pool."""
        return self._hands[worker].pool

    def is_busy(self) -> bool:
        """Say whether any actor holds a shard."""
        return any(hand.shards for hand in self._hands.values())

    def shortage(self) -> str:
        """Say what an actor of each pool asks for, and what the cluster has."""
        return f"one needs {' or '.join(map(str, self._options))}, the cluster has {cluster_resources()}"

    def hand(self, worker: int, plan: ShardPlan) -> None:
        """Send a shard's plan to an actor."""
        attempt = self._hands[worker].shards[plan.index] = new_attempt(plan.index)
        self._tasks[self._hands[worker].actor.render.remote(plan, attempt)] = (worker, plan.index)

    def wait(self, timeout_s: float) -> list[Event]:
        """Wait for an actor to answer or die."""
        import ray

        awaited = [*self._tasks, *self._pulses]
        if not awaited:
            time.sleep(timeout_s)
        done = ray.wait(awaited, num_returns=1, timeout=timeout_s)[0] if awaited else []
        if done:  # and what else is there by now
            done = ray.wait(awaited, num_returns=len(awaited), timeout=0)[0]
        events: list[Event | None] = []
        for answer in done:
            if answer in self._tasks:
                events.append(self._settled(answer))
            elif answer in self._pulses:
                events.append(self._told(answer))
        gone, self._gone = self._gone, []
        self._ask_the_doubtful()
        found = [event for event in events if event is not None]
        return [*found, *gone, *self._silent()]

    def _settled(self, task: Any) -> Event | None:
        import ray

        worker, shard = self._tasks[task]
        try:
            answer = ray.get(task, timeout=ANSWER_S)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, BaseException) else error
            return Failed(worker, shard, cause, self._over(task))
        except ray.exceptions.RayError as error:
            return self._lost(worker, error)
        attempt = self._over(task)
        if shard is not None:
            return Finished(worker, answer, attempt)
        self._hands[worker].is_ready = True
        self._ask(worker)
        return _ready(worker, answer)

    def _over(self, task: Any) -> str:
        worker, shard = self._tasks.pop(task)
        hand = self._hands[worker]
        attempt = "" if shard is None else hand.shards.pop(shard)
        if hand.is_leaving and not hand.shards:
            self._let_go(worker, "it left")
        return attempt

    def _ask(self, worker: int) -> None:
        hand = self._hands[worker]
        hand.pulse, hand.asked_at_s = hand.actor.pulse.remote(PULSE_S), time.monotonic()
        self._pulses[hand.pulse] = worker

    def _told(self, answer: Any) -> Event | None:
        import ray

        worker = self._pulses.pop(answer)
        try:
            pulse: Pulse = ray.get(answer, timeout=ANSWER_S)
        except ray.exceptions.RayError as error:
            return self._lost(worker, error)
        if self._hands[worker].doubted_at_s is not None:
            return self._lost(worker, "its connection broke, and what it held is not known")
        if pulse.state == "stalled":
            return self._lost(worker, pulse.detail)
        if pulse.state == "leaving":  # it is not asked again
            self._hands[worker].is_leaving = True
            if not self._hands[worker].shards:
                self._let_go(worker, pulse.detail)
        else:
            self._ask(worker)
        return Told(worker, pulse)

    def _silent(self) -> list[Event]:
        """Give up actors that do not even tell that they stall."""
        limit_s = PULSE_S + self._assignment.stall_s + 2 * ALARM_AFTER_S
        late = time.monotonic() - limit_s
        silent = [w for w, h in self._hands.items() if h.is_ready and h.pulse in self._pulses and h.asked_at_s < late]
        lost = [self._lost(worker, f"no answer in {limit_s:.0f} s") for worker in silent]
        return [event for event in lost if event is not None]

    def _lost(self, worker: int, error: BaseException | str) -> Lost | None:
        """Forget all that a dead actor held; one that only seems dead must free its slot. None: it is not known yet."""
        import ray

        hand, now = self._hands[worker], time.monotonic()
        if isinstance(error, ray.exceptions.ActorUnavailableError):
            hand.doubted_at_s = hand.doubted_at_s or now
            hand.is_ready, hand.asked_at_s = False, now
            self._forget(worker)
            if now - hand.doubted_at_s < DOUBT_S:
                return None
        self._dismiss(worker)
        text = str(error)
        reason = next((line.strip() for line in text.splitlines()[::-1] if line.strip()), type(error).__name__)
        went = (
            hand.is_leaving
            or isinstance(error, ray.exceptions.ActorUnavailableError)
            or bool(getattr(error, "preempted", False))
            or NODE_DIED in text
        )
        return Lost(worker, tuple(hand.shards), went, reason, tuple(hand.shards.values()))

    def _ask_the_doubtful(self) -> None:
        """Call again those whose connection broke: they answer, or Ray has found out what died."""
        for worker, hand in self._hands.items():
            is_due = time.monotonic() - hand.asked_at_s > ASK_AGAIN_S
            if hand.doubted_at_s is not None and hand.pulse not in self._pulses and is_due:
                hand.pulse = hand.actor.pulse.remote(0.0)
                self._pulses[hand.pulse] = worker

    def _let_go(self, worker: int, why: str) -> None:
        self._dismiss(worker)
        self._gone.append(Lost(worker, (), was_preempted=True, reason=why))

    def _dismiss(self, worker: int) -> Hand:
        import ray

        hand = self._hands.pop(worker)
        with suppress(ray.exceptions.RayError):
            ray.kill(hand.actor)
        self._forget(worker, hand)
        self._staffed_at_s = 0.0  # at once
        return hand

    def _forget(self, worker: int, hand: Hand | None = None) -> None:
        """Await no answer of a worker any more."""
        for task in [task for task, (holder, _) in self._tasks.items() if holder == worker]:
            del self._tasks[task]
        self._pulses.pop((hand or self._hands[worker]).pulse, None)

    def close(self) -> None:
        """Kill the actors, and stop Ray if this job started it."""
        for worker in list(self._hands):
            with suppress(Exception):  # a cluster that is gone has none
                self._dismiss(worker)
        self._stop_ray()
