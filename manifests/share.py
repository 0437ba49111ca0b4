"""Publish and pull: one data set, or a part of it, to or from wherever another team finds it.

A set with shards of its own is copied word for word, so that its root stays. A view, a union and a part by a condition
are laid into shards of their own on the way: what arrives stands alone, and only the bytes that are wanted travel.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from manifests.dataset import DataSet, open_dataset
from manifests.documents import VersionDoc
from manifests.errors import UserError
from manifests.hub import is_hub, plan_hub, publish_to_hub
from manifests.patience import PatientStore
from manifests.reshard import carry_out, check_place, plan_reshard
from manifests.selection import select
from manifests.store import Store
from manifests.takedown import check_not_taken_down
from manifests.transfer import JOBS, Progress, copy, plan_copy

_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


@dataclass(frozen=True)
class Moved:
    """What was, or will be, moved."""

    source: str
    target: str
    root: str  # of what lies in the target; for a part that is not there yet, unknown
    groups: int
    views: int
    objects: int
    bytes: int
    objects_there: int
    names: list[str] = field(default_factory=list)  # of some objects to move

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


_NAMED = 10


def share(
    source: str,
    target: str,
    *,
    root: str | None = None,
    where: str | None = None,
    shards: str | None = None,
    jobs: int = JOBS,
    dry_run: bool = False,
    progress: Progress = lambda size, objects: None,
    begin: Any = lambda moved: None,
) -> Moved:
    """Copy a data set, or a part of it, into a folder or bucket; `begin` is told the plan first.

    To resume, run the same again. With `dry_run` nothing is written.
    Raises: ConflictError if the target holds other data, or groups were taken down since; StoreError naming an object
    that did not come in five tries; UserError for a part that there is not.
    """
    if where is not None and shards is not None:
        raise UserError("give --where or --shards, not both")
    dataset = open_dataset(source, root=root, opener=PatientStore)
    check_not_taken_down(dataset)
    home = PatientStore.open(source)
    if shards is not None:
        dataset = _of_shards(dataset, chosen_shards(shards, len(dataset.version.shards)))
    if is_hub(target):
        return _to_hub(dataset, home, target, where, dry_run, progress, begin)
    if where is not None or dataset.version.kind in ("selected", "merged"):
        return _resharded(dataset, target, where, jobs, dry_run, progress, begin)
    store = PatientStore.open(target, create=True, dry_run=dry_run)
    plan, _ = plan_copy(home, store, dataset.version)
    names = [thing.name for thing in plan.missing[:_NAMED]]
    counts = (plan.groups, plan.views, len(plan.missing), plan.bytes, plan.there)
    moved = Moved(plan.source, plan.target, plan.root, *counts, names)
    begin(moved)
    if not dry_run:
        copy(dataset, home, store, jobs=jobs, progress=progress)
    return moved


def _resharded(
    dataset: DataSet, target: str, where: str | None, jobs: int, dry_run: bool, progress: Progress, begin: Any
) -> Moved:
    view = dataset if where is None else select(dataset, where)
    store = PatientStore.open(target, create=True, dry_run=dry_run)
    plan = plan_reshard(view, store)
    check_place(view, plan, store)
    missing, drafts = plan.missing, plan.drafts
    views = sum(len(draft.table) for draft in drafts)
    groups = views // dataset.version.views_per_group
    names = [f"shard-{draft.index:06d} ({len(draft.table)} images)" for draft in missing[:_NAMED]]
    size = sum(draft.bytes for draft in missing)
    moved = Moved(dataset.url, store.url, "", groups, views, len(missing), size, len(drafts) - len(missing), names)
    begin(moved)
    if dry_run:
        return moved
    found = carry_out(view, plan, store, jobs=jobs, progress=progress)
    return Moved(**{**asdict(moved), "root": found})


def _to_hub(
    dataset: DataSet, home: Store, target: str, where: str | None, dry_run: bool, progress: Progress, begin: Any
) -> Moved:
    if where is not None or dataset.version.kind in ("selected", "merged"):
        raise UserError(f"{target}: a part, view or union is to be resharded into a folder first, and that published")
    missing, there = plan_hub(dataset, home, target)
    counts = (dataset.version.groups_ok, dataset.version.views_ok, len(missing), sum(t.size for t in missing), there)
    moved = Moved(dataset.url, target, dataset.root, *counts, [thing.name for thing in missing[:_NAMED]])
    begin(moved)
    if not dry_run:
        publish_to_hub(dataset, home, target, missing, progress=progress)
    return moved


def chosen_shards(text: str, count: int) -> list[int]:
    """Read positions of shards, as in 0-9,12.

    Raises: UserError.
    """
    chosen: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < count:
            raise UserError(f"--shards {text}: expected positions such as 0-9,12 below {count}")
        chosen |= set(range(first, last + 1))
    return sorted(chosen)


def _of_shards(dataset: DataSet, positions: Sequence[int]) -> DataSet:
    """Return a data set of some shards, word for word; all of them are the data set itself."""
    source = dataset.version
    if len(positions) == len(source.shards):
        return dataset
    if source.kind in ("selected", "merged"):
        raise UserError(f"{dataset.url}: {source.kind}, without shards of its own: give --where instead of --shards")
    changes: dict[str, Any] = {
        "kind": "resharded",
        "generation": source.generation + 1,
        "parent": dataset.root,
        "shards": [source.shards[position] for position in positions],
        "parts": [],
    }
    version: VersionDoc = source.model_copy(update=changes)
    return DataSet(dataset.homes, version, dataset.cache)
