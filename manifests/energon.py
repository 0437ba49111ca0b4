"""What Megatron-Energon keeps beside a WebDataset folder: `.nv-meta/` and an index of each tar, from the rows alone.

`energon prepare` would read every tar. All of it can be thrown away and made again; no hash of ours covers it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from manifests.canonical import canonical_json
from manifests.commit import sample_json
from manifests.dataset import DataSet
from manifests.documents import VersionShard
from manifests.errors import UserError, explained
from manifests.schema import OK
from manifests.shard import member_offsets, padded
from manifests.store import Store

_TABLES = """
CREATE TABLE samples (tar_file_id INTEGER NOT NULL, sample_key TEXT NOT NULL UNIQUE, sample_index INTEGER NOT NULL,
    byte_offset INTEGER, byte_size INTEGER);
CREATE TABLE sample_parts (tar_file_id INTEGER, sample_index INTEGER, part_name TEXT, content_byte_offset INTEGER,
    content_byte_size INTEGER);
"""
_INDEXES = """
CREATE INDEX idx_samples_by_tar_and_idx ON samples(tar_file_id, sample_index);
CREATE INDEX idx_sample_parts_seq ON sample_parts(tar_file_id, sample_index, content_byte_offset);
CREATE INDEX idx_sample_parts_full ON sample_parts(tar_file_id, sample_index, part_name, content_byte_offset,
    content_byte_size);
"""
Row = dict[str, Any]


def write_energon(dataset: DataSet) -> Path:
    """Write what Energon needs into a local folder with the data set's own shards; returns `.nv-meta`.

    Raises: UserError for a bucket, or a view or union, whose tars hold other groups as well.
    """
    store = Store.open(dataset.url)
    if not store.is_local or dataset.version.kind in ("selected", "merged"):
        raise UserError(f"{dataset.url}: Energon's index is for a local folder with shards of its own: pull it first")
    folder = Path(str(store.local_path("dataset.json"))).parent
    meta = folder / ".nv-meta"
    shards = [(position, shard) for position, shard in enumerate(dataset.version.shards) if shard.groups_ok]
    with explained(str(meta), is_target=True):
        meta.mkdir(exist_ok=True)
        _write_index(dataset, shards, folder, meta)
        names = {shard.shard.name: shard.groups_ok for _, shard in shards}
        gone = _excluded(dataset, shards)
        _put(meta / ".info.json", json.dumps({"shard_counts": names}, indent=2))
        splits: dict[str, Any] = {"split_parts": {"train": list(names), "val": [], "test": []}, "exclude": gone}
        _put(meta / "split.yaml", yaml.safe_dump(splits, sort_keys=False))
        kind = {"__module__": "megatron.energon", "__class__": "CrudeWebdataset"}
        _put(meta / "dataset.yaml", yaml.safe_dump(kind, sort_keys=False))
    return meta


def _put(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _write_index(dataset: DataSet, shards: list[tuple[int, VersionShard]], folder: Path, meta: Path) -> None:
    part = meta / "index.sqlite.part"
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(part)) as database:
        database.executescript(_TABLES)
        for number, (position, shard) in enumerate(shards):
            starts = _index_shard(database, number, _samples(dataset, position))
            idx = folder / f"{shard.shard.name}.idx"
            temporary = idx.with_name(f"{idx.name}.part")
            temporary.write_bytes(struct.pack(f"<{len(starts)}Q", *starts))
            os.replace(temporary, idx)
        database.executescript(_INDEXES)
        database.commit()
    os.replace(part, meta / "index.sqlite")
    _put(meta / "index.uuid", str(uuid.uuid5(uuid.NAMESPACE_URL, f"viewmill:{dataset.root}")))


def _samples(dataset: DataSet, position: int) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Return each sample of a tar, also of groups that were taken down: its key, and its members' endings and sizes."""
    rows: list[Row] = [row for row in dataset.stored_rows(position).to_pylist() if row["status"] == OK]
    k = dataset.version.views_per_group
    for start in range(0, len(rows), k):
        views = rows[start : start + k]
        members = [("json", len(canonical_json(sample_json(views))))]
        members += [(row["member"].partition(".")[2], row["size"]) for row in views]
        yield views[0]["key"], members


def _index_shard(
    database: sqlite3.Connection, number: int, samples: Iterator[tuple[str, list[tuple[str, int]]]]
) -> list[int]:
    """Note where each sample of a tar lies; returns where they begin, and where the last one ends."""
    starts = [0]
    for index, (key, members) in enumerate(samples):
        offsets = member_offsets([size for _, size in members], starts[-1])
        end = offsets[-1] + padded(members[-1][1])
        place = (number, key, index, starts[-1], end - starts[-1])
        database.execute("INSERT INTO samples VALUES (?, ?, ?, ?, ?)", place)
        parts = [(number, index, ending, o, size) for (ending, size), o in zip(members, offsets, strict=True)]
        database.executemany("INSERT INTO sample_parts VALUES (?, ?, ?, ?, ?)", parts)
        starts.append(end)
    return starts


def _excluded(dataset: DataSet, shards: list[tuple[int, VersionShard]]) -> list[str]:
    """Name the samples that were taken down, as Energon has it: tar and key."""
    gone, found = set(dataset.version.tombstones), []
    for position, shard in shards if gone else []:
        keys = set(dataset.stored_rows(position, ["key"])["key"].to_pylist()) & gone
        found += [f"{shard.shard.name}/{key}" for key in sorted(keys)]
    return found
