"""The job: which shards are missing, who renders them, what to do when that fails, and the finished version.

Running the same job again goes on where the last one ended, however it ended: only commit records say what is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factory import numerics
from factory.crew import DEPTH, START_TIMEOUT_S, Crew, Event, Failed, Finished, InlineCrew, Lost, RayCrew, Ready
from factory.encode import extension
from factory.ledger import Ledger
from factory.patience import PatientStore
from factory.plan import plan_shard
from factory.recipe import Recipe
from factory.resolve import Stream, check_still_claimed, claim, resolve
from factory.runs import RunLog, new_run_id
from factory.segments import Segment, extend, segment_of
from factory.stop import Stop, stop_signals
from factory.workshop import Assignment, scratch_folder
from manifests.commit import CommitRecord, winners
from manifests.errors import StoreError, UserError
from manifests.store import Store, check_url
from manifests.version import CardFacts, GeneratorFacts, VersionDoc, VersionShard, newest, publish

Progress = Callable[[CommitRecord], None]


class JobError(UserError):
    """Shards were given up; the others are rendered, and running the same command again tries these once more."""

    exit_code = 4


class StoppedError(UserError):
    """The job was asked to stop and did, with everything finished that was begun."""

    exit_code = 5


@dataclass(frozen=True)
class Options:
    """How to run a job; nothing here decides a pixel."""

    inline: bool = False
    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float = 1.0
    accept_numerics: bool = False
    drain_s: float = 120.0


@dataclass
class Job:
    """A folder, what it is to hold, and what of it is there."""

    store: Store
    stream: Stream
    segments: list[Segment]
    records: dict[int, CommitRecord]
    options: Options
    seen_numerics: list[dict[str, str]] = field(default_factory=list)
    ready_at_s: float | None = None  # when the first worker had loaded its generators

    @property
    def shards(self) -> int:
        """Count the shards that the folder is to hold."""
        return sum(segment.shards for segment in self.segments)

    @property
    def missing(self) -> list[int]:
        """List the shards without a record."""
        return [shard for shard in range(self.shards) if shard not in self.records]


def begin(recipe: Recipe, out: str, options: Options) -> Job:
    """Check recipe and folder against each other and write down what is to be made.

    Raises: UserError before anything is written, where the recipe is at fault.
    """
    check_url(out)
    out = out if "://" in out else str(Path(out).absolute())  # workers may stand elsewhere
    folder = existing(out)
    stream = resolve(recipe, folder)
    store = folder or PatientStore.open(out, create=True)
    claim(store, stream)
    segments = extend(store, stream.stream_id, recipe.groups, recipe.groups_per_shard)
    records = winners(store, stream.stream_id)
    return Job(store, stream, segments, records, options)


def existing(out: str) -> Store | None:
    """Open a folder if it is there."""
    try:
        return PatientStore.open(out)
    except UserError:
        return None


def finish(job: Job) -> str:
    """Publish what is rendered as the newest version, once; returns its root.

    Raises: ConflictError if it is published under another name or licence, or another recipe took over the folder.
    """
    check_still_claimed(job.store, job.stream)
    last = newest(job.store)
    shards = [VersionShard.of(record) for _, record in sorted(job.records.items())]
    recipe = job.stream.recipe
    licence = recipe.licence or licence_of(job.stream.licences)
    if last and last.shards == shards:
        return publish(job.store, last.model_copy(update={"licence": licence, "name": recipe.name}), card=card(job))
    version = VersionDoc(
        kind="rendered",
        generation=last.generation + 1 if last else 0,
        parent=last.root() if last else None,
        tombstones=last.tombstones if last else [],
        shards=shards,
        views_per_group=recipe.views,
        extension=extension(recipe.encode),
        label_names=list(job.stream.subjects.label_names),
        licence=licence,
        name=recipe.name,
    )
    return publish(job.store, version, card=card(job))


def card(job: Job) -> CardFacts:
    """Say what a reader of the data set should know."""
    pairs = zip(job.stream.names, job.stream.fingerprints, strict=True)
    sources = [f"{name}: images made by this generator, weights {print_['sha256'][:16]}" for name, print_ in pairs]
    command = "python -m factory render dataset.json OUT"
    generators = [GeneratorFacts(name=name, licence=licence) for name, licence in dict.fromkeys(job.stream.terms)]
    return CardFacts(summary=job.stream.recipe.description, sources=sources, command=command, generators=generators)


def licence_of(licences: list[str]) -> str | None:
    """Return the generators' licence where they have one in common and it is known."""
    return licences[0] if len(licences) == 1 and licences[0] != "unknown" else None


