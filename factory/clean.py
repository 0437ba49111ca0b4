"""Removes what no version and no winning record names: the leavings of killed workers, zombies and lost races.

To be run when no job renders into the folder: what a job has put and not yet recorded looks just like a leaving.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator

from factory.segments import stored_recipes
from factory.workshop import scratch_folder
from manifests.commit import CommitLog
from manifests.store import Store
from manifests.version import named_files, versions

FOLDERS = ("recipes", "sources", "segments", "shards", "views", "commits", "versions", "runs", "runs/attempts")


def clean(store: Store, *, dry_run: bool = False) -> list[str]:
    """Delete the leavings of a folder and return their names; `dry_run` only names them."""
    found = [*orphans(store), *(name for folder in ("", *FOLDERS) for name in store.temporaries(folder))]
    scratch = scratch_folder(store) if store.is_local else None
    leavings = sorted(path.name for path in scratch.iterdir()) if scratch and scratch.is_dir() else []
    if not dry_run:
        for name in found:
            store.delete(name)
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
    return [*found, *(f"runs/scratch/{name}" for name in leavings)]


def orphans(store: Store) -> list[str]:
    """Name the shards, row files and records that do not count."""
    log = CommitLog(store)
    # A data set without recipes was adopted or merged: its streams are those that its versions name.
    streams = {*stored_recipes(store), *(s.stream_id for version in versions(store) for s in version.shards)}
    kept = {name for pair in named_files(store) for name in pair}
    for stream_id in streams:
        for record in log.winners(stream_id).values():
            kept |= {record.object_name(), record.shard.name, record.rows.name}
    return [name for folder in ("shards", "views", "commits") for name in _not_in(kept, store.list(folder))]


def _not_in(kept: set[str], listing: Iterable[tuple[str, int]]) -> Iterator[str]:
    return (name for name, _ in listing if name not in kept)
