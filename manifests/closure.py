"""What belongs to a version: every object that a folder needs to hold it, in the order in which they may appear.

A reader of the target takes the newest version it finds. So a version is put after all that it names, the newest one
before its forebears, and the copies that are replaced come last: at no moment is half a version to be seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from manifests.commit import CommitLog
from manifests.documents import CommitRecord, ShardFile, VersionDoc
from manifests.errors import ConflictError, CorruptError
from manifests.store import Store
from manifests.version import read_version, version_roots

_STAGES = {"recipes": 1, "segments": 2, "commits": 3}  # all else may come first


@dataclass(frozen=True)
class Thing:
    """An immutable object of a data set; `file` has what its bytes must be, where a version says it."""

    name: str
    size: int
    file: ShardFile | None = None

    @property
    def stage(self) -> int:
        """Say when it may appear: after all things of earlier stages."""
        return _STAGES.get(self.name.partition("/")[0], 0)


def lineage(store: Store, version: VersionDoc) -> list[VersionDoc]:
    """Return a version and its forebears in the same folder, the newest first."""
    found, known = [version], set(version_roots(store))
    while found[-1].parent in known:
        found.append(read_version(store, str(found[-1].parent)))
    return found


def things(store: Store, versions: list[VersionDoc]) -> list[Thing]:
    """List what these versions of a folder need beside their documents, by stage.

    Raises: CorruptError for a commit record that is damaged.
    """
    named = {file.name: Thing(file.name, file.size, file) for version in versions for file in files(version)}
    shards = {shard.shard.name for version in versions for shard in version.shards}
    streams = {shard.stream_id for version in versions for shard in version.shards}
    sizes = dict(store.list("commits"))
    records = {name: record for name, record in CommitLog(store).records().items() if record.shard.name in shards}
    found = [*named.values(), *(Thing(name, sizes[name]) for name in records)]
    plans = ["segments"] if versions[0].kind == "rendered" else []
    found += [Thing(name, size) for folder in ("sources", *plans) for name, size in store.list(folder)]
    recipes = {f"recipes/{stream_id}.json" for stream_id in streams}
    found += [Thing(name, size) for name, size in store.list("recipes") if name in recipes]
    return sorted(found, key=lambda thing: (thing.stage, thing.name))


def files(version: VersionDoc) -> Iterator[ShardFile]:
    """Return every file that a version names with its hash."""
    for shard in version.shards:
        yield shard.shard
        yield shard.rows
    if version.selection is not None:
        yield version.selection.bits


def records_of(store: Store, version: VersionDoc) -> dict[str, CommitRecord]:
    """Return the commit records of a version's shards by the tars' names; none where a folder lacks them."""
    wanted = {shard.shard.name for shard in version.shards}
    try:
        records = CommitLog(store).records().values()
    except CorruptError:
        return {}
    return {record.shard.name: record for record in records if record.shard.name in wanted}


def check_target(target: Store, version: VersionDoc, kin: list[VersionDoc]) -> None:
    """Refuse a folder in which this version would not be the newest, or beside which other data lie.

    Raises: ConflictError naming what is there.
    """
    ours, streams = {one.root() for one in kin}, {shard.stream_id for shard in version.shards}
    there = {root: read_version(target, root) for root in version_roots(target)}
    for root, other in there.items():
        is_ahead = version.root() in _forebears(other, there)
        is_kin = root in ours or {shard.stream_id for shard in other.shards} <= streams
        if not is_ahead and (not is_kin or (root not in ours and other.generation >= version.generation)):
            raise ConflictError(
                f"{target.url} already holds other data (version {root[:12]}, {other.kind}, {other.groups_ok} groups): "
                "choose an empty folder"
            )
    for name, _ in target.list("recipes"):
        if not there and name.removeprefix("recipes/").removesuffix(".json") not in streams:
            raise ConflictError(f"{target.url} already holds another data set ({name}): choose an empty folder")


def _forebears(version: VersionDoc, known: dict[str, VersionDoc]) -> set[str]:
    found = {version.root()}
    while version.parent in known:
        version = known[version.parent]
        found.add(version.root())
    return found
