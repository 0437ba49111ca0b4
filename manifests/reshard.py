"""Lays the groups that a data set shows into shards of their own: a view, a union or a part becomes a set by itself.

Keys, seeds and prompts stay, so that a take-down, a duplicate and a rendering again still find their group. A shard
holds groups of one stream, some left out. What a new shard will hold is known from the rows before an image is read:
so a shard that is there already is not fetched, and of the others only the bytes of the chosen groups are.
"""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from manifests.canonical import canonical_json, sha256_hex
from manifests.closure import Thing, check_target, records_of
from manifests.commit import CommitLog, Group, View, commit_shard, sample_json
from manifests.dataset import DataSet
from manifests.documents import CommitRecord, Part, VersionDoc, VersionShard
from manifests.errors import CorruptError, UserError
from manifests.patience import PatientStore
from manifests.schema import VIEW_SCHEMA, rows_digest, view_table
from manifests.shard import member_offsets, padded
from manifests.store import Store
from manifests.takedown import check_not_taken_down
from manifests.transfer import JOBS, PART_BYTES, Progress, copy_thing, describe, in_parallel

_GAP_BYTES = 64 << 10  # two ranges so near are read as one
Row = dict[str, Any]


@dataclass(frozen=True)
class Draft:
    """A shard to be: its rows as they will stand there, each with the place that its image is read from."""

    stream_id: str
    index: int
    table: pa.Table
    sources: list[tuple[int, int]]  # (position, offset) in the data set that it is made from
    digest: str

    @property
    def bytes(self) -> int:
        """Add up the images."""
        return int(pc.sum(self.table["size"]).as_py() or 0)


@dataclass(frozen=True)
class DraftPart:
    """One part of the data set in drafts."""

    drafts: list[Draft]
    root: str
    weight: float | None


@dataclass(frozen=True)
class Reshard:
    """What resharding will do: the drafts of each part, and the records of those shards that are there."""

    parts: list[DraftPart]
    there: dict[str, CommitRecord]  # by rows_digest

    @property
    def drafts(self) -> list[Draft]:
        """Return the drafts of all parts in order."""
        return [draft for part in self.parts for draft in part.drafts]

    @property
    def missing(self) -> list[Draft]:
        """Return the drafts that have no shard yet."""
        return [draft for draft in self.drafts if draft.digest not in self.there]


def plan_reshard(dataset: DataSet, target: Store | None, groups_per_shard: int | None = None) -> Reshard:
    """Cut the groups that are shown into shards, as they lie now or so many a shard.

    Raises: UserError if no group is shown; ConflictError if one was taken down since.
    """
    check_not_taken_down(dataset)
    counters: Counter[str] = Counter()
    shared = {
        key for key, count in Counter((s.stream_id, s.index) for s in dataset.version.shards).items() if count > 1
    }
    parts, first = [], 0
    for part in dataset.version.parts or [Part(root=dataset.root, shards=max(1, len(dataset.version.shards)))]:
        positions = range(first, min(first + part.shards, len(dataset.version.shards)))
        first += part.shards
        drafts = list(_drafts(dataset, positions, groups_per_shard, counters, bool(shared)))
        if drafts:
            parts.append(DraftPart(drafts, part.root, part.weight))
    if not parts:
        raise UserError(f"{dataset.url}: no group with images is shown, so there is nothing to lay into shards")
    there = {}
    if target is not None:
        records = CommitLog(target).records()
        there = {record.rows_digest: record for record in records.values()}
    return Reshard(parts, there)


def _drafts(
    dataset: DataSet, positions: range, groups_per_shard: int | None, counters: Counter[str], is_numbered_anew: bool
) -> Iterator[Draft]:
    """Cut a run of shards; an index is kept where shards stay as they are cut and no two have the same."""
    if groups_per_shard is None:
        for position in positions:
            shard = dataset.version.shards[position]
            rows = _shown(dataset, position)
            if len(rows):
                index = counters[shard.stream_id] if is_numbered_anew else shard.index
                counters[shard.stream_id] += 1
                yield _draft(shard.stream_id, index, rows)
        return
    size = groups_per_shard * dataset.version.views_per_group
    for stream_id in dict.fromkeys(dataset.version.shards[position].stream_id for position in positions):
        mine = [p for p in positions if dataset.version.shards[p].stream_id == stream_id]
        mine.sort(key=lambda p: dataset.version.shards[p].index)
        waiting: list[pa.Table] = []
        for position in mine:
            waiting.append(_shown(dataset, position))
            is_last = position == mine[-1]
            while (count := sum(map(len, waiting))) >= size or (is_last and count):
                rows = pa.concat_tables(waiting, promote_options="default")
                yield _draft(stream_id, counters[stream_id], rows.slice(0, size))
                counters[stream_id] += 1
                waiting = [rows.slice(size)]


