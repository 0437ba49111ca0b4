"""Check a data set against itself: every promise that a version makes, one line for each that is broken.

Objects are read from the store, never from a cache: what is checked is what lies there.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from manifests.cache import check_file
from manifests.canonical import sha256_hex
from manifests.card import tar_names
from manifests.commit import CommitLog, positive_id, sample_json, sample_key
from manifests.dataset import DataSet, open_dataset
from manifests.documents import CommitRecord, ShardFile, VersionDoc, VersionShard
from manifests.errors import CorruptError
from manifests.images import decode_image, pixel_hash
from manifests.lineage import lineage_problems
from manifests.places import Homes
from manifests.rows import read_rows
from manifests.schema import OK, VIEW_SCHEMA, rows_digest
from manifests.shard import read_headers
from manifests.store import Store
from manifests.verify_selection import homeless, selected_rows, selection_problems, unusable_problems
from manifests.version import sound_versions

_LINES_PER_SHARD = 20
_MEMBER_COLUMNS = ["member", "offset", "size", "sha256"]
_PLACE_COLUMNS = ["stream_id", "shard", "group", "view", "key", "status", "positive_id", "prompt", "label"]
_PLACE_COLUMNS += _MEMBER_COLUMNS
_STATUSES = {OK, "quarantined", "dropped"}
_REQUIRED = [field.name for field in VIEW_SCHEMA if not field.nullable]

Row = dict[str, Any]


@dataclass
class Report:
    """What was looked at, and one line for every broken promise."""

    url: str
    root: str
    problems: list[str] = field(default_factory=list)
    shards: int = 0
    groups: int = 0
    views: int = 0
    bytes: int = 0

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(asdict(self), indent=2)


def verify(url: str | Path, *, deep: bool = False, root: str | None = None) -> Report:
    """Check hashes, sizes, counts, offsets, rows against members, origin and root; `deep` decodes every image.

    Raises: UserError if there is no finished version at `url`.
    """
    dataset = open_dataset(url, root=root)
    store, version = Store.open(url), dataset.version
    report = Report(store.url, dataset.root)
    versions, damaged = sound_versions(store)
    report.problems += map(str, damaged.values())
    report.problems += _description_problems(store, version, versions[0])
    try:
        records = list(CommitLog(store).records().values())
        report.problems += _record_problems(version, records)
    except CorruptError as error:
        records = []
        report.problems.append(str(error))
    report.problems += lineage_problems(store, version, records)
    report.problems += selection_problems(dataset) if version.selection or version.parts else []
    seen: dict[str, set[int]] = defaultdict(set)
    unreached, told = homeless(dataset)
    report.problems += told
    for position, shard in enumerate(version.shards):
        is_here = position not in unreached
        found = list(_shard_problems(dataset, position, seen[shard.stream_id], deep)) if is_here else []
        left_off = len(found) - _LINES_PER_SHARD
        report.problems += found[:_LINES_PER_SHARD]
        report.problems += [f"{shard.shard.name}: and {left_off} more"] if left_off > 0 else []
        report.shards += 1
        report.bytes += shard.shard.size
    report.groups, report.views = version.groups_ok, version.views_ok
    return report


def _description_problems(store: Store, version: VersionDoc, latest: VersionDoc) -> Iterator[str]:
    if latest.root() != version.root():
        return  # an older version is not what the copies describe
    wanted = {"dataset.json": latest.to_bytes()}
    if latest.selection is None:
        wanted["shards.txt"] = "".join(f"{name}\n" for name in tar_names(latest)).encode()
    for name, data in wanted.items():
        if not store.exists(name) or store.get_bytes(name) != data:
            yield f"{name}: not the copy of the newest version {latest.root()[:12]}; publish it again"


def _record_problems(version: VersionDoc, records: list[CommitRecord]) -> Iterator[str]:
    if version.kind in ("selected", "merged"):
        return
    committed = {VersionShard.of(record) for record in records}
    for shard in version.shards:
        if shard not in committed:
            yield f"{shard.shard.name}: no commit record agrees with the version"


def _shard_problems(dataset: DataSet, position: int, seen: set[int], deep: bool) -> Iterator[str]:
    version, shard = dataset.version, dataset.version.shards[position]
    with tempfile.TemporaryDirectory() as folder:
        try:
            parquet, problem = _fetched(dataset.homes, shard.rows, Path(folder, "rows"))
            expected = shard.groups * version.views_per_group
            table = read_rows(parquet, expected=expected, label=shard.rows.name)
        except CorruptError as error:
            yield str(error)
            return
        yield from problem
        yield from _table_problems(version, shard, table)
        shown = selected_rows(dataset, position, table)
        yield from (f"{shard.rows.name}: {line}" for line in _twice(shown, seen))
        if version.selection:
            yield from (f"{shard.rows.name}: {line}" for line in unusable_problems(dataset, position, table))
        try:
            tar, problem = _fetched(dataset.homes, shard.shard, Path(folder, "tar"))
        except CorruptError as error:
            yield str(error)
            return
        yield from problem
        yield from (f"{shard.shard.name}: {line}" for line in _tar_problems(tar, table, deep))


def _fetched(homes: Homes, file: ShardFile, scratch: Path) -> tuple[Path, list[str]]:
    store = homes.of(file.name)
    local = store.local_path(file.name)
    if local is None:
        store.get_file(file.name, scratch)
    elif not local.is_file():
        raise CorruptError(f"{file.name} is absent")
    try:
        check_file(local or scratch, file.name, file.size, file.sha256)
    except CorruptError as error:
        return local or scratch, [str(error)]
    return local or scratch, []


def _table_problems(version: VersionDoc, shard: VersionShard, table: pa.Table) -> Iterator[str]:
    name = shard.rows.name
    found = rows_digest(table)
    if found != shard.rows_digest:
        yield f"{name}: its rows have the digest {found}, expected {shard.rows_digest}"
    empty = [column for column in _REQUIRED if table[column].null_count]
    if empty:
        yield f"{name}: nulls in {empty}"
        return
    statuses = Counter(table["status"].to_pylist())
    for what, count in {"groups_ok": statuses[OK] // version.views_per_group, "views_ok": statuses[OK]}.items():
        if count != getattr(shard, what):
            yield f"{name}: {count} {what}, expected {getattr(shard, what)}"
    yield from (f"{name}: {line}" for line in _order_problems(version, shard, table))


def _twice(table: pa.Table, seen: set[int]) -> Iterator[str]:
    groups = set(table["group"].drop_null().to_pylist())
    if groups & seen:
        yield f"{len(groups & seen)} groups, such as {min(groups & seen)}, are in an earlier shard of the stream too"
    seen |= groups


def _order_problems(version: VersionDoc, shard: VersionShard, table: pa.Table) -> Iterator[str]:
    rows, k = table.select(_PLACE_COLUMNS).to_pylist(), version.views_per_group
    has_gaps = version.kind not in ("rendered", "adopted")
    first, before = rows[0]["group"] if rows else 0, -1
    labels = range(len(version.label_names) or 1 << 63)  # without names any number will do
    for number, row in enumerate(rows):
        steps, view = divmod(number, k)
        group = first + steps
        if has_gaps:  # a part of a stream: any group after the one before
            group = rows[number - view]["group"] if rows[number - view]["group"] > before else before + 1
            before = group if view == k - 1 else before
        expected = {"stream_id": shard.stream_id, "shard": shard.index, "group": group, "view": view}
        expected["key"] = sample_key(shard.stream_id, group)
        if row["status"] == OK:
            expected["member"] = f"{expected['key']}.v{view:02d}.{version.extension}"
        wrong = {column: row[column] for column, value in expected.items() if row[column] != value}
        if wrong:
            yield f"row {number} of {row['key']}: {wrong}, expected { ({c: expected[c] for c in wrong}) }"
        if row["label"] is not None and row["label"] not in labels:
            yield f"row {number} of {row['key']}: label {row['label']}, expected {labels.start} to {labels.stop - 1}"
        has_member = [row[column] is not None for column in _MEMBER_COLUMNS]
        if has_member != [row["status"] == OK] * len(_MEMBER_COLUMNS):
            yield f"row {number} of {row['key']}: status {row['status']} does not go with its member {row['member']!r}"
    for start in range(0, len(rows), k):
        yield from _group_problems(shard, rows[start : start + k])


def _group_problems(shard: VersionShard, rows: list[Row]) -> Iterator[str]:
    key = rows[0]["key"]
    statuses = {row["status"] for row in rows}
    if (OK in statuses and len(statuses) > 1) or not statuses <= _STATUSES:
        yield f"{key}: its views are {sorted(statuses)}: expected all {OK}, or each quarantined or dropped"
    found = {row["positive_id"] for row in rows}
    expected = positive_id(shard.stream_id, rows[0]["group"], {row["prompt"] for row in rows})
    if found != {expected}:
        yield f"{key}: positive_id {sorted(found)}, expected {expected}"


def _tar_problems(tar: Path, table: pa.Table, deep: bool) -> Iterator[str]:
    rows = [row for row in table.to_pylist() if row["status"] == OK and None not in map(row.get, _MEMBER_COLUMNS)]
    with tar.open("rb") as file:
        for row in rows:
            where = f"{row['key']} view {row['view']} at {row['offset']}"
            yield from (f"{where}: {line}" for line in _view_problems(file, row, deep))
        try:
            members = read_headers(tar)
        except CorruptError as error:
            yield str(error).partition(": ")[2]
            return
        headers = {member.name: (member.offset, member.size) for member in members}
        names, counts = list(headers), Counter(member.name for member in members)
        yield from (f"the member {name} is there {n} times" for name, n in counts.items() if n > 1)
        samples = [(str(key), list(views)) for key, views in groupby(rows, key=lambda row: row["key"])]
        for key, views in samples:
            yield from (f"{key}: {line}" for line in _header_problems(file, headers, key, views))
    yield from (f"the member {name} is in no row" for name in headers)
    ordered = [name for key, views in samples for name in (f"{key}.json", *(row["member"] for row in views))]
    if names != ordered and sorted(names) == sorted(ordered):
        yield "its members are not in the order of the rows"


def _view_problems(file: BinaryIO, row: Row, deep: bool) -> Iterator[str]:
    offset, size = row["offset"], row["size"]
    if offset < 0 or size < 0:
        yield f"no place in a tar (size {size})"
        return
    left = max(os.fstat(file.fileno()).st_size - offset, 0)
    if left < size:
        yield f"the tar ends after {left} of {size} bytes"
        return
    file.seek(offset)
    data = file.read(size)
    if sha256_hex(data) != row["sha256"]:
        yield f"sha256 {sha256_hex(data)}, expected {row['sha256']}"
    elif deep:
        yield from _pixel_problems(data, row)


def _pixel_problems(data: bytes, row: Row) -> Iterator[str]:
    try:
        pixels = decode_image(data)
    except CorruptError as error:
        yield str(error)
        return
    height, width, _ = pixels.shape
    if (width, height) != (row["width"], row["height"]):
        yield f"{width} x {height} px, expected {row['width']} x {row['height']}"
    is_lossless = (row["codec"] or "").startswith("png") or "lossless" in (row["codec"] or "")
    if is_lossless and row["pixel_hash"] not in (None, pixel_hash(pixels)):
        yield f"pixel_hash {pixel_hash(pixels)}, expected {row['pixel_hash']}"


def _header_problems(file: BinaryIO, headers: dict[str, tuple[int, int]], key: str, views: list[Row]) -> Iterator[str]:
    """Take a sample's members out of `headers` and compare them with its rows."""
    for row in views:
        expected = (row["offset"], row["size"])
        found = headers.pop(row["member"], None)
        if found != expected:
            yield f"the tar has {row['member']} at (offset, size) {found}, expected {expected}"
    place = headers.pop(f"{key}.json", None)
    if place is None:
        yield f"no member {key}.json"
        return
    file.seek(place[0])
    try:
        sample = json.loads(file.read(place[1]))
    except (ValueError, RecursionError):
        sample = None
    if sample != sample_json(views):
        yield f"{key}.json at {place[0]} does not say what the rows say"
