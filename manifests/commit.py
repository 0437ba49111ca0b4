"""The one writer of shards, and the rule that says which of them count.

A shard exists once its commit record does: tar, then rows, then record, all under names made of their content. Twins
that agree write equal names; where they differ, what a version names stays, else the lowest record name wins.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from manifests.canonical import canonical_json
from manifests.documents import CommitRecord, ShardFile
from manifests.errors import CorruptError, UserError, explained
from manifests.rows import write_rows
from manifests.schema import FORMAT, OK, rows_digest, view_table
from manifests.seeds import group_positive_id, prompt_positive_id
from manifests.shard import Member, file_sha256, write_tar
from manifests.store import Store
from manifests.version import named_files

__all__ = ["CommitLog", "CommitRecord", "Group", "ShardFile", "View", "commit_shard", "sample_key", "winners"]

MAX_VIEWS = 100
_RECORD_NAME = re.compile(r"commits/shard-\d{6,}-([0-9a-f]{16})\.json")


@dataclass(frozen=True)
class View:
    """One view's row and its encoded image; `data` is None where the view was quarantined or dropped."""

    row: dict[str, Any]
    data: bytes | None
    extension: str


@dataclass(frozen=True)
class Group:
    """All views of one thing, and what they share; written whole or, if one view failed, without members."""

    group: int
    views: list[View]
    prompt: str | None = None
    label: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def is_ok(self) -> bool:
        """Say whether every view has an image."""
        return all(view.data is not None for view in self.views)


def sample_key(stream_id: str, group: int) -> str:
    """Return a group's globally unique key."""
    return f"{stream_id[:8]}-{group:09d}"


def commit_shard(
    store: Store,
    *,
    stream_id: str,
    index: int,
    first_group: int,
    groups: Sequence[Group],
    numerics: Mapping[str, str],
    extra_types: Mapping[str, pa.DataType] | None = None,
    scratch: Path,
    is_copy: bool = False,
) -> CommitRecord:
    """Write one shard: fill in the rows, put tar, then rows, then the record; of a copy groups may be left out.

    Raises: UserError if the groups are not in order or of unequal size, or the store refuses.
    """
    _check_groups(groups, first_group, is_copy)
    rows = [_group_rows(stream_id, index, group) for group in groups]
    with explained(str(scratch)), tempfile.TemporaryDirectory(dir=scratch) as folder:
        tar, parquet = Path(folder, "shard.tar"), Path(folder, "rows.parquet")
        _fill_in_members(rows, write_tar(tar, _members(groups, rows)))
        table = view_table([row for group in rows for row in group], extra_types, is_copy=is_copy)
        write_rows(table, parquet)
        record = CommitRecord(
            format=FORMAT,
            stream_id=stream_id,
            index=index,
            first_group=first_group,
            groups=len(groups),
            groups_ok=sum(group.is_ok for group in groups),
            views=dict(Counter(table["status"].to_pylist())),
            shard=_put_named(store, tar, f"shards/shard-{index:06d}", ".tar"),
            rows=_put_named(store, parquet, f"views/shard-{index:06d}", ".parquet"),
            rows_digest=rows_digest(table),
            numerics=dict(numerics),
        )
    store.put_bytes(record.to_bytes(), record.object_name())
    return record


def _check_groups(groups: Sequence[Group], first_group: int, may_have_gaps: bool) -> None:
    numbers = [group.group for group in groups]
    is_rising = numbers == sorted(set(numbers)) and numbers[:1] == [first_group]
    if not (is_rising if may_have_gaps else numbers == list(range(first_group, first_group + len(groups)))):
        raise UserError(f"groups {numbers[:3]}… are not {first_group}, {first_group + 1}, … without a gap")
    sizes = {len(group.views) for group in groups}
    if len(sizes) > 1 or not all(1 <= size <= MAX_VIEWS for size in sizes):
        raise UserError(f"groups have {sorted(sizes)} views: all must have the same number, 1 to {MAX_VIEWS}")
    extensions = {tuple(view.extension for view in group.views) for group in groups if group.is_ok}
    if len(extensions) > 1:
        raise UserError(f"groups hold images of kinds {sorted(extensions)[:2]}: all samples must have the same members")


def _put_named(store: Store, local: Path, stem: str, suffix: str) -> ShardFile:
    sha256 = file_sha256(local)
    name = f"{stem}-{sha256[:12]}{suffix}"
    store.put_file(local, name)
    return ShardFile(name=name, sha256=sha256, size=local.stat().st_size)


