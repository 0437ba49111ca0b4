"""Renders lost shards again from their rows, and puts one in its place only if it is the very same to the last bit.

A row has all that decided its view, so this needs neither the job nor its plan; it does need the rows and the recipe,
and the software and kind of processor that rendered them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.rerender import rerender
from factory.segments import read_recipe
from manifests.canonical import canonical_json, sha256_hex
from manifests.commit import sample_json
from manifests.dataset import DataSet
from manifests.documents import ShardFile
from manifests.errors import CorruptError, UserError
from manifests.schema import OK
from manifests.shard import file_sha256, write_tar
from manifests.store import Store

Row = dict[str, Any]


def lost_shards(data: DataSet) -> list[int]:
    """Return the positions of the shards whose tar is absent or damaged."""
    lost = []
    for position in range(len(data.version.shards)):
        try:
            data.shard_path(position)
        except CorruptError:
            lost.append(position)
    return lost


@dataclass(frozen=True)
class Loss:
    """A shard that is to be rendered again."""

    file: ShardFile
    rows: list[Row]  # of its images


def look(store: Store, data: DataSet, position: int) -> Loss:
    """Check, before anything is computed, that a shard's rows and recipes are there and all of it was rendered.

    Raises: CorruptError if the rows or a recipe are lost as well; UserError for images that nobody rendered here.
    """
    file = data.version.shards[position].shard
    rows: list[Row] = [row for row in data.stored_rows(position).to_pylist() if row["status"] == OK]
    if any(row["generator_sha256"] is None for row in rows):
        raise UserError(f"{data.url}/{file.name}: images that nobody rendered here: repair from a copy instead")
    for stream_id in {row["stream_id"] for row in rows}:
        read_recipe(store, stream_id)
    return Loss(file, rows)


def repair(store: Store, data: DataSet, position: int) -> str:
    """Render one shard again and put it in its place; returns its name.

    Raises: as `look` does; UserError if what was rendered is not what was lost.
    """
    loss = look(store, data, position)
    file, rows = loss.file, loss.rows
    images = {}
    for one in rerender(store, data, rows):
        images[one.key, one.view] = one.data
    for row in rows:
        found = sha256_hex(images[row["key"], row["view"]])
        if found != row["sha256"]:
            raise UserError(
                f"{data.url}/{file.name}: {row['key']} view {row['view']} came out as {found[:12]}, expected "
                f"{row['sha256'][:12]}: other software or another processor; not replaced: repair from a copy instead"
            )
    with tempfile.TemporaryDirectory() as folder:
        tar = Path(folder, "tar")
        write_tar(tar, _members(rows, images))
        _put(data, file, tar)
    return file.name


def _members(rows: Sequence[Row], images: dict[tuple[str, int], bytes]) -> Iterator[tuple[str, bytes]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["key"], []).append(row)
    for key, views in groups.items():
        yield f"{key}.json", canonical_json(sample_json(views))
        for row in views:
            yield row["member"], images[key, row["view"]]


def _put(data: DataSet, file: ShardFile, tar: Path) -> None:
    found = file_sha256(tar)
    if found != file.sha256:
        raise UserError(f"{data.url}/{file.name}: the tar came out as {found[:12]}, expected {file.sha256[:12]}")

    def fill(path: Path) -> None:
        shutil.copyfile(tar, path)

    Store.open(data.url).put_filled(file.name, fill, is_mended=True)
