"""Copies a data set between folders and buckets: only what differs by content name, checked as it arrives.

Objects are immutable, so a copy that was killed goes on where it stopped. A version is put after all that it names.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from manifests.cache import check_file
from manifests.canonical import sha256_hex
from manifests.closure import Thing, check_target, lineage, things
from manifests.dataset import DataSet
from manifests.description import described
from manifests.documents import VersionDoc
from manifests.errors import CorruptError
from manifests.lineage import is_recipe, is_segment
from manifests.places import Homes
from manifests.shard import file_sha256
from manifests.store import Store
from manifests.version import newest, publish

PART_BYTES = 16 << 20  # of an object that is asked for at once, and again if the connection is cut
JOBS = 8

T = TypeVar("T")
Progress = Callable[[int, int], None]  # bytes just done, objects just done


@dataclass(frozen=True)
class Plan:
    """What a copy will move: whole objects, those that the target lacks."""

    source: str
    target: str
    root: str
    kind: str
    groups: int
    views: int
    missing: tuple[Thing, ...]
    there: int  # objects that the target has already

    @property
    def bytes(self) -> int:
        """Add up what will be moved."""
        return sum(thing.size for thing in self.missing)


def plan_copy(source: Store, target: Store, version: VersionDoc) -> tuple[Plan, list[VersionDoc]]:
    """Compare two folders; returns the plan, and the versions to put, the newest first.

    Raises: ConflictError if the target holds other data; CorruptError for an object there of another size.
    """
    is_stored = source.exists(version.object_name())
    kin = lineage(source, version) if is_stored else [version]
    check_target(target, version, kin)
    wanted = things(source, kin)
    folders = {thing.name.partition("/")[0] for thing in wanted}
    sizes: dict[str, int] = {}
    for folder in sorted(folders):
        sizes.update(target.list(folder))
    for thing in wanted:
        if sizes.get(thing.name, thing.size) != thing.size:
            raise CorruptError(
                f"{target.url}/{thing.name} has {sizes[thing.name]} bytes, expected {thing.size}: "
                f"run `python -m manifests repair {target.url} --from {source.url}` first"
            )
    missing = tuple(thing for thing in wanted if thing.name not in sizes)
    counts = (version.kind, version.groups_ok, version.views_ok)
    return Plan(source.url, target.url, version.root(), *counts, missing, len(wanted) - len(missing)), kin


def copy(
    dataset: DataSet, source: Store, target: Store, *, jobs: int = JOBS, progress: Progress = lambda size, objects: None
) -> str:
    """Copy a version with its own shards, word for word, and make it the target's newest; returns its root.

    Raises: StoreError naming an object that did not come in five tries; CorruptError naming one that is damaged.
    """
    plan, kin = plan_copy(source, target, dataset.version)
    copy_things(source, target, plan.missing, jobs=jobs, progress=progress)
    for version in kin:
        target.put_bytes(version.to_bytes(), version.object_name())
    copy_signatures(source, target, kin)
    shown = DataSet(Homes(target), dataset.version, dataset.cache) if target.is_local else dataset
    describe(shown, source, target, dataset.version)
    return plan.root


def copy_signatures(source: Store, target: Store, versions: Sequence[VersionDoc]) -> None:
    """Copy who signed these versions."""
    for version in versions:
        folder = f"signatures/{version.root()}"
        for name, _ in source.list(folder):
            data = source.get_bytes(name)
            target.put_bytes(data, name)


def describe(shown: DataSet, source: Store, target: Store, version: VersionDoc) -> None:
    """Write the target's card and lists from what a data set shows, if this version is the target's newest."""
    latest = newest(target)
    if latest is not None and latest.root() == version.root():
        facts = described(shown, source)
        publish(target, latest, card=facts)


def copy_things(source: Store, target: Store, wanted: Iterable[Thing], *, jobs: int, progress: Progress) -> None:
    """Copy objects, several at a time, those of a later stage after all of the earlier ones."""
    lock = threading.Lock()

    def one(thing: Thing) -> None:
        copy_thing(source, target, thing)
        with lock:
            progress(thing.size, 1)

    for _, stage in groupby(
        sorted(wanted, key=lambda thing: (thing.stage, -thing.size)), key=lambda thing: thing.stage
    ):
        in_parallel(one, list(stage), jobs)


def in_parallel(act: Callable[[T], None], items: Sequence[T], jobs: int) -> None:
    """Do a few at a time; the first error ends it, and what was not begun stays undone."""
    with ThreadPoolExecutor(max(1, jobs), thread_name_prefix="copy") as pool:
        futures = [pool.submit(act, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def copy_thing(source: Store, target: Store, thing: Thing, *, is_mended: bool = False) -> None:
    """Copy one object, its bytes checked before it has its name in the target."""
    local = source.local_path(thing.name)
    if local is not None and not target.is_local and not is_mended:
        _check(local, f"{source.url}/{thing.name}", thing)
        target.put_file(local, thing.name)
    else:
        fill = partial(fetch, source, thing)
        target.put_filled(thing.name, fill, is_mended=is_mended)
    arrived = target.size(thing.name)
    if arrived != thing.size:
        raise CorruptError(f"{target.url}/{thing.name} has {arrived} bytes, expected {thing.size}: it did not arrive")


def fetch(source: Store, thing: Thing, path: Path) -> None:
    """Read an object into a local file, part by part, and check it; a damaged one is read once more.

    Raises: CorruptError naming the object; StoreError if it cannot be read in five tries.
    """
    for is_last in (False, True):
        with path.open("wb") as file:
            for offset in range(0, thing.size, PART_BYTES):
                size = min(PART_BYTES, thing.size - offset)
                file.write(source.get_bytes(thing.name, offset, size))
        try:
            return _check(path, f"{source.url}/{thing.name}", thing)
        except CorruptError:
            if is_last:
                raise


def _check(path: Path, label: str, thing: Thing) -> None:
    if thing.file is not None:
        return check_file(path, label, thing.file.size, thing.file.sha256)
    folder, _, rest = thing.name.partition("/")
    data, stem = path.read_bytes() if thing.stage else b"", rest.removesuffix(".json")
    if folder == "sources" and file_sha256(path) != rest:
        raise CorruptError(f"{label} is damaged: its sha256 is {file_sha256(path)}")
    if folder == "commits" and sha256_hex(data)[:16] != stem.rpartition("-")[2]:
        raise CorruptError(f"{label} is damaged: its content does not give its name")
    if folder == "recipes" and not is_recipe(stem, data):
        raise CorruptError(f"{label} is damaged: neither its content nor its identity gives its name")
    if folder == "segments" and not is_segment(data):
        raise CorruptError(f"{label} is damaged: it is no segment of a plan")
    return None
