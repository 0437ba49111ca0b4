"""Unions: data sets that hold the groups of several others, by weight if one likes, without copying a shard.

Groups that are there twice, by key or by their images, and licences that do not go together are refused unless the
user says otherwise. A part that was itself a view or union brings its own groups only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from manifests.canonical import sha256_hex
from manifests.card import CardFacts, GeneratorFacts
from manifests.dataset import DataSet, open_dataset, packed
from manifests.description import described, stored_facts
from manifests.documents import Part, Selection, ShardFile, VersionDoc, VersionShard
from manifests.errors import ConflictError, UserError
from manifests.licences import conflicts, joined
from manifests.places import write_places
from manifests.schema import OK
from manifests.store import Store
from manifests.takedown import check_not_taken_down
from manifests.version import publish, versions

_NAMED = 3


@dataclass
class _Seen:
    """The groups met so far: by key, and by the images that they hold."""

    keys: dict[str, str] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)

    def is_new(self, key: str, images: str) -> bool:
        if key in self.keys or images in self.images:
            return False
        self.keys[key] = self.images[images] = key
        return True


@dataclass(frozen=True)
class Union:
    """What a merge will write: a version, and the list of the groups that are in."""

    version: VersionDoc
    bits: bytes


def merge(
    datasets: Sequence[DataSet],
    out: str | Path,
    *,
    weights: Sequence[float] | None = None,
    name: str = "",
    accept_licences: bool = False,
    drop_duplicates: bool = False,
) -> DataSet:
    """Write the union of data sets; a weight is a data set's share of what a trainer draws.

    Raises: as `plan_merge` does.
    """
    settings = {"accept_licences": accept_licences, "drop_duplicates": drop_duplicates}
    union = plan_merge(datasets, out, weights=weights, name=name, **settings)
    places = list(dict.fromkeys(url for dataset in datasets for url in dataset.homes.urls))
    _write(Store.open(out, create=True), union, places, _generators(datasets))
    return open_dataset(out, root=union.version.root(), cache=datasets[0].cache)


def plan_merge(
    datasets: Sequence[DataSet],
    out: str | Path,
    *,
    weights: Sequence[float] | None = None,
    name: str = "",
    accept_licences: bool = False,
    drop_duplicates: bool = False,
) -> Union:
    """Make the union of data sets without writing anything.

    Raises: ConflictError for groups that are there twice, licences that do not go together, or an `out` that holds
    other data; UserError for data sets of other shapes.
    """
    _check_shapes(datasets, weights)
    _check_licences(datasets, accept_licences)
    for dataset in datasets:
        if not dataset.is_written:
            raise UserError(f"{dataset.url}: a view that was not written down: select into a folder first")
        check_not_taken_down(dataset)
    held = _held(datasets, drop_duplicates)
    kept = [[(shard, mask) for shard, mask in part if mask.any()] for part in held]
    if not all(kept):
        empty = datasets[[bool(part) for part in kept].index(False)]
        raise UserError(f"{empty.url}: it has no group that the others lack: leave it out")
    union = _union(datasets, kept, weights, name)
    _check_target(Store.open(out, create=True, dry_run=True), union.version)
    return union


def _check_shapes(datasets: Sequence[DataSet], weights: Sequence[float] | None) -> None:
    if len(datasets) < 2:
        raise UserError(f"{len(datasets)} data set to merge: expected two or more")
    if weights is not None and (len(weights) != len(datasets) or not all(0 < w < np.inf for w in weights)):
        raise UserError(f"weights {list(weights)}: expected {len(datasets)} numbers above 0, one a data set")
    first = datasets[0]
    for other in datasets[1:]:
        for what in ("views_per_group", "extension"):
            mine, theirs = getattr(first.version, what), getattr(other.version, what)
            if mine != theirs:
                raise UserError(f"{other.url} has {what} {theirs}, but {first.url} has {mine}: all must have the same")
        if len({dataset.root for dataset in datasets}) < len(datasets):
            raise ConflictError(f"{other.url}: the same version is given twice")


def _label_names(datasets: Sequence[DataSet]) -> list[str]:
    """Return the label names that all agree on; a shorter list may be the beginning of a longer one."""
    longest = max((dataset.version.label_names for dataset in datasets), key=len)
    for dataset in datasets:
        names = dataset.version.label_names
        is_unlabelled = not names and not pc.any(pc.is_valid(dataset.rows(["label"])["label"])).as_py()
        if names != longest[: len(names)] or (longest and not names and not is_unlabelled):
            raise ConflictError(
                f"{dataset.url} has the labels {names[:_NAMED]}…, others {longest[:_NAMED]}…: a number would mean two "
                "things; adopt or render one of them again with the other's label names"
            )
    return longest


def _check_licences(datasets: Sequence[DataSet], accept: bool) -> None:
    found = conflicts([dataset.version.licence for dataset in datasets])
    if found and not accept:
        told = ", ".join(f"{dataset.url}: {dataset.version.licence or 'unknown'}" for dataset in datasets)
        raise ConflictError(
            f"licences do not go together: {'; '.join(found)} ({told}); if you may join them, say --accept-licences"
        )


Held = list[tuple[VersionShard, NDArray[np.bool_]]]


def _held(datasets: Sequence[DataSet], drop: bool) -> list[Held]:
    """Return each data set's shards, with which of their groups are in."""
    seen, twice, held = _Seen(), list[str](), []
    for dataset in datasets:
        part: Held = []
        for position, shard in enumerate(dataset.version.shards):
            mask, again = _new_groups(dataset, position, seen)
            part.append((shard, mask))
            twice += again
        held.append(part)
    if twice and not drop:
        raise ConflictError(
            f"{len(twice)} groups are there twice, such as {', '.join(twice[:_NAMED])}: leave them out of one data set "
            "by `select`, or say --drop-duplicates to keep the first of each"
        )
    return held


