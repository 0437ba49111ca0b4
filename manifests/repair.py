"""Mends a data set from a peer that has the same bytes: what is absent or damaged is fetched, checked and put."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from manifests.cache import ShardCache, check_file
from manifests.canonical import sha256_hex
from manifests.closure import Thing, lineage, things
from manifests.dataset import DataSet
from manifests.errors import CorruptError, StoreError, UserError
from manifests.patience import PatientStore
from manifests.places import Homes
from manifests.store import Store
from manifests.transfer import JOBS, Progress, copy_thing, copy_things, describe
from manifests.version import read_version, version_roots


def damaged(store: Store, version_files: list[Thing]) -> Iterator[tuple[Thing, str]]:
    """Return the objects that are absent or not what they should be, each with what is wrong."""
    for thing in version_files:
        try:
            _check(store, thing)
        except (CorruptError, StoreError) as error:
            yield thing, str(error)


def _check(store: Store, thing: Thing) -> None:
    assert thing.file is not None
    local = store.local_path(thing.name)
    label = f"{store.url}/{thing.name}"
    if local is not None:
        if not local.is_file():
            raise CorruptError(f"{label} is absent")
        return check_file(local, label, thing.file.size, thing.file.sha256)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "object")
        store.get_file(thing.name, path)
        return check_file(path, label, thing.file.size, thing.file.sha256)


def repair(
    url: str | Path,
    peer: str | Path,
    *,
    root: str | None = None,
    jobs: int = JOBS,
    dry_run: bool = False,
    progress: Progress = lambda size, objects: None,
    begin: Progress = lambda size, objects: None,
) -> list[str]:
    """Fetch from a peer what the folder's newest version, or one with a root, lacks; returns what was mended, in words.

    `begin` is told how many bytes and objects there are to fetch, before the first. With `dry_run` nothing is written.

    Raises: UserError if the peer has not that version; CorruptError naming an object that is damaged there too.
    """
    store, other = PatientStore.open(url), PatientStore.open(peer)
    version = read_version(other, _root(store, other, root))
    kin = lineage(other, version)
    wanted = things(other, kin)
    broken = list(damaged(store, [thing for thing in wanted if thing.file is not None]))
    sizes = {name: size for folder in _folders(wanted) for name, size in store.list(folder)}
    absent = [thing for thing in wanted if thing.file is None and thing.name not in sizes]
    documents = _damaged_documents(store, other)
    fetched = [*absent, *(thing for thing in wanted if thing.name in documents)]
    lacked = [*(thing for thing, _ in broken), *fetched]
    begin(sum(thing.size for thing in lacked), len(lacked))
    told = [problem for _, problem in broken]
    told += [f"{store.url}/{name} is damaged" for name in documents]
    told += [f"{store.url}/{thing.name} is absent" for thing in absent]
    if dry_run:
        _check_there(store, other, lacked)
        return told
    for thing, _ in broken:
        copy_thing(other, store, thing, is_mended=True)
        progress(thing.size, 1)
    for name in documents:
        store.delete(name)
    copy_things(other, store, fetched, jobs=jobs, progress=progress)
    for one in kin:
        store.put_bytes(one.to_bytes(), one.object_name())
    dataset = DataSet(Homes(store), version, ShardCache.default())
    describe(dataset, other, store, version)
    return told


def _folders(wanted: list[Thing]) -> list[str]:
    return sorted({thing.name.partition("/")[0] for thing in wanted})


def _root(store: Store, peer: Store, root: str | None) -> str:
    """Choose the version to mend: the one asked for, else the peer's newest of those that are here."""
    there = version_roots(peer)
    mine = set(version_roots(store))
    chosen = [one for one in there if (one.startswith(root) if root else one in mine)]
    found = sorted((read_version(peer, one) for one in chosen), key=lambda v: (-v.generation, v.root()))
    if not found:
        raise UserError(f"{peer.url}: it has no version {root or 'that ' + store.url + ' has'}: there are {there}")
    return found[0].root()


def _check_there(store: Store, peer: Store, lacked: list[Thing]) -> None:
    """Look without fetching: the folder can be written, and the peer's objects are as long as they should be."""
    Store.open(store.url, create=True, dry_run=True)
    for thing in lacked:
        found = peer.size(thing.name)
        if found != thing.size:
            raise CorruptError(f"{peer.url}/{thing.name} has {found} bytes, expected {thing.size}: damaged there too")


def _damaged_documents(store: Store, peer: Store) -> list[str]:
    """Name versions, records, recipes and sources whose bytes are not the peer's: they go, and are put again."""
    found = []
    for folder in ("versions", "commits", "recipes", "segments", "sources"):
        for name in sorted({name for name, _ in store.list(folder)} & {name for name, _ in peer.list(folder)}):
            if sha256_hex(store.get_bytes(name)) != sha256_hex(peer.get_bytes(name)):
                found.append(name)
    return found
