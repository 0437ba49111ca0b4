"""Check a view or union against itself and against the versions it was made from: one line for every broken promise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from manifests.dataset import DataSet, packed
from manifests.documents import Selection, VersionDoc
from manifests.errors import CorruptError
from manifests.schema import OK
from manifests.store import Store
from manifests.version import read_version, sound_versions

_NAMED = 3
_KEPT = ("views_per_group", "extension", "label_names", "licence")


def selection_problems(dataset: DataSet) -> Iterator[str]:
    """Say what is wrong with the bits of a view or union, its sources, and what it says of them."""
    version = dataset.version
    if version.selection is not None:
        try:
            masks = [dataset.selected(position) for position in range(len(version.shards))]
        except CorruptError as error:
            yield str(error)
            return
        yield from _bits_problems(dataset, version.selection, masks)
    if version.kind == "merged":
        yield from _part_problems(dataset)
    elif version.selection is not None:
        yield from _source_problems(dataset)


def _bits_problems(dataset: DataSet, selection: Selection, masks: list[NDArray[np.bool_]]) -> Iterator[str]:
    stored = dataset.homes.of(selection.bits.name).get_bytes(selection.bits.name)
    if stored != packed(masks):
        yield f"{selection.bits.name}: expected zeros after the last group of each shard"
    count = sum(int(mask.sum()) for mask in masks)
    if count != selection.groups:
        yield f"{selection.bits.name} selects {count} groups, expected {selection.groups}"


def _source_problems(dataset: DataSet) -> Iterator[str]:
    version = dataset.version
    try:
        source = dataset.homes.of(f"versions/{version.parent}.json")
        parent = read_version(source, str(version.parent))
    except CorruptError as error:
        yield f"the source is missing: {error}"
        return
    yield from _parent_problems(version, parent)
    yield from _later_problems(version, source)


def _part_problems(dataset: DataSet) -> Iterator[str]:
    """Say what a union says wrongly of its parts: word for word the shards of the versions that it names."""
    version, first = dataset.version, 0
    held = sum(part.shards for part in version.parts)
    if held != len(version.shards):
        yield f"{version.object_name()}: its parts have {held} shards, expected {len(version.shards)}"
        return
    for part in version.parts:
        shards, first = version.shards[first : first + part.shards], first + part.shards
        try:
            source = dataset.homes.of(f"versions/{part.root}.json")
            whole = read_version(source, part.root)
        except CorruptError as error:
            yield f"a part is missing: {error}"
            continue
        others = set(shards) - set(whole.shards)
        yield from (f"{shard.shard.name}: the part {part.root[:12]} has no such shard" for shard in others)
        forgotten = sorted(set(whole.tombstones) - set(version.tombstones))
        if forgotten:
            yield f"{len(forgotten)} groups that {part.root[:12]} took down, such as {forgotten[0]}, are not named so"
        yield from _later_problems(version, source)


def selected_rows(dataset: DataSet, position: int, table: pa.Table) -> pa.Table:
    """Return the rows of the groups that a view or union holds; all rows of any other data set."""
    if dataset.version.selection is None:
        return table
    try:
        mask = np.repeat(dataset.selected(position), dataset.version.views_per_group)
    except CorruptError:
        return table  # named before
    return table.filter(pa.array(mask)) if len(mask) == len(table) else table


def _parent_problems(version: VersionDoc, parent: VersionDoc) -> Iterator[str]:
    wrong = {name: getattr(version, name) for name in _KEPT if getattr(version, name) != getattr(parent, name)}
    if wrong:
        yield f"{version.object_name()}: {wrong}, expected { ({name: getattr(parent, name) for name in wrong}) }"
    if version.generation != parent.generation + 1:
        yield f"{version.object_name()}: generation {version.generation}, expected {parent.generation + 1}"
    others = set(version.shards) - set(parent.shards)
    yield from (f"{shard.shard.name}: its parent {version.parent} has no such shard" for shard in others)
    forgotten = sorted(set(parent.tombstones) - set(version.tombstones))
    if forgotten:
        yield f"{len(forgotten)} groups that its parent took down, such as {forgotten[0]}, are not named as such"


def _later_problems(version: VersionDoc, source: Store) -> Iterator[str]:
    """Say whether the source has changed in a way that a view should follow."""
    found, _ = sound_versions(source)
    for later in found[:1]:
        gone = sorted(set(later.tombstones) - set(version.tombstones))
        if gone:
            yield (
                f"{source.url} has taken down {len(gone)} groups since, such as {gone[0]} "
                f"(version {later.root()[:12]}): {'merge' if version.parts else 'select from'} it again"
            )


def homeless(dataset: DataSet) -> tuple[set[int], list[str]]:
    """Return the positions of shards that lie in none of the view's places, and one line for all of them."""
    found: dict[int, tuple[str, CorruptError]] = {}
    for position, shard in enumerate(dataset.version.shards):
        for name in (shard.rows.name, shard.shard.name):
            try:
                dataset.homes.of(name)
            except CorruptError as error:
                found.setdefault(position, (name, error))
    if not found:
        return set(), []
    names = [name for name, _ in found.values()]
    told = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    first = next(iter(found.values()))[1]
    return set(found), [f"{len(found)} of {len(dataset.version.shards)} shards cannot be looked at ({told}): {first}"]


def unusable_problems(dataset: DataSet, position: int, stored: pa.Table) -> Iterator[str]:
    """Say which selected groups of a shard have no image or were taken down."""
    try:
        is_selected = np.repeat(dataset.selected(position), dataset.version.views_per_group)
    except CorruptError:
        return  # named before
    if len(is_selected) != len(stored):
        return
    is_gone = pc.is_in(stored["key"], value_set=pa.array(dataset.version.tombstones, pa.string()))
    unusable = pc.or_(is_gone, pc.not_equal(stored["status"], OK)).to_numpy()
    keys = sorted(set(stored.filter(pa.array(is_selected & unusable))["key"].to_pylist()))
    if keys:
        yield f"{len(keys)} selected groups, such as {keys[0]}, have no image or were taken down"
