"""How far a data set is, from its segments and commit records alone; the rate comes from the timings in runs/.

Only why views were refused is looked up in rows, and only in those of the shards that have such views.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factory.runs import read_runs
from factory.segments import read_segments
from manifests.commit import CommitRecord, winners
from manifests.errors import UserError
from manifests.store import Store
from manifests.version import newest


def status(store: Store, *, price_per_hour: float | None = None) -> dict[str, Any]:
    """Count what is done and what is left.

    Raises: UserError when nothing is being rendered there.
    """
    segments = read_segments(store)
    if not segments:
        raise UserError(f"{store.url}: nothing was ever rendered here (no segments/)")
    records = winners(store, segments[0].stream_id)
    views = count_views(records.values())
    groups, groups_done = sum(s.groups for s in segments), sum(r.groups for r in records.values())
    version, runs = newest(store), read_runs(store)
    left_images = sum(views.values()) / groups_done * (groups - groups_done) if groups_done else None
    facts = {
        "url": store.url,
        "stream_id": segments[0].stream_id,
        "shards": sum(s.shards for s in segments),
        "shards_done": len(records),
        "groups": groups,
        "groups_done": groups_done,
        "groups_ok": sum(r.groups_ok for r in records.values()),
        "views": views,
        "refused": refusals(store, records.values()),
        "root": version.root() if version else None,
        "attempts": runs.begun,
        "worker_hours": runs.worker_s / 3600,
        "gpu_hours": runs.gpu_s / 3600,
        "images_per_s": runs.images_per_s,
        "left_s": left_images / runs.images_per_s if runs.images_per_s and left_images is not None else None,
    }
    return facts | ({"cost": runs.worker_s / 3600 * price_per_hour} if price_per_hour is not None else {})


def count_views(records: Iterable[CommitRecord]) -> dict[str, int]:
    """Add up the views of each status."""
    counts: Counter[str] = Counter()
    for record in records:
        counts.update(record.views)
    return dict(sorted(counts.items()))


def refusals(store: Store, records: Iterable[CommitRecord]) -> Mapping[str, int]:
    """Count the quarantined views by reason."""
    counts: Counter[str] = Counter()
    for record in records:
        if record.views.get("quarantined"):
            table = pq.read_table(pa.BufferReader(store.get_bytes(record.rows.name)), columns=["status", "reason"])
            counts.update(row["reason"] or "unknown" for row in table.to_pylist() if row["status"] == "quarantined")
    return dict(counts.most_common())
