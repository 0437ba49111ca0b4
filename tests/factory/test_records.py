"""What a driver keeps of each finished shard: the same record, in little memory."""

from __future__ import annotations

import tracemalloc

from factory.numerics import distinct
from factory.records import Records
from manifests.canonical import sha256_hex
from manifests.commit import CommitRecord, ShardFile

SHARDS = 500


def record(index: int) -> CommitRecord:
    one, other = (sha256_hex(f"{name}{index}".encode()) for name in "ab")
    return CommitRecord(
        format=1,
        stream_id="5" * 64,
        index=index,
        first_group=index,
        groups=1,
        groups_ok=1,
        views={"ok": 3, "nan": 1},
        shard=ShardFile(name=f"shards/shard-{index:06d}-{one[:12]}.tar", sha256=one, size=10240 + index),
        rows=ShardFile(name=f"views/shard-{index:06d}-{other[:12]}.parquet", sha256=other, size=20000),
        rows_digest=one,
        numerics={"torch": "2", "device": "cpu of today", "encoder": "webp ü"},
    )


def test_records_come_back_as_they_were() -> None:
    given = {index: record(index) for index in (3, 0, 7)}
    kept = Records(given)
    assert dict(kept) == given
    assert kept[3].object_name() == given[3].object_name()
    assert list(kept) == [3, 0, 7]
    assert len(kept) == 3
    assert 7 in kept
    assert 1 not in kept
    kept[7] = record(7).model_copy(update={"groups_ok": 0})
    assert kept[7].groups_ok == 0
    del kept[7]
    assert 7 not in kept


def test_a_kept_record_takes_little_memory() -> None:
    sent = [record(index).to_bytes() for index in range(SHARDS)]
    tracemalloc.start()
    kept = Records({})
    for index, one in enumerate(sent):
        kept[index] = CommitRecord.model_validate_json(one)
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == SHARDS
    assert held_bytes / SHARDS < 1500  # parsed ones take five thousand


def test_numerics_are_told_apart_in_any_order() -> None:
    assert distinct([]) == []
    assert distinct([{"a": "1", "b": "2"}, {"b": "2", "a": "1"}, {"a": "2"}]) == [{"a": "1", "b": "2"}, {"a": "2"}]
