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
from factory.breaker import is_tripped, quarantined_fraction
from factory.cluster import check_reachable
from factory.crew import DEPTH, Crew, InlineCrew, RayCrew
from factory.encode import extension
from factory.events import Event, Failed, Finished, Lost, Ready
from factory.ledger import Ledger
from factory.plan import plan_shard, source_of_shard
from factory.recipe import Recipe
from factory.records import Records
from factory.resolve import Stream, check_still_claimed, claim, resolve
from factory.runs import RunLog, new_run_id
from factory.segments import Segment, extend, segment_of
from factory.stop import Stop, stop_signals
from factory.telemetry import Telemetry
from factory.watchdog import STALL_S, LeavingError
from factory.workshop import Assignment, scratch_folder
from manifests.commit import CommitRecord, winners
from manifests.errors import StoreError, UserError
from manifests.patience import PatientStore
from manifests.store import Store, check_url
from manifests.version import CardFacts, GeneratorFacts, VersionDoc, VersionShard, newest, publish

Progress = Callable[[CommitRecord], None]


class JobError(UserError):
    """Shards were given up; the others are rendered, and running the same command again tries these once more."""

    exit_code = 4


class QuarantineError(JobError):
    """So much was refused that going on would only cost money; what is rendered is safe."""


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
    runtime_env: dict[str, Any] | None = None
    start_timeout_s: float = 600.0  # without a worker
    stall_s: float = STALL_S
    max_quarantined: float = 0.5  # of the views of a run
    logs_json: bool = False


@dataclass
class Job:
    """A folder, what it is to hold, and what of it is there."""

    store: Store
    stream: Stream
    segments: list[Segment]
    records: Records
    options: Options
    known_numerics: list[dict[str, str]] = field(default_factory=list)  # of what was there
    seen_numerics: list[dict[str, str]] = field(default_factory=list)  # of this run's workers

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
    if options.address and not options.inline:
        check_reachable(options.address)
    out = out if "://" in out else str(Path(out).absolute())  # workers may stand elsewhere
    folder = existing(out)
    stream = resolve(recipe, folder)
    store = folder or PatientStore.open(out, create=True)
    claim(store, stream)
    segments = extend(store, stream.stream_id, recipe.groups, recipe.groups_per_shard)
    records = winners(store, stream.stream_id)
    known = numerics.distinct(record.numerics for record in records.values())
    return Job(store, stream, segments, Records(records), options, known)


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


def run(job: Job, *, progress: Progress | None = None, telemetry: Telemetry | None = None) -> dict[str, Any]:
    """Render every missing shard; returns the run's summary.

    Raises: UserError for what no retry mends; StoreError where the store stays down; JobError where shards were given
    up or too much was refused; StoppedError after a signal.
    """
    log = RunLog(job.store, new_run_id())
    telemetry = telemetry or Telemetry()
    ledger = Ledger(job.missing, depth=DEPTH, pool_of=_pools(job))
    telemetry.begin(log.run_id, shards=job.shards, missing=len(ledger.open))
    crew = hire(job, log, ledger)
    telemetry.reached(crew.dashboard_url)
    try:
        with stop_signals() as stop:
            _work(job, crew, ledger, stop, progress or (lambda record: None), telemetry)
    finally:
        facts = summary(job, ledger, telemetry)
        crew.close()
        with suppress(UserError, OSError):  # a full disk has its own error already
            log.summary(facts)
            _sweep(job.store)
        telemetry.end(facts)
    if stop.requested and ledger.open:
        done = f"{len(job.records)} of {job.shards} shards"
        raise StoppedError(f"stopped with {done} done; run the same command again to go on")
    if ledger.failed:
        raise JobError(_failures(ledger))
    return facts


def _pools(job: Job) -> Callable[[int], int]:
    """Say which workers can draw a shard: those of its source where shards have one, but for the one inline worker."""
    recipe = job.stream.recipe
    if job.options.inline or recipe.mix == "groups":
        return lambda shard: 0
    return lambda shard: source_of_shard(recipe, shard)


def hire(job: Job, log: RunLog, ledger: Ledger) -> Crew:
    """Start the workers that the options ask for."""
    options = job.options
    assignment = Assignment(
        job.stream.recipe,
        job.store.url,
        log.run_id,
        job.stream.fingerprints,
        job.stream.subjects.extra_types,
        job.stream.learned(),
        stall_s=options.stall_s,
        logs_json=options.logs_json,
    )
    if options.inline:
        return InlineCrew(assignment)
    return RayCrew(
        assignment,
        address=options.address,
        workers=options.workers,
        open_shards=ledger.open_in,
        gpus_per_worker=options.gpus_per_worker,
        runtime_env=options.runtime_env,
    )


