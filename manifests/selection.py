"""Views: data sets that hold some groups of another one, chosen by SQL over its rows, without copying a shard.

A view is a version whose shards lie elsewhere, with a bit for each of their groups. Its parent is the version that it
was selected from, so its root covers the bytes of every image, and the query. A group is in if all its views match.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from manifests.canonical import sha256_hex
from manifests.card import CardFacts
from manifests.dataset import DataSet, packed
from manifests.description import stored_facts
from manifests.documents import Selection, ShardFile, VersionDoc, VersionShard
from manifests.errors import ConflictError, UserError
from manifests.places import Homes, read_places, write_places
from manifests.schema import OK, VIEW_SCHEMA
from manifests.store import Store
from manifests.version import publish, versions
from manifests.where import Where

_NEEDED = ["group", "status"]


def select(dataset: DataSet, where: str, out: str | Path | None = None, *, name: str = "") -> DataSet:
    """Return the groups of which every view matches an SQL condition, as a data set; `out` writes it down.

    Raises: UserError for a condition that is none, or that no group fulfils; ConflictError if `out` holds other data.
    """
    query = Where(where)
    schemas = _schemas(dataset, query)
    united = _united(dataset, schemas)
    query.failing(united.empty_table())  # what is wrong with it is told before rows are read
    chosen: list[tuple[VersionShard, NDArray[np.bool_]]] = []
    for position, shard in enumerate(dataset.version.shards):
        is_chosen = _chosen(dataset, position, query, schemas[position], united)
        if is_chosen.any():
            chosen.append((shard, is_chosen))
    if not chosen:
        raise UserError(f"{dataset.url}: no group has only views that match {where!r}")
    bits = packed([mask for _, mask in chosen])
    groups = sum(int(mask.sum()) for _, mask in chosen)
    version = _version(dataset, [shard for shard, _ in chosen], where, groups, bits, name)
    if out is None:
        return DataSet(dataset.homes, version, dataset.cache, bits)
    store = Store.open(out, create=True)
    facts = stored_facts(dataset.homes.store(dataset.url))
    _write(store, version, bits, dataset.homes.urls, facts)
    return DataSet(Homes(store, read_places(store)), version, dataset.cache, bits)


def _schemas(dataset: DataSet, query: Where) -> list[pa.Schema]:
    """Return the columns of each shard; a file is opened for them only if the condition reads one of a maker's own."""
    shards, plain = len(dataset.version.shards), VIEW_SCHEMA.remove_metadata()
    if query.columns <= {name.lower() for name in plain.names}:
        return [plain] * shards
    return [dataset.row_schema(position) for position in range(shards)]


def _united(dataset: DataSet, schemas: list[pa.Schema]) -> pa.Schema:
    try:
        return pa.unify_schemas([VIEW_SCHEMA.remove_metadata(), *dict.fromkeys(schemas)])
    except pa.ArrowException as error:
        raise UserError(f"{dataset.url}: a column has not the same type in all shards: {error}") from error


def _chosen(dataset: DataSet, position: int, query: Where, schema: pa.Schema, united: pa.Schema) -> NDArray[np.bool_]:
    """Say of each group of a shard whether it is shown, has images, and matches."""
    columns = [name for name in schema.names if name.lower() in query.columns]
    keys = ["key"] if dataset.version.tombstones else []  # reading them is half of the work
    stored = dataset.stored_rows(position, list(dict.fromkeys([*_NEEDED, *keys, *columns])))
    rows = stored.filter(pc.and_(dataset.shown(position, stored), pc.equal(stored["status"], OK)))
    for field in united:  # what only other shards have is null here
        if field.name.lower() in query.columns and field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(len(rows), field.type))
    groups = stored["group"].to_numpy()[:: dataset.version.views_per_group]
    return np.isin(groups, rows["group"].to_numpy()) & ~np.isin(groups, query.failing(rows))


def _version(
    dataset: DataSet, shards: list[VersionShard], where: str, groups: int, bits: bytes, name: str
) -> VersionDoc:
    source, sha256 = dataset.version, sha256_hex(bits)
    file = ShardFile(name=f"selections/{sha256[:16]}.bits", sha256=sha256, size=len(bits))
    parent, generation = dataset.root, source.generation + 1
    if source.kind == "selected" and source.selection is not None:  # of its source, by both conditions
        parent, generation = str(source.parent), source.generation
        where = Where(f"({source.selection.where}) AND ({where})").text
    changes: dict[str, Any] = {
        "kind": "selected",
        "parts": [],
        "generation": generation,
        "parent": parent,
        "shards": shards,
        "selection": Selection(where=where, groups=groups, bits=file),
        "name": name or source.name,
    }
    return source.model_copy(update=changes)


def _write(store: Store, version: VersionDoc, bits: bytes, urls: list[str], facts: CardFacts) -> None:
    assert version.selection is not None
    _check_target(store, version)
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder, "bits")
        local.write_bytes(bits)
        store.put_file(local, version.selection.bits.name)
    write_places(store, urls)
    command = f"python -m manifests select {urls[0]} OUT --where {version.selection.where!r}"
    publish(store, version, card=facts.model_copy(update={"command": command}))


def _check_target(store: Store, version: VersionDoc) -> None:
    """Let a folder hold one query's views, the newer ones of newer versions of its source."""
    assert version.selection is not None
    others = [name for name, _ in [*store.list("recipes"), *store.list("commits")]]
    for found in versions(store):
        is_same = found.selection is not None and found.selection.where == version.selection.where
        is_older = found.generation < version.generation
        if not is_same or not (is_older or found.root() == version.root()):
            others.append(found.object_name())
    if others:
        raise ConflictError(
            f"{store.url} already holds another data set ({others[0]}): select into an empty folder, "
            "or give the same query over a newer version of the same source"
        )