def _shown(dataset: DataSet, position: int) -> pa.Table:
    """Return the ok rows of a shard, with the position that they come from."""
    rows = dataset.rows(shards=[position], ok_only=True)
    return rows.append_column("__position", pa.array([position] * len(rows), pa.int32()))


def _draft(stream_id: str, index: int, rows: pa.Table) -> Draft:
    """Lay out a shard: rows in order of the groups, members at the places that they will have in the tar."""
    rows = rows.sort_by([("group", "ascending"), ("view", "ascending")])
    sources = list(zip(rows["__position"].to_pylist(), rows["offset"].to_pylist(), strict=True))
    stored: list[Row] = rows.drop_columns(["__position"]).to_pylist()
    for row in stored:
        row["shard"] = index
    end_of_last = 0
    for start, end in _runs(stored):
        sizes = [len(canonical_json(sample_json(stored[start:end]))), *(row["size"] for row in stored[start:end])]
        offsets = member_offsets(sizes, end_of_last)
        for row, offset in zip(stored[start:end], offsets[1:], strict=True):
            row["offset"] = offset
        end_of_last = offsets[-1] + padded(sizes[-1])
    table = view_table(stored, other_types(rows.drop_columns(["__position"]).schema), is_copy=True)
    return Draft(stream_id, index, table, sources, rows_digest(table))


def _runs(rows: Sequence[Row]) -> Iterator[tuple[int, int]]:
    """Return where each group begins and ends."""
    starts = [place for place, row in enumerate(rows) if row["view"] == 0]
    yield from zip(starts, [*starts[1:], len(rows)], strict=True)


def other_types(schema: pa.Schema) -> dict[str, pa.DataType]:
    """Return the types of the columns that are not the format's of today: the maker's own, and another release's."""
    return {field.name: field.type for field in schema if field.name not in VIEW_SCHEMA.names}


def reshard(
    dataset: DataSet,
    out: str | Path,
    *,
    groups_per_shard: int | None = None,
    name: str = "",
    jobs: int = JOBS,
    progress: Progress = lambda size, objects: None,
) -> str:
    """Write the groups that a data set shows as a data set of its own; returns its root.

    Raises: UserError if there is none; ConflictError if `out` holds other data, or groups were taken down since.
    """
    target = PatientStore.open(out, create=True)
    plan = plan_reshard(dataset, target, groups_per_shard)
    return carry_out(dataset, plan, target, name=name, jobs=jobs, progress=progress)


def carry_out(
    dataset: DataSet, plan: Reshard, target: Store, *, name: str = "", jobs: int = JOBS, progress: Progress
) -> str:
    """Make the shards that are missing and put the version; returns its root.

    A view that nobody wrote down passes as a part of the version that it was selected from.
    """
    check_place(dataset, plan, target)
    version = partial(_version, dataset, plan, name=name)
    copy_origin(dataset, target)
    numerics, lock = _numerics(dataset), threading.Lock()
    records: dict[str, CommitRecord] = dict(plan.there)

    def make(draft: Draft) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            record = _made(dataset, draft, target, numerics, Path(scratch))
        with lock:
            records[draft.digest] = record
            progress(draft.bytes, 1)

    in_parallel(make, plan.missing, jobs)
    finished = version(records)
    target.put_bytes(finished.to_bytes(), finished.object_name())
    describe(dataset, dataset.homes.store(dataset.url), target, finished)
    return finished.root()


def check_place(dataset: DataSet, plan: Reshard, target: Store) -> None:
    """Refuse a folder that holds other data.

    Raises: ConflictError.
    """
    check_target(target, _version(dataset, plan, {} if plan.missing else plan.there, name=""), [])


def _version(dataset: DataSet, plan: Reshard, records: dict[str, CommitRecord], *, name: str) -> VersionDoc:
    source = dataset.version
    parts = [Part(root=part.root, shards=len(part.drafts), weight=part.weight) for part in plan.parts]
    shards = [VersionShard.of(records[draft.digest]) for draft in plan.drafts] if records else _stand_ins(source, plan)
    is_passing = source.kind == "selected" and not dataset.is_written
    changes: dict[str, Any] = {
        "kind": "resharded",
        "generation": source.generation if is_passing else source.generation + 1,
        "parent": source.parent if is_passing else dataset.root,
        "shards": shards,
        "tombstones": [],
        "selection": None,
        "parts": parts if source.parts else [],
        "name": name or source.name,
    }
    return source.model_copy(update=changes)