def _group_rows(stream_id: str, index: int, group: Group) -> list[dict[str, Any]]:
    positive_id = _positive_id(stream_id, group)
    rows = []
    for number, view in enumerate(group.views):
        shared = {"prompt": group.prompt, "label": group.label, "role": "view" if number else "anchor", "attempts": 1}
        own = {"stream_id": stream_id, "group": group.group, "view": number, "shard": index}
        row = {"positive_id": positive_id, **shared, **group.extra, **view.row, **own}
        rows.append({**row, "key": sample_key(stream_id, group.group), **_status(group, view)})
    return rows


def _positive_id(stream_id: str, group: Group) -> int:
    return positive_id(stream_id, group.group, {view.row.get("prompt", group.prompt) for view in group.views})


def positive_id(stream_id: str, group: int, prompts: set[str | None]) -> int:
    """Return a group's id from the prompts of its views: shared by all groups of one prompt, else its own."""
    prompt = next(iter(prompts)) if len(prompts) == 1 else None
    return prompt_positive_id(prompt) if prompt else group_positive_id(stream_id, group)


def _status(group: Group, view: View) -> dict[str, Any]:
    if group.is_ok:
        return {"status": OK, "reason": None}
    if view.data is not None:
        return {"status": "dropped", "reason": "another view of the group was quarantined"}
    status = "dropped" if view.row.get("status") == "dropped" else "quarantined"
    return {"status": status, "reason": view.row.get("reason")}


def _members(groups: Sequence[Group], rows: list[list[dict[str, Any]]]) -> Iterator[tuple[str, bytes]]:
    for group, group_rows in zip(groups, rows, strict=True):
        if group.is_ok:
            key = group_rows[0]["key"]
            yield f"{key}.json", canonical_json(sample_json(group_rows))
            for number, view in enumerate(group.views):
                assert view.data is not None
                yield f"{key}.v{number:02d}.{view.extension}", view.data


def sample_json(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make a sample's json member from its rows: always the same keys and types, no nulls, 64-bit seeds as text."""
    first = rows[0]
    label = first.get("label")
    seeds = [row.get("view_seed") for row in rows]
    return {
        "key": first["key"],
        "group": first["group"],
        "positive_id": first["positive_id"],
        "prompt": first.get("prompt") or "",
        "label": -1 if label is None else label,
        "views": len(rows),
        "view_seeds": ["" if seed is None else str(seed) for seed in seeds],
        "generator": first.get("generator") or "",
        "split": first.get("split") or "",
    }


def _fill_in_members(rows: list[list[dict[str, Any]]], members: list[Member]) -> None:
    images = iter([member for member in members if not member.name.endswith(".json")])
    for row in (row for group in rows for row in group if row["status"] == OK):
        image = next(images)
        row |= {"member": image.name, "offset": image.offset, "size": image.size, "sha256": image.sha256}


class CommitLog:
    """The commit records of a folder; each is read once, however often one looks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records: dict[str, CommitRecord] = {}

    def records(self) -> dict[str, CommitRecord]:
        """Return all records by name, from one listing and reads of the new ones.

        Raises: CorruptError naming a record that is not what its name says.
        """
        names = [name for name, _ in self._store.list("commits") if _RECORD_NAME.fullmatch(name)]
        new = [name for name in names if name not in self._records]
        with ThreadPoolExecutor(8) as pool:
            self._records.update(zip(new, pool.map(self._read, new), strict=True))
        return {name: self._records[name] for name in names}

    def _read(self, name: str) -> CommitRecord:
        data = self._store.get_bytes(name)
        try:
            record = CommitRecord.model_validate_json(data)
        except ValidationError as error:
            raise CorruptError(f"{self._store.url}/{name} is no commit record: {error.errors()[0]['msg']}") from error
        if record.to_bytes() != data or record.object_name() != name:
            raise CorruptError(f"{self._store.url}/{name} is damaged: its content does not give its name; delete it")
        return record

    def winners(self, stream_id: str) -> dict[int, CommitRecord]:
        """Return the record that counts for each finished shard of a stream, by shard index.

        What a version names stays; among the others the lowest name wins.
        """
        named = named_files(self._store)
        found: dict[int, CommitRecord] = {}
        for _, record in sorted(self.records().items(), key=lambda item: (_files(item[1]) not in named, item[0])):
            if record.stream_id == stream_id:
                found.setdefault(record.index, record)
        return dict(sorted(found.items()))


def _files(record: CommitRecord) -> tuple[str, str]:
    return record.shard.name, record.rows.name


def winners(store: Store, stream_id: str) -> dict[int, CommitRecord]:
    """Return the record that counts for each finished shard of a stream, by shard index."""
    return CommitLog(store).winners(stream_id)
