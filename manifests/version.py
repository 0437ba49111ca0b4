"""Finished versions: published as immutable documents, beside copies and descriptions of the newest one.

The newest version is the one of the highest generation, then of the lowest root.
"""

from __future__ import annotations

from pydantic import ValidationError

from manifests.card import CardFacts, GeneratorFacts, card_files
from manifests.documents import VersionDoc, VersionShard
from manifests.errors import ConflictError, CorruptError
from manifests.store import Store

__all__ = [
    "CardFacts",
    "GeneratorFacts",
    "VersionDoc",
    "VersionShard",
    "named_files",
    "newest",
    "publish",
    "read_version",
    "sound_versions",
    "version_roots",
    "versions",
]


def read_version(store: Store, root: str) -> VersionDoc:
    """Read one version and check that it is the one its name says.

    Raises: CorruptError.
    """
    name = f"versions/{root}.json"
    data = store.get_bytes(name)
    try:
        version = VersionDoc.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise CorruptError(f"{store.url}/{name} is no version of format 1: {where}: {problem['msg']}") from error
    except CorruptError as error:  # a name in it
        raise CorruptError(f"{store.url}/{name} is no version of format 1: {error}") from error
    if version.root() != root:
        raise CorruptError(f"{store.url}/{name} is damaged: its content has the root {version.root()}")
    return version


def versions(store: Store) -> list[VersionDoc]:
    """Read all finished versions, the newest first.

    Raises: CorruptError naming the first one that is damaged.
    """
    found, damaged = sound_versions(store)
    if damaged:
        raise next(iter(damaged.values()))
    return found


def sound_versions(store: Store) -> tuple[list[VersionDoc], dict[str, CorruptError]]:
    """Read all finished versions: the sound ones, the newest first, and what is wrong with each other one, by root."""
    found, damaged = dict[str, VersionDoc](), dict[str, CorruptError]()
    for root in version_roots(store):
        try:
            found[root] = read_version(store, root)
        except CorruptError as error:
            damaged[root] = error
    return [found[root] for root in sorted(found, key=lambda root: (-found[root].generation, root))], damaged


def version_roots(store: Store) -> list[str]:
    """List the roots that a folder has versions of, unread."""
    names = [name for name, _ in store.list("versions") if name.endswith(".json")]
    return [name.removeprefix("versions/").removesuffix(".json") for name in names]


def newest(store: Store) -> VersionDoc | None:
    """Return the newest finished version, or None if there is none yet.

    Raises: CorruptError if another one is damaged and dataset.json does not say that it is an older one.
    """
    found, damaged = sound_versions(store)
    if damaged and not (found and _is_copied(store, found[0])):
        others = " or ".join(version.root() for version in found) or "there is none"
        raise CorruptError(
            f"{next(iter(damaged.values()))}; it may be the newest: ask for another by its root: {others}"
        )
    return next(iter(found), None)


def _is_copied(store: Store, version: VersionDoc) -> bool:
    return store.exists("dataset.json") and store.get_bytes("dataset.json") == version.to_bytes()


def named_files(store: Store) -> frozenset[tuple[str, str]]:
    """Return the (tar, row file) names that finished versions name.

    Raises: CorruptError if a version is damaged, since nobody knows then what it names.
    """
    return frozenset((s.shard.name, s.rows.name) for version in versions(store) for s in version.shards)


def publish(store: Store, version: VersionDoc, *, card: CardFacts | None = None) -> str:
    """Put a finished version and return its root; the newest one's copy, card and lists are replaced.

    Running it again, also after a kill, changes nothing or completes what is missing.
    Raises: ConflictError if the version is there under another name or licence: no root covers these.
    """
    root = version.root()
    store.put_bytes(version.to_bytes(), version.object_name())
    kept = read_version(store, root)
    if (kept.name, kept.licence) != (version.name, version.licence):
        raise ConflictError(
            f"{store.url}: version {root[:12]} stays as it was published, with name {kept.name!r} and licence "
            f"{kept.licence!r}, not {version.name!r} and {version.licence!r}: give the same, or choose an empty folder"
        )
    latest = newest(store)
    if latest is not None and latest.root() == root:
        for name, data in card_files(latest, card or CardFacts()).items():
            store.replace_bytes(data, name)
        store.replace_bytes(latest.to_bytes(), "dataset.json")
    return root