def _new_groups(dataset: DataSet, position: int, seen: _Seen) -> tuple[NDArray[np.bool_], list[str]]:
    """Say of each group of a shard whether it is shown, has images and is new; and name those that are not new."""
    k = dataset.version.views_per_group
    stored = dataset.stored_rows(position, ["key", "status", "sha256"])
    usable = pc.and_(dataset.shown(position, stored), pc.equal(stored["status"], OK)).to_numpy()[::k]
    keys, images = stored["key"].to_pylist(), stored["sha256"].to_pylist()
    mask, again = np.zeros(len(usable), np.bool_), []
    for group in np.flatnonzero(usable).tolist():
        key = keys[group * k]
        mask[group] = seen.is_new(key, sha256_hex("".join(images[group * k : (group + 1) * k]).encode()))
        if not mask[group]:
            again.append(key)
    return mask, again


def _union(datasets: Sequence[DataSet], kept: list[Held], weights: Sequence[float] | None, name: str) -> Union:
    first = datasets[0].version
    bits = packed([mask for part in kept for _, mask in part])
    sha256 = sha256_hex(bits)
    file = ShardFile(name=f"selections/{sha256[:16]}.bits", sha256=sha256, size=len(bits))
    groups = sum(int(mask.sum()) for part in kept for _, mask in part)
    shares = [None] * len(kept) if weights is None else list(weights)
    parts = [
        Part(root=dataset.root, shards=len(part), weight=weight)
        for dataset, part, weight in zip(datasets, kept, shares, strict=True)
    ]
    version = VersionDoc(
        kind="merged",
        generation=1 + max(dataset.version.generation for dataset in datasets),
        shards=[shard for part in kept for shard, _ in part],
        views_per_group=first.views_per_group,
        extension=first.extension,
        label_names=_label_names(datasets),
        tombstones=sorted({key for dataset in datasets for key in dataset.version.tombstones}),
        selection=Selection(where="", groups=groups, bits=file),
        parts=parts,
        licence=joined([dataset.version.licence for dataset in datasets]),
        name=name or " + ".join(dict.fromkeys(dataset.version.name or dataset.root[:12] for dataset in datasets)),
    )
    return Union(version, bits)


def _generators(datasets: Sequence[DataSet]) -> list[GeneratorFacts]:
    """Return what the cards of the parts say of their generators."""
    told = [one for d in datasets for one in stored_facts(d.homes.store(d.url)).generators]
    return list({one.name: one for one in told}.values())


def _write(store: Store, union: Union, places: list[str], generators: list[GeneratorFacts]) -> None:
    version = union.version
    assert version.selection is not None
    store.put_bytes(union.bits, version.selection.bits.name)
    write_places(store, [url for url in places if url != store.url])
    command = f"python -m manifests merge {' '.join(places)} --out OUT"
    publish(store, version, card=CardFacts(command=command, generators=generators))
    publish(store, version, card=described(open_dataset(store.url, root=version.root()), store))


def _check_target(store: Store, version: VersionDoc) -> None:
    """Let a folder hold unions only, a newer one of newer versions of the same parts."""
    others = [name for name, _ in [*store.list("recipes"), *store.list("commits")]]
    for found in versions(store):
        is_older = found.kind == "merged" and found.generation < version.generation
        if not is_older and found.root() != version.root():
            others.append(found.object_name())
    if others:
        raise ConflictError(
            f"{store.url} already holds another data set ({others[0]}): merge into an empty folder, "
            "or newer versions of the same data sets"
        )