def _stand_ins(source: VersionDoc, plan: Reshard) -> list[VersionShard]:
    """Return shards that only say which streams there will be."""
    one_of = {shard.stream_id: shard for shard in source.shards}
    return [one_of[stream_id] for stream_id in dict.fromkeys(draft.stream_id for draft in plan.drafts)]


def copy_origin(dataset: DataSet, target: Store) -> None:
    """Copy the recipes of the streams, and the files that they refer to, from wherever they lie."""
    streams = {shard.stream_id for shard in dataset.version.shards}
    for url in dataset.homes.urls:
        store = dataset.homes.store(url)
        for folder, wanted in (("sources", None), ("recipes", {f"recipes/{one}.json" for one in streams})):
            for name, size in store.list(folder):
                if wanted is None or name in wanted:
                    copy_thing(store, target, Thing(name, size))


def _numerics(dataset: DataSet) -> dict[str, dict[str, str]]:
    """Return what decided the bits of each stream, where it was the same for all shards of it."""
    found: dict[str, list[dict[str, str]]] = {}
    for url in dataset.homes.urls:
        for record in records_of(dataset.homes.store(url), dataset.version).values():
            found.setdefault(record.stream_id, []).append(record.numerics)
    return {stream_id: all_[0] for stream_id, all_ in found.items() if all(one == all_[0] for one in all_)}


def _made(
    dataset: DataSet, draft: Draft, target: Store, numerics: dict[str, dict[str, str]], scratch: Path
) -> CommitRecord:
    rows: list[Row] = draft.table.to_pylist()
    images = _images(dataset, draft, rows)
    extension = dataset.version.extension
    groups = [
        Group(rows[start]["group"], [View(rows[p], images[p], extension) for p in range(start, end)])
        for start, end in _runs(rows)
    ]
    record = commit_shard(
        target,
        stream_id=draft.stream_id,
        index=draft.index,
        first_group=rows[0]["group"],
        groups=groups,
        numerics=numerics.get(draft.stream_id, {}),
        extra_types=other_types(draft.table.schema),
        scratch=scratch,
        is_copy=True,
    )
    if record.rows_digest != draft.digest:
        raise CorruptError(
            f"{target.url}/{record.rows.name}: rows {record.rows_digest[:12]}, planned {draft.digest[:12]}"
        )
    return record


def _images(dataset: DataSet, draft: Draft, rows: list[Row]) -> list[bytes]:
    """Read the images of a draft by ranges of their shards, and check each."""
    images: list[bytes] = [b""] * len(rows)
    for wanted in _ranges(draft.sources, [row["size"] for row in rows]):
        position, begin, end = draft.sources[wanted[0]][0], *_span(draft, rows, wanted)
        name = dataset.version.shards[position].shard.name
        store = dataset.homes.of(name)
        data = store.get_bytes(name, begin, end - begin)
        for place in wanted:
            offset = draft.sources[place][1] - begin
            images[place] = data[offset : offset + rows[place]["size"]]
            if sha256_hex(images[place]) != rows[place]["sha256"]:
                where = f"{store.url}/{name}: {rows[place]['key']} view {rows[place]['view']} at {offset + begin}"
                raise CorruptError(f"{where} is damaged: its sha256 is {sha256_hex(images[place])}")
    return images


def _span(draft: Draft, rows: list[Row], wanted: list[int]) -> tuple[int, int]:
    last = wanted[-1]
    return draft.sources[wanted[0]][1], draft.sources[last][1] + rows[last]["size"]


def _ranges(sources: list[tuple[int, int]], sizes: list[int]) -> Iterator[list[int]]:
    """Put images that lie near each other into one read; returns their places, by position and offset."""
    run: list[int] = []
    for place in sorted(range(len(sources)), key=sources.__getitem__):
        position, offset = sources[place]
        if run:
            (before, first), last = sources[run[0]], run[-1]
            is_near = position == before and offset - (sources[last][1] + sizes[last]) <= _GAP_BYTES
            if not is_near or offset + sizes[place] - first > PART_BYTES:
                yield run
                run = []
        run.append(place)
    if run:
        yield run
