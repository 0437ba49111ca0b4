"""Removes what no version and no winning record names: the leavings of killed workers, zombies and lost races.

Only in a folder that holds a data set, and only what has a name that we give: a stranger's file is left alone.
To be run when no job renders into the folder: what a job has put and not yet recorded looks just like a leaving.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from factory.segments import stored_recipes
from factory.workshop import scratch_folder
from manifests.canonical import canonical_json, sha256_hex
from manifests.commit import CommitLog
from manifests.errors import UserError
from manifests.store import Store
from manifests.version import named_files, versions

FOLDERS = ("recipes", "sources", "segments", "shards", "views", "commits", "versions", "runs", "runs/attempts")
_SHARD_NAMES = {
    "shards": re.compile(r"shards/shard-\d{6,}-[0-9a-f]{12}\.tar"),
    "views": re.compile(r"views/shard-\d{6,}-[0-9a-f]{12}\.parquet"),
    "commits": re.compile(r"commits/shard-\d{6,}-[0-9a-f]{16}\.json"),
}
_SCRATCH_NAME = re.compile(r"tmp[a-z0-9_]{8}")  # as Python's tempfile names the folder of a shard in the making
_SCRATCH_FILES = ("shard.tar", "rows.parquet")


def clean(store: Store, *, dry_run: bool = False) -> list[str]:
    """Delete the leavings of a folder and return their names; `dry_run` only names them.

    Raises: UserError where there is no data set.
    """
    if not versions(store) and not any(_is_recipe(store, stream_id) for stream_id in stored_recipes(store)):
        raise UserError(f"{store.url}: clean of a folder that is no data set: it holds neither a version nor a recipe")
    found = [*orphans(store), *(name for folder in ("", *FOLDERS) for name in store.temporaries(folder))]
    scratch = scratch_folder(store) if store.is_local else None
    leavings = sorted(_leavings(scratch)) if scratch else []
    if not dry_run:
        for name in found:
            store.delete(name)
        for leaving in leavings:
            _remove(leaving)
    return [*found, *(f"runs/scratch/{leaving.name}" for leaving in leavings)]


def _is_recipe(store: Store, stream_id: str) -> bool:
    """Say whether a recipe is there that gives the stream its name; an adopted one has no identity of its own."""
    try:
        recipe = json.loads(store.get_bytes(f"recipes/{stream_id}.json"))
        return sha256_hex(canonical_json(recipe.get("identity", recipe))) == stream_id
    except (ValueError, AttributeError, RecursionError):
        return False


def orphans(store: Store) -> list[str]:
    """Name the shards, row files and records that do not count."""
    log = CommitLog(store)
    # A data set without recipes was adopted or merged: its streams are those that its versions name.
    streams = {*stored_recipes(store), *(s.stream_id for version in versions(store) for s in version.shards)}
    kept = {name for pair in named_files(store) for name in pair}
    for stream_id in streams:
        for record in log.winners(stream_id).values():
            kept |= {record.object_name(), record.shard.name, record.rows.name}
    found = ((name, form) for folder, form in _SHARD_NAMES.items() for name, _ in store.list(folder))
    return [name for name, form in found if form.fullmatch(name) and name not in kept]


def _leavings(scratch: Path) -> Iterator[Path]:
    """List the shards in the making; through a link we would leave the data set."""
    if scratch.is_dir() and not scratch.is_symlink():
        yield from (p for p in scratch.iterdir() if _SCRATCH_NAME.fullmatch(p.name) and not p.is_symlink())


def _remove(leaving: Path) -> None:
    for name in _SCRATCH_FILES:
        (leaving / name).unlink(missing_ok=True)
    with suppress(OSError):  # somebody else's file is in it
        leaving.rmdir()
        leaving.parent.rmdir()