def run(job: Job, *, progress: Progress | None = None) -> dict[str, Any]:
    """Render every missing shard; returns the run's summary.

    Raises: UserError for what no retry mends; StoreError where the store stays down; JobError where shards were given
    up; StoppedError after a signal.
    """
    log = RunLog(job.store, new_run_id())
    ledger = Ledger(job.missing, depth=DEPTH)
    begun = time.monotonic()
    crew = hire(job, log)
    try:
        with stop_signals() as stop:
            _work(job, crew, ledger, stop, progress or (lambda record: None))
    finally:
        facts = summary(job, ledger, begun, time.monotonic())
        crew.close()
        with suppress(UserError, OSError):  # a full disk has its own error already
            log.summary(facts)
            _sweep(job.store)
    if stop.requested and ledger.open:
        done = f"{len(job.records)} of {job.shards} shards"
        raise StoppedError(f"stopped with {done} done; run the same command again to go on")
    if ledger.failed:
        raise JobError(_failures(ledger))
    return facts


def hire(job: Job, log: RunLog) -> Crew:
    """Start the workers that the options ask for."""
    assignment = Assignment(
        job.stream.recipe,
        job.store.url,
        log.run_id,
        job.stream.fingerprints,
        job.stream.subjects.extra_types,
        job.stream.learned(),
    )
    options = job.options
    if options.inline:
        return InlineCrew(assignment)
    return RayCrew(
        assignment,
        address=options.address,
        workers=options.workers,
        most=len(job.missing),
        gpus_per_worker=options.gpus_per_worker,
    )


def _work(job: Job, crew: Crew, ledger: Ledger, stop: Stop, progress: Progress) -> None:
    """Hand out shards and take in what becomes of them, until all are settled or the job must stop."""
    began, any_ready = time.monotonic(), False
    while ledger.open:
        held = crew.held()
        if stop.requested and (not any(held.values()) or stop.is_overdue(job.options.drain_s)):
            return
        if not stop.requested:
            _hand_out(job, crew, ledger)
        for event in crew.wait(0.5):
            any_ready = any_ready or isinstance(event, Ready)
            _settle(job, ledger, event, progress)
        if ledger.is_hopeless:
            raise JobError(_failures(ledger))
        if not any_ready and time.monotonic() - began > START_TIMEOUT_S:
            raise UserError(f"no worker ready in {START_TIMEOUT_S:.0f} s: is the cluster busy? --inline needs none")


def _hand_out(job: Job, crew: Crew, ledger: Ledger) -> None:
    for _ in range(DEPTH):  # one each first, so that no worker holds two while another holds none
        for worker, held in crew.held().items():
            shard = ledger.next(held)
            if shard is not None:
                plan = plan_shard(job.stream.recipe, job.stream.subjects, segment_of(job.segments, shard), shard)
                crew.hand(worker, plan)


def _settle(job: Job, ledger: Ledger, event: Event, progress: Progress) -> None:
    match event:
        case Ready(numerics=here):
            if not job.options.accept_numerics:
                known = [*(record.numerics for record in job.records.values()), *job.seen_numerics]
                numerics.check_same(known, here, job.store.url)
            job.seen_numerics.append(here)
            job.ready_at_s = job.ready_at_s or time.monotonic()
        case Finished(record=record):
            check_still_claimed(job.store, job.stream)
            ledger.finish(record.index)
            job.records[record.index] = record
            progress(record)
        case Failed(error=error) if event.shard is None or isinstance(error, UserError):
            raise error
        case Failed(shard=int(shard), error=error):
            ledger.strike(shard, f"{type(error).__name__}: {error}".splitlines()[0])
            if isinstance(error, StoreError) and shard in ledger.failed:
                raise error  # the store is down: no other shard would fare better
        case Lost(shards=shards, was_preempted=was_preempted, reason=reason):
            if not shards and not was_preempted:
                ledger.loading_deaths.append(reason)
            for shard in shards:
                if was_preempted:
                    ledger.give_back(shard)
                else:
                    ledger.strike(shard, f"its worker died: {reason}")


def summary(job: Job, ledger: Ledger, begun_s: float, ended_s: float) -> dict[str, Any]:
    """Say how a run went; the rate leaves out the time until the first worker had loaded its generators."""
    records = [job.records[shard] for shard in sorted(ledger.done)]
    images = sum(sum(record.views.values()) for record in records)
    ready_s = job.ready_at_s or ended_s
    return {
        "images": images,
        "start_s": ready_s - begun_s,
        "seconds": ended_s - ready_s,
        "images_per_s": images / (ended_s - ready_s) if ended_s > ready_s else 0.0,
        "shards": len(records),
        "retries": ledger.retries,
        "failed": {str(shard): reason for shard, reason in ledger.failed.items()},
        "numerics": job.seen_numerics[0] if job.seen_numerics else {},
    }


def _failures(ledger: Ledger) -> str:
    lines = [f"  shard {shard:06d}: {reason}" for shard, reason in sorted(ledger.failed.items())]
    if ledger.loading_deaths:
        return f"workers die again and again while they load the model: {ledger.loading_deaths[-1]}"
    return "\n".join(["some shards were given up; the others are safe and the same command tries these again:", *lines])


def _sweep(store: Store) -> None:
    """Remove the scratch folder when nobody uses it any more."""
    scratch = scratch_folder(store)
    if store.is_local:
        with suppress(OSError):
            scratch.rmdir()
