"""Check a data set against itself: every promise that a version makes, one line for each that is broken.

Objects are read from the store, never from a cache: what is checked is what lies there.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from manifests.cache import check_file
from manifests.canonical import sha256_hex
from manifests.card import tar_names
from manifests.commit import CommitLog, sample_json, sample_key
from manifests.dataset import open_dataset
from manifests.documents import ShardFile, VersionDoc, VersionShard
from manifests.errors import CorruptError
from manifests.images import decode_image, pixel_hash
from manifests.rows import read_rows
from manifests.schema import OK, VIEW_SCHEMA, rows_digest
from manifests.shard import read_headers
from manifests.store import Store
from manifests.version import newest

_LINES_PER_SHARD = 20
_MEMBER_COLUMNS = ["member", "offset", "size", "sha256"]
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
    """Check hashes, sizes, counts, offsets, rows against members and the root; `deep` decodes every image.

    Raises: UserError if there is no finished version at `url`.
    """
    dataset = open_dataset(url, root=root)
    store, version = Store.open(url), dataset.version
    report = Report(store.url, dataset.root)
    report.problems += _description_problems(store, version)
    report.problems += _record_problems(store, version)
    for shard in version.shards:
        found = list(_shard_problems(store, version, shard, deep))
        left_off = len(found) - _LINES_PER_SHARD
        report.problems += found[:_LINES_PER_SHARD]
        report.problems += [f"{shard.shard.name}: and {left_off} more"] if left_off > 0 else []
        report.shards += 1
        report.groups += shard.groups_ok
        report.views += shard.views_ok
        report.bytes += shard.shard.size
    return report


def _description_problems(store: Store, version: VersionDoc) -> Iterator[str]:
    latest = newest(store)
    if latest is None or latest.root() != version.root():
        return  # an older version is not what the copies describe
    wanted = {"dataset.json": latest.to_bytes(), "shards.txt": "".join(f"{n}\n" for n in tar_names(latest)).encode()}
    for name, data in wanted.items():
        if not store.exists(name) or store.get_bytes(name) != data:
            yield f"{name}: not the copy of the newest version {latest.root()[:12]}; publish it again"


def _record_problems(store: Store, version: VersionDoc) -> Iterator[str]:
    if version.kind not in ("rendered", "adopted"):
        return
    try:
        committed = {VersionShard.of(record) for record in CommitLog(store).records().values()}
    except CorruptError as error:
        yield str(error)
        return
    for shard in version.shards:
        if shard not in committed:
            yield f"{shard.shard.name}: no commit record agrees with the version"


def _shard_problems(store: Store, version: VersionDoc, shard: VersionShard, deep: bool) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        try:
            parquet, problem = _fetched(store, shard.rows, Path(folder, "rows"))
            table = read_rows(parquet)
        except CorruptError as error:
            yield str(error)
            return
        yield from problem
        yield from _table_problems(version, shard, table)
        try:
            tar, problem = _fetched(store, shard.shard, Path(folder, "tar"))
        except CorruptError as error:
            yield str(error)
            return
        yield from problem
        yield from (f"{shard.shard.name}: {line}" for line in _tar_problems(tar, table, deep))


def _fetched(store: Store, file: ShardFile, scratch: Path) -> tuple[Path, list[str]]:
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
    counts = {"groups": len(table) // version.views_per_group, "groups_ok": statuses[OK] // version.views_per_group}
    for what, count in {**counts, "views_ok": statuses[OK]}.items():
        if count != getattr(shard, what):
            yield f"{name}: {count} {what}, expected {getattr(shard, what)}"
    yield from (f"{name}: {line}" for line in _order_problems(version, shard, table))


def _order_problems(version: VersionDoc, shard: VersionShard, table: pa.Table) -> Iterator[str]:
    rows = table.select(["stream_id", "shard", "group", "view", "key", "status", *_MEMBER_COLUMNS]).to_pylist()
    first = rows[0]["group"] if rows else 0
    for number, row in enumerate(rows):
        steps, view = divmod(number, version.views_per_group)
        expected = {"stream_id": shard.stream_id, "shard": shard.index, "group": first + steps, "view": view}
        expected["key"] = sample_key(shard.stream_id, first + steps)
        wrong = {column: row[column] for column, value in expected.items() if row[column] != value}
        if wrong:
            yield f"row {number} of {row['key']}: {wrong}, expected { ({c: expected[c] for c in wrong}) }"
        has_member = [row[column] is not None for column in _MEMBER_COLUMNS]
        if has_member != [row["status"] == OK] * len(_MEMBER_COLUMNS):
            yield f"row {number} of {row['key']}: status {row['status']} does not go with its member {row['member']!r}"


def _tar_problems(tar: Path, table: pa.Table, deep: bool) -> Iterator[str]:
    try:
        headers = {member.name: (member.offset, member.size) for member in read_headers(tar)}
    except CorruptError as error:
        yield str(error).partition(": ")[2]
        headers = None
    rows = [row for row in table.to_pylist() if row["status"] == OK]
    with tar.open("rb") as file:
        for key, group in groupby(rows, key=lambda row: str(row["key"])):
            views = list(group)
            for row in views:
                yield from (
                    f"{key} view {row['view']} at {row['offset']}: {e}" for e in _view_problems(file, row, deep)
                )
            if headers is not None:
                yield from (f"{key}: {line}" for line in _header_problems(file, headers, key, views))
    for name in headers or {}:
        yield f"the member {name} is in no row"


def _view_problems(file: BinaryIO, row: Row, deep: bool) -> Iterator[str]:
    file.seek(row["offset"])
    data = file.read(row["size"])
    if len(data) < row["size"]:
        yield f"the tar ends after {len(data)} of {row['size']} bytes"
    elif sha256_hex(data) != row["sha256"]:
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
    except ValueError:
        sample = None
    if sample != sample_json(views):
        yield f"{key}.json at {place[0]} does not say what the rows say"
