"""Sharing at size: select over ten million rows, and opening, comparing and finding where there are 100,000 of a thing.

Tars are never opened by any of this, so there are none. Each is timed in a process of its own, with its peak memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa

from benchmarks.pairs import Row, peak_bytes

ROWS, ROWS_PER_SHARD, VIEWS = 10_000_000, 200_000, 2
SHARDS, RECORDS = 100_000, 10_000
STREAM, RUNS = "5a" * 32, 3
PLAIN_S, BOUND_BYTES = 10.0, 2_000_000_000  # "in seconds", "bounded memory"


def measure(out: Path) -> list[Row]:
    """Make the folders, then time each command's work; a rate of 1 is ten seconds, or two gigabytes."""
    with tempfile.TemporaryDirectory(dir=out) as folder:
        place = Path(folder)
        _rows_set(place / "rows")
        _shards_sets(place)
        _catalog(place / "catalog")
        rows = []
        for name, words in TASKS.items():
            runs = [_timed(words, place) for _ in range(RUNS)]
            seconds, peaks = sorted(run["seconds"] for run in runs), sorted(run["peak_bytes"] for run in runs)
            speeds = [PLAIN_S / second for second in reversed(seconds)]
            rows.append(
                Row(f"{name}: {PLAIN_S:.0f} s / time", median(speeds), speeds[0], speeds[-1], "ratio", 1.0, RUNS)
            )
            room = [BOUND_BYTES / peak for peak in reversed(peaks)]
            rows.append(Row(f"{name}: 2 GB / peak memory", median(room), room[0], room[-1], "ratio", 1.0, RUNS))
        return rows


TASKS = {
    f"share: select over {ROWS:,} rows": "select",
    f"share: open a set of {SHARDS:,} shards": "open",
    f"share: diff of two sets of {SHARDS:,} shards": "diff",
    f"share: search a catalog of {RECORDS:,} records": "search",
}


def _timed(task: str, place: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.share", task, str(place)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def _rows_set(folder: Path) -> None:
    """Write rows as a factory would, but for what nobody asks of them here."""
    from manifests.documents import ShardFile, VersionDoc, VersionShard
    from manifests.rows import write_rows
    from manifests.shard import file_sha256
    from manifests.store import Store
    from manifests.version import publish

    store = Store.open(folder, create=True)
    shards = []
    for index in range(ROWS // ROWS_PER_SHARD):
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch, "rows")
            write_rows(_table(index), local)
            name, size = f"views/shard-{index:06d}-{file_sha256(local)[:12]}.parquet", local.stat().st_size
            rows = ShardFile(name=name, sha256=file_sha256(local), size=size)
            store.put_file(local, name)
        groups = ROWS_PER_SHARD // VIEWS
        shards.append(
            VersionShard(
                stream_id=STREAM,
                index=index,
                shard=rows.model_copy(update={"name": f"shards/shard-{index:06d}-000000000000.tar"}),
                rows=rows,
                rows_digest=rows.sha256,
                groups=groups,
                groups_ok=groups,
                views_ok=ROWS_PER_SHARD,
            )
        )
    publish(store, VersionDoc(kind="rendered", shards=shards, views_per_group=VIEWS, extension="jpg"))


def _table(index: int) -> pa.Table:
    from manifests.schema import VIEW_SCHEMA

    first = index * ROWS_PER_SHARD
    number = np.arange(first, first + ROWS_PER_SHARD)
    group = number // VIEWS
    known = {
        "stream_id": pa.array([STREAM]).take(pa.array(np.zeros(ROWS_PER_SHARD, np.int64))),
        "group": pa.array(group),
        "view": pa.array((number % VIEWS).astype(np.int16)),
        "key": pa.array([f"{STREAM[:8]}-{one:09d}" for one in group.tolist()]),
        "positive_id": pa.array(group),
        "role": pa.array(["anchor", "view"]).take(pa.array(number % VIEWS)),
        "shard": pa.array(np.full(ROWS_PER_SHARD, index, np.int32)),
        "status": pa.array(["ok"]).take(pa.array(np.zeros(ROWS_PER_SHARD, np.int64))),
        "attempts": pa.array(np.ones(ROWS_PER_SHARD, np.int16)),
        "label": pa.array(group % 1000),
        "sigma": pa.array(number % 7 / 10),
        "prompt": pa.array([f"a drawing of thing {one % 5000}" for one in group.tolist()]),
    }
    columns = [known.get(field.name, pa.nulls(ROWS_PER_SHARD, field.type)) for field in VIEW_SCHEMA]
    return pa.Table.from_arrays(columns, schema=VIEW_SCHEMA)


def _shards_sets(place: Path) -> None:
    """Write two data sets of many shards that differ in one."""
    from manifests.documents import ShardFile, VersionDoc, VersionShard
    from manifests.store import Store
    from manifests.version import publish

    shards = []
    for index in range(SHARDS):
        digest = f"{index:064x}"
        tar = ShardFile(name=f"shards/shard-{index:06d}-000000000000.tar", sha256=digest, size=100_000_000)
        rows = ShardFile(name=f"views/shard-{index:06d}-000000000000.parquet", sha256=digest, size=1_000_000)
        counts = {"groups": 1024, "groups_ok": 1024, "views_ok": 4096}
        shards.append(VersionShard(stream_id=STREAM, index=index, shard=tar, rows=rows, rows_digest=digest, **counts))
    for name, held in (("many", shards), ("more", shards[:-1])):
        version = VersionDoc(kind="rendered", shards=held, views_per_group=4, extension="jpg")
        publish(Store.open(place / name, create=True), version)


def _catalog(folder: Path) -> None:
    from manifests.canonical import canonical_json
    from manifests.catalog import Record

    facts = {"url": "../data", "owner": "team", "kind": "rendered", "groups": 1, "images": 4, "views_per_group": 4}
    for number in range(RECORDS):
        name = f"set-{number:05d}"
        record = Record.model_validate(
            {"name": name, "version": "1", "root": f"{number:064x}", "size": 1, "shards": 1, "summary": name, **facts}
        )
        path = folder / record.object_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(canonical_json(record.model_dump()))


def _select(place: Path) -> None:
    from manifests import open_dataset, select

    view = select(open_dataset(place / "rows"), "label < 100 AND prompt LIKE '%7%' AND sigma < 2")
    assert 0 < view.version.groups_ok < ROWS // VIEWS


def _open(place: Path) -> None:
    from manifests import open_dataset

    assert len(open_dataset(place / "many").version.shards) == SHARDS


def _diff(place: Path) -> None:
    """Compare what is known unread; the one shard that differs has no rows here."""
    from manifests import open_dataset
    from manifests.difference import shared_shards

    first, second = open_dataset(place / "many"), open_dataset(place / "more")
    assert len(shared_shards(first, second)[0]) == SHARDS - 1


def _search(place: Path) -> None:
    from manifests.catalog import Catalog

    assert len(Catalog.open(str(place / "catalog")).search(["set-0420"])) == 10


def _run(task: str, place: Path) -> None:
    work: dict[str, Callable[[Path], None]] = {"select": _select, "open": _open, "diff": _diff, "search": _search}
    began = time.perf_counter()
    work[task](place)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    _run(sys.argv[1], Path(sys.argv[2]))
