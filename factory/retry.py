"""Forgets shards whose views were quarantined for a reason, so that the next run of the same command draws them again.

Only records go, and only those of shards that no version names: what a version names stays. A recipe's own seeds give
the same images again, so this helps where the cause lay outside: a device that gave NaN, a batch of broken nodes.
To be run when no job renders into the folder.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from factory.segments import read_segments
from manifests.commit import CommitRecord, winners
from manifests.errors import UserError
from manifests.store import Store
from manifests.version import named_files


@dataclass(frozen=True)
class Retry:
    """What a retry forgets, and what it has to leave."""

    forgotten: list[str]  # names of records
    views: int  # that were quarantined for the reason, in them
    kept_shards: int  # that a version names


def retry(store: Store, reason: str, *, dry_run: bool = False) -> Retry:
    """Forget the shards in which a view's reason holds a word, such as nan, blank or flagged.

    Raises: UserError where nothing was rendered, or no view was quarantined for this reason.
    """
    segments = read_segments(store)
    if not segments:
        raise UserError(f"{store.url}: nothing was ever rendered here (no segments/)")
    named, found, kept = named_files(store), dict[str, int](), 0
    seen: Counter[str] = Counter()
    for record in winners(store, segments[0].stream_id).values():
        reasons = _reasons(store, record)
        seen.update(reasons)
        count = sum(number for text, number in reasons.items() if _is_meant(text, reason))
        if count and (record.shard.name, record.rows.name) in named:
            kept += 1
        elif count:
            found[record.object_name()] = count
    if not found and not kept:
        known = ", ".join(f"{text} ({count})" for text, count in seen.most_common(8)) or "nothing"
        raise UserError(f"{store.url}: no view was quarantined for {reason!r}; quarantined: {known}")
    if not dry_run:
        for name in found:
            store.delete(name)
    return Retry(sorted(found), sum(found.values()), kept)


def _is_meant(text: str, reason: str) -> bool:
    """Match a whole word of a reason such as "nan, 2 x blank"."""
    return reason in {part.split(" x ")[-1].strip() for part in text.split(",")} or reason == text


def _reasons(store: Store, record: CommitRecord) -> Counter[str]:
    if not record.views.get("quarantined"):
        return Counter()
    table = pq.read_table(pa.BufferReader(store.get_bytes(record.rows.name)), columns=["status", "reason"])
    return Counter(row["reason"] or "unknown" for row in table.to_pylist() if row["status"] == "quarantined")
