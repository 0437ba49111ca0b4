"""Takes groups down: a new version names them as such, and from then on no reader shows them.

Their bytes stay in the shards until someone reshards, since nothing is ever overwritten. Copies, trainers and all that
is made from a data set ask its home whether anything was taken down since.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from manifests.dataset import DataSet, open_dataset
from manifests.description import described, stored_facts
from manifests.errors import ConflictError, StoreError, UserError
from manifests.store import Store
from manifests.version import newest, publish
from manifests.where import Where

_NAMED = 3


def takedown(
    dataset: DataSet,
    *,
    keys: Sequence[str] = (),
    prompts: Sequence[str] = (),
    where: str | None = None,
    dry_run: bool = False,
) -> tuple[str, list[str]]:
    """Publish a version without some groups; returns its root and the keys that went.

    A group goes if its key is named, or any of its views has one of the prompts or matches the condition.
    With `dry_run` nothing is written.
    Raises: UserError for a key that is not there, or if nothing is to go; ConflictError for a view or an old version.
    """
    store, version = Store.open(dataset.url), dataset.version
    if version.kind == "selected":
        raise ConflictError(f"{dataset.url}: a view: take down in {dataset.homes.urls[1:]} and select again")
    latest = newest(store)
    if latest is not None and latest.root() != dataset.root:
        raise ConflictError(f"{dataset.url}: version {dataset.root[:12]} is not the newest; take down in the newest")
    found = _found(dataset, keys, prompts, where)
    changes = {"generation": version.generation + 1, "parent": dataset.root}
    without = version.model_copy(update={**changes, "tombstones": sorted({*version.tombstones, *found})})
    if dry_run:
        Store.open(dataset.url, create=True, dry_run=True)
        return without.root(), found
    root = publish(store, without, card=stored_facts(store))
    left = open_dataset(store.url, root=root, cache=dataset.cache)
    publish(store, left.version, card=described(left, store))  # the sheet of examples too may have shown one
    return root, found


def _found(dataset: DataSet, keys: Sequence[str], prompts: Sequence[str], where: str | None) -> list[str]:
    rows = dataset.rows(["key", "prompt"])
    there = set(pc.unique(rows["key"]).to_pylist())
    absent = [key for key in keys if key not in there]
    if absent:
        raise UserError(f"{dataset.url}: no group with the key {absent[0]!r}; it may have been taken down before")
    found = set(keys)
    for prompt in prompts:
        mine = rows.filter(pc.equal(rows["prompt"], prompt))["key"].to_pylist()
        if not mine:
            raise UserError(f"{dataset.url}: no group with the prompt {prompt!r}")
        found |= set(mine)
    if where is not None:
        found |= _matching(dataset, where)
    if not found:
        raise UserError(f"{dataset.url}: nothing to take down: give --key, --prompt or --where")
    return sorted(found)


def _matching(dataset: DataSet, where: str) -> set[str]:
    """Return the keys of the groups of which a view matches; also of groups without images."""
    Where(where)  # its own mistakes, in its own words
    query, keys = Where(f"NOT coalesce(CAST(({where}) AS BOOLEAN), false)"), set[str]()
    for position in range(len(dataset.version.shards)):
        rows = dataset.rows(shards=[position])
        mine = rows.filter(pc.is_in(rows["group"], value_set=pa.array(query.failing(rows), pa.int64())))
        keys |= set(mine["key"].to_pylist())
    return keys


def taken_down_since(dataset: DataSet) -> list[str]:
    """Return the keys that newer versions where the data set lies, or its shards do, have taken down since."""
    gone: set[str] = set()
    streams = {shard.stream_id[:8] for shard in dataset.version.shards}
    for url in dataset.homes.urls:
        try:
            latest = newest(dataset.homes.store(url))
        except (UserError, StoreError):
            continue  # a place that is gone, or damaged: what is read from it is checked then
        if latest is not None:
            gone |= {key for key in latest.tombstones if key.partition("-")[0] in streams}
    return sorted(gone - set(dataset.version.tombstones))


def check_not_taken_down(dataset: DataSet) -> None:
    """Refuse to use groups that were taken down after this version was made.

    Raises: ConflictError.
    """
    gone = taken_down_since(dataset)
    if gone and (shown := _shown(dataset, gone)):
        named = ", ".join(shown[:_NAMED])
        raise ConflictError(
            f"{dataset.url}: version {dataset.root[:12]} has {len(shown)} groups that were taken down since ({named}): "
            "take the newest version; select or merge again if this was made from another data set"
        )


def _shown(dataset: DataSet, keys: Collection[str]) -> list[str]:
    """Return those of the keys that the data set shows."""
    wanted = set(keys)
    return sorted(wanted & set(dataset.rows(["key"])["key"].to_pylist()))
