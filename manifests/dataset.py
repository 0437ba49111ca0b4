"""A finished data set as its readers see it: rows, groups and images, every byte checked before it is used.

Only what the version names is ever read. A member is read at the offset its row gives; a tar is never scanned. Of a
view only the selected groups are shown; its shards are read where they lie, in the data set that it was selected from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from manifests.cache import ShardCache
from manifests.canonical import sha256_hex
from manifests.documents import ShardFile, VersionDoc, VersionShard
from manifests.errors import CorruptError, UserError
from manifests.handles import Handle, Handles
from manifests.images import decode_image
from manifests.places import Homes, read_places
from manifests.rows import read_row_schema, read_rows
from manifests.schema import OK
from manifests.store import Store
from manifests.version import newest, read_version, version_roots

__all__ = ["DataSet", "GroupIndex", "decode_image", "open_dataset"]

T = TypeVar("T")

_GROUP_COLUMNS = ["group", "view", "key", "positive_id", "label", "split", "status", "offset", "size"]


@dataclass(frozen=True)
class GroupIndex:
    """The groups that have images, in the version's order.

    Shapes: offsets and sizes [G, k], in bytes; the others [G].
    """

    shard_position: NDArray[np.int32]  # position in the version's list of shards
    group: NDArray[np.int64]
    key: NDArray[np.str_]
    positive_id: NDArray[np.int64]
    label: NDArray[np.int64]  # -1: none
    split: NDArray[np.str_]  # "": none
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.group)


class DataSet:
    """One version of a data set."""

    def __init__(self, homes: Homes, version: VersionDoc, cache: ShardCache, bits: bytes | None = None) -> None:
        """Show a version whose files lie in `homes`; `bits` saves reading those of a selection."""
        self.url = homes.urls[0]
        self.version = version
        self.root = version.root()
        self.homes = homes
        self.cache = cache
        self._bits = bits
        self._handles = Handles(self._open_shard)

    def rows(
        self, columns: list[str] | None = None, *, shards: Sequence[int] | None = None, ok_only: bool = False
    ) -> pa.Table:
        """Read rows, all or those of the shards at some positions; `ok_only` leaves out views without an image.

        Groups that were taken down, or that a selection leaves out, are not shown.
        Raises: CorruptError naming a row file that is not what the version says; UserError for an unknown column.
        """
        positions = range(len(self.version.shards)) if shards is None else shards
        tables = [self._shard_rows(position, columns, ok_only) for position in positions]
        if not tables:
            raise UserError(f"{self.url}: rows of no shard were asked for")
        return pa.concat_tables(tables, promote_options="default")

    def _shard_rows(self, position: int, columns: list[str] | None, ok_only: bool) -> pa.Table:
        needed = None if columns is None else list(dict.fromkeys([*columns, "key", "status"]))
        table = self.stored_rows(position, needed)
        table = table.filter(self.shown(position, table))
        if ok_only:
            table = table.filter(pc.equal(table["status"], OK))
        return table if columns is None else table.select(columns)

    def stored_rows(self, position: int, columns: list[str] | None = None) -> pa.Table:
        """Read the rows of a shard as they are stored, also of groups that are not shown.

        Raises: CorruptError naming the row file; UserError for an unknown column.
        """
        shard = self._shard(position)
        expected, label = shard.groups * self.version.views_per_group, f"{self.url}/{shard.rows.name}"
        return self._opened(shard.rows, lambda path: read_rows(path, columns, expected=expected, label=label))

    def row_schema(self, position: int) -> pa.Schema:
        """Return the columns of a shard's rows, the maker's own at the end."""
        rows = self._shard(position).rows
        return self._opened(rows, lambda path: read_row_schema(path, label=f"{self.url}/{rows.name}"))

    def shown(self, position: int, stored: pa.Table) -> pa.ChunkedArray:
        """Say of each stored row of a shard whether its group is selected and was not taken down.

        Reads `key` where anything was taken down.
        """
        is_shown = pa.chunked_array([np.ones(len(stored), np.bool_)])
        if self.version.tombstones:
            is_gone = pc.is_in(stored["key"], value_set=pa.array(self.version.tombstones, pa.string()))
            is_shown = pc.invert(is_gone)
        if self.version.selection is None:
            return is_shown
        return pc.and_(is_shown, pa.array(np.repeat(self.selected(position), self.version.views_per_group)))

    def selected(self, position: int) -> NDArray[np.bool_]:
        """Say of each group of a shard whether it is selected, in the shard's order.

        Raises: CorruptError if the selection's file is not what the version says.
        """
        shard = self._shard(position)
        if self.version.selection is None:
            return np.ones(shard.groups, np.bool_)
        bits, first = self._selection_bits
        part = bits[first[position] : first[position + 1]]
        return np.unpackbits(part, count=shard.groups, bitorder="little").astype(np.bool_)

    @cached_property
    def _selection_bits(self) -> tuple[NDArray[np.uint8], list[int]]:
        """Return the selection's bytes, and where those of each shard begin."""
        assert self.version.selection is not None
        file = self.version.selection.bits
        data = self._opened(file, Path.read_bytes) if self._bits is None else self._bits
        first = np.cumsum([0, *(-(-shard.groups // 8) for shard in self.version.shards)]).tolist()
        if len(data) != first[-1]:
            raise CorruptError(f"{self.url}/{file.name} has {len(data)} bytes: its version's shards need {first[-1]}")
        return np.frombuffer(data, np.uint8), first

    def _opened(self, file: ShardFile, read: Callable[[Path], T]) -> T:
        try:
            return read(self._fetched(file))
        except FileNotFoundError:  # another process made room in the cache just now
            return read(self._fetched(file))

    def _fetched(self, file: ShardFile) -> Path:
        return self.cache.fetch(self.homes.of(file.name), file.name, file.size, file.sha256)

    def _shard(self, position: int) -> VersionShard:
        if not 0 <= position < len(self.version.shards):
            raise UserError(f"{self.url}: no shard at position {position}: there are {len(self.version.shards)}")
        return self.version.shards[position]

    def groups(self) -> GroupIndex:
        """Index all groups that have images.

        Raises: CorruptError if the rows of a group are not its views 0 … k-1 in order; UserError if there is no shard.
        """
        if not self.version.shards:
            raise UserError(f"{self.url}: version {self.root} has no shards, so no groups")
        parts = [self._shard_groups(position) for position in range(len(self.version.shards))]
        return GroupIndex(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _shard_groups(self, position: int) -> tuple[NDArray[Any], ...]:
        table, k = self._shard_rows(position, _GROUP_COLUMNS, True), self.version.views_per_group
        views, group = table["view"].to_numpy(), table["group"].to_numpy()
        is_whole = len(table) % k == 0 and bool((views == np.arange(len(table)) % k).all())
        if not is_whole or not (np.diff(group.reshape(-1, k), axis=1) == 0).all():
            raise CorruptError(f"{self.url}/{self._shard(position).rows.name}: groups are not {k} views in order")
        first = table.take(pa.array(np.arange(0, len(table), k)))
        return (
            np.full(len(first), position, np.int32),
            first["group"].to_numpy(),
            np.array(first["key"].to_pylist(), np.str_),
            first["positive_id"].to_numpy(),
            pc.fill_null(first["label"], -1).to_numpy(),
            np.array(pc.fill_null(first["split"], "").to_pylist(), np.str_),
            table["offset"].to_numpy().reshape(-1, k),
            table["size"].to_numpy().reshape(-1, k),
        )

    def shard_path(self, position: int) -> Path:
        """Return a local file with the whole shard, its hash checked.

        Raises: CorruptError naming the shard.
        """
        return self._fetched(self._shard(position).shard)

    def read(self, position: int, offset: int, size: int) -> bytes:
        """Read `size` bytes at `offset` of the shard at a position.

        Raises: CorruptError naming shard and offset.
        """
        handle = self._handles.get(position)
        if min(offset, size) < 0 or offset + size > handle.size_bytes:
            ends = f"ends at byte {handle.size_bytes}: {size} bytes at {offset} are wanted"
            raise CorruptError(f"{self.url}/{self._shard(position).shard.name} {ends}")
        data = handle.read(offset, size)
        if len(data) != size:
            raise CorruptError(f"{self.url}/{self._shard(position).shard.name} was cut while it was read at {offset}")
        return data

    def _open_shard(self, position: int) -> Handle:
        file = self._shard(position).shard
        is_in_place = self.homes.of(file.name).is_local
        return self._opened(file, lambda path: Handle(path, is_in_place=is_in_place))

    @cached_property
    def _positions(self) -> dict[tuple[str, int], list[int]]:
        """Return where the shards of each stream and index stand."""
        found: dict[tuple[str, int], list[int]] = {}
        for position, shard in enumerate(self.version.shards):
            found.setdefault((shard.stream_id, shard.index), []).append(position)
        return found

    def position_of(self, row: Mapping[str, Any]) -> int:
        """Return the position of the shard that holds a row's group; parts of a stream may share an index.

        Raises: UserError for a row of another data set.
        """
        places = self._positions.get((row["stream_id"], row["shard"]), [])
        for position in places if len(places) > 1 else []:
            stored = self.stored_rows(position, ["key", "offset"])
            if pc.any(pc.and_(pc.equal(stored["key"], row["key"]), pc.equal(stored["offset"], row["offset"]))).as_py():
                return position
        if not places:
            raise UserError(f"{self.url}: {row['key']} is of another data set: its shard is not in version {self.root}")
        return places[0]

    def peek(self, row: Mapping[str, Any]) -> bytes:
        """Read the bytes of a row's image by a range of its shard, which is not fetched.

        Raises: as `encoded` does.
        """
        file = self._shard(self.position_of(row)).shard
        data = self.homes.of(file.name).get_bytes(file.name, row["offset"], row["size"])
        if sha256_hex(data) != row["sha256"]:
            where = f"{self.url}/{file.name}: {row['key']} view {row['view']} at {row['offset']}"
            raise CorruptError(f"{where}: the image's sha256 is {sha256_hex(data)}, expected {row['sha256']}")
        return data

    def image(self, row: Mapping[str, Any]) -> NDArray[np.uint8]:
        """Decode the image of a row.

        Shapes: uint8 [H, W, 3].
        Raises: CorruptError naming shard, key and offset; UserError if the row has no image.
        """
        if row["status"] != OK:
            raise UserError(f"{row['key']} view {row['view']} has no image: it is {row['status']} ({row['reason']})")
        position = self.position_of(row)
        where = f"{self.url}/{self._shard(position).shard.name}: {row['key']} view {row['view']} at {row['offset']}"
        data = self.read(position, row["offset"], row["size"])
        if sha256_hex(data) != row["sha256"]:
            raise CorruptError(f"{where}: the image's sha256 is {sha256_hex(data)}, expected {row['sha256']}")
        try:
            return decode_image(data)
        except CorruptError as error:
            raise CorruptError(f"{where}: {error}") from error

    @property
    def is_written(self) -> bool:
        """Say whether the version lies in its folder, and not in this process alone."""
        return self.homes.store(self.url).exists(self.version.object_name())

    def parts(self) -> list[tuple[DataSet, float | None]]:
        """Return the data sets that a merged one was made of, each with its weight; of any other, itself."""
        found, first = [], 0
        for part in self.version.parts:
            found.append((self._of_shards(range(first, first + part.shards)), part.weight))
            first += part.shards
        return found or [(self, None)]

    def _of_shards(self, positions: range) -> DataSet:
        """Show only a run of the shards, with the groups that are in."""
        masks = [self.selected(position) for position in positions]
        changes: dict[str, Any] = {"shards": [self.version.shards[position] for position in positions], "parts": []}
        bits = None
        if self.version.selection is not None:
            bits = packed(masks)
            count = max(1, sum(int(mask.sum()) for mask in masks))
            changes["selection"] = self.version.selection.model_copy(update={"groups": count})
        return DataSet(self.homes, self.version.model_copy(update=changes), self.cache, bits)


def packed(masks: Sequence[NDArray[np.bool_]]) -> bytes:
    """Lay down which groups are in, a bit a group, each shard from a byte of its own."""
    return b"".join(np.packbits(mask, bitorder="little").tobytes() for mask in masks)


def open_dataset(
    url: str | Path, *, root: str | None = None, cache: ShardCache | None = None, opener: type[Store] = Store
) -> DataSet:
    """Open the newest version of a data set, or the one with a given root; `opener` may be a store that is patient.

    Raises: UserError naming the URL and what is there, if there is no finished version.
    """
    store = opener.open(url)
    version = newest(store) if root is None else _version(store, root)
    if version is None:
        raise UserError(f"{store.url}: no finished version: {_what_is_there(store)}")
    has_selection = version.selection is not None
    is_known = has_selection if version.kind == "selected" else version.kind == "merged" or not has_selection
    if version.format != 1 or not is_known:
        found = f"format {version.format}, kind {version.kind}"
        raise UserError(f"{store.url}: the version needs a newer ViewMill ({found})")
    places = read_places(store) if has_selection else []
    return DataSet(Homes(store, places), version, cache or ShardCache.default())


def _version(store: Store, root: str) -> VersionDoc:
    known = version_roots(store)
    match = [name for name in known if name.startswith(root)]
    if len(match) != 1 or not root:
        raise UserError(f"{store.url}: no single version {root!r}: there are {known}")
    return read_version(store, match[0])


def _what_is_there(store: Store) -> str:
    finished = len(store.list("commits"))
    if finished or store.list("recipes"):
        return f"{finished} finished shards of unfinished work; run the command that made them again"
    names = [name for name, _ in store.list()]
    return f"the folder holds {names[:3] or 'nothing'}, which is no ViewMill data set"