def _work(job: Job, crew: Crew, ledger: Ledger, stop: Stop, progress: Progress, telemetry: Telemetry) -> None:
    """Hand out shards and take in what becomes of them, until all are settled or the job must stop."""
    manned_at_s, limit_s = time.monotonic(), job.options.start_timeout_s
    while ledger.open:
        if stop.requested and (not crew.is_busy() or stop.is_overdue(job.options.drain_s)):
            return
        if not stop.requested:
            crew.staff(ledger.open_in)
            _hand_out(job, crew, ledger)
        for event in crew.wait(0.5):
            telemetry.take(event)
            _settle(job, ledger, event, progress)
        telemetry.count(ledger, crew)
        _check_quarantined(job, ledger, telemetry)
        if ledger.is_hopeless:
            raise JobError(_failures(ledger))
        if crew.held():
            manned_at_s = time.monotonic()
        elif time.monotonic() - manned_at_s > limit_s:
            raise JobError(f"no worker ready in {limit_s:.0f} s ({crew.shortage()}); the same command goes on")


def _hand_out(job: Job, crew: Crew, ledger: Ledger) -> None:
    recipe, now_s = job.stream.recipe, time.monotonic()
    for _ in range(DEPTH):  # one each first, so that no worker holds two while another holds none
        for worker, held in crew.held().items():
            if len(held) >= DEPTH:
                continue
            shard = ledger.next(held, pool=crew.pool(worker), now_s=now_s)
            if shard is not None:
                crew.hand(worker, plan_shard(recipe, job.stream.subjects, segment_of(job.segments, shard), shard))


def _settle(job: Job, ledger: Ledger, event: Event, progress: Progress) -> None:
    match event:
        case Ready(numerics=here):
            if not job.options.accept_numerics:
                numerics.check_same([*job.known_numerics, *job.seen_numerics], here, job.store.url)
            if here not in job.seen_numerics:
                job.seen_numerics.append(here)
        case Finished(record=record):
            check_still_claimed(job.store, job.stream)
            is_first = record.index not in ledger.done
            ledger.finish(record.index, time.monotonic())
            job.records[record.index] = record if is_first else _winner(job.records[record.index], record)
            if is_first:
                progress(record)
        case Failed(shard=int(shard), error=LeavingError() as error):
            ledger.give_back(shard, str(error))
        case Failed(error=error) if event.shard is None or isinstance(error, UserError):
            raise error
        case Failed(shard=int(shard), error=error):
            ledger.strike(shard, f"{type(error).__name__}: {error}".splitlines()[0], type(error).__name__)
            if isinstance(error, StoreError) and shard in ledger.failed:
                raise error  # the store is down: no other shard would fare better
        case Lost(shards=shards, was_preempted=was_preempted, reason=reason):
            if not shards and not was_preempted:
                ledger.loading_deaths.append(reason)
            for shard in shards:
                if was_preempted:
                    ledger.give_back(shard, reason)
                else:
                    ledger.strike(shard, f"its worker died: {reason}", "its worker died")


def _winner(one: CommitRecord, other: CommitRecord) -> CommitRecord:
    """Choose among twins as every reader of the folder does."""
    return min(one, other, key=lambda record: record.object_name())


def _check_quarantined(job: Job, ledger: Ledger, telemetry: Telemetry) -> None:
    limit = job.options.max_quarantined
    if is_tripped(telemetry.views, limit):
        share = quarantined_fraction(telemetry.views)
        raise QuarantineError(
            f"{share:.0%} of {sum(telemetry.views.values())} views were refused, more than --max-quarantined {limit:g};"
            f" `factory status {job.store.url}` says why; mend it, let `factory retry` forget those shards, go on"
        )


def summary(job: Job, ledger: Ledger, telemetry: Telemetry) -> dict[str, Any]:
    """Say how a run went; the rate leaves out the time until the first worker had loaded its generators."""
    images = size_bytes = 0
    for shard in ledger.done:
        record = job.records[shard]
        images += sum(record.views.values())
        size_bytes += record.shard.size + record.rows.size
    return {
        "images": images,
        **telemetry.costs(images),
        "shards": len(ledger.done),
        "bytes": size_bytes,
        "views": dict(telemetry.views),
        "retries": sum(ledger.retries.values()),
        "retries_by_cause": dict(ledger.retries),
        "twins": ledger.twins,
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
