"""Finished versions: published as immutable documents, beside copies and descriptions of the newest one.

The newest version is the one of the highest generation, then of the lowest root.
"""

from __future__ import annotations

from pydantic import ValidationError

from manifests.card import CardFacts, card_files
from manifests.documents import VersionDoc, VersionShard
from manifests.errors import CorruptError
from manifests.store import Store

__all__ = ["CardFacts", "VersionDoc", "VersionShard", "named_files", "newest", "publish", "read_version", "versions"]


def read_version(store: Store, root: str) -> VersionDoc:
    """Read one version and check that it is the one its name says.

    Raises: CorruptError.
    """
    name = f"versions/{root}.json"
    try:
        version = VersionDoc.model_validate_json(store.get_bytes(name))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise CorruptError(f"{store.url}/{name} is no version of format 1: {where}: {problem['msg']}") from error
    if version.root() != root:
        raise CorruptError(f"{store.url}/{name} is damaged: its content has the root {version.root()}")
    return version


def versions(store: Store) -> list[VersionDoc]:
    """Read all finished versions, the newest first."""
    names = [name for name, _ in store.list("versions") if name.endswith(".json")]
    found = [read_version(store, name.removeprefix("versions/").removesuffix(".json")) for name in names]
    return sorted(found, key=lambda version: (-version.generation, version.root()))


def newest(store: Store) -> VersionDoc | None:
    """Return the newest finished version, or None if there is none yet."""
    return next(iter(versions(store)), None)


def named_files(store: Store) -> frozenset[tuple[str, str]]:
    """Return the (tar, row file) names that finished versions name."""
    return frozenset((s.shard.name, s.rows.name) for version in versions(store) for s in version.shards)


def publish(store: Store, version: VersionDoc, *, card: CardFacts | None = None) -> str:
    """Put a finished version and return its root; the newest one's copy, card and lists are replaced.

    Running it again, also after a kill, changes nothing or completes what is missing.
    """
    root = version.root()
    store.put_bytes(version.to_bytes(), version.object_name())
    latest = newest(store)
    if latest is not None and latest.root() == root:
        for name, data in card_files(latest, card or CardFacts()).items():
            store.replace_bytes(data, name)
        store.replace_bytes(latest.to_bytes(), "dataset.json")
    return root
