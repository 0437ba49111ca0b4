"""Parquet files with images in them, as Hugging Face writes them: a struct of bytes and path, and columns beside it.

Each file is read once, a few rows at a time; the images' bytes are laid down in one local file, from which they are
decoded and written, so that groups may gather rows from anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.errors import UserError, explained
from manifests.foreign_tar import source_file, split_of
from manifests.table import Columns, Image, Listing, Piece, described

_BATCH_BYTES = 1 << 28
_MOST_BATCH_ROWS = 256


def read_parquets(
    files: Sequence[Path], base: Path, columns: Columns, label_names: Sequence[str] | None, spool: Path
) -> Listing:
    """List the rows of Parquet files; a row's source is the file's path under `base`, the row, and the column.

    Raises: UserError for a file that cannot be read or has no image column.
    """
    images: list[list[Image]] = []
    tables: list[pa.Table] = []
    with explained(str(spool)), (spool / "images").open("wb") as laid_down:
        for path in files:
            try:
                with pq.ParquetFile(path, pre_buffer=False) as file:
                    names = label_names or _class_names(file.schema_arrow, columns.label)
                    for found, rows in _read(file, path, base, columns, laid_down):
                        images += found
                        tables.append(rows)
            except (pa.ArrowException, OSError) as error:
                raise UserError(f"{path}: {str(error).splitlines()[0]}") from error
    if not images:
        raise UserError(f"{files[0]}: no row in {len(files)} files")
    try:
        rows = pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException as error:
        raise UserError(f"{files[0]}: the files' columns differ: {str(error).splitlines()[0]}") from error
    sources = [source_file(path, base) for path in files]
    return replace(described(rows, images, columns, names, files[0]), sources=sources)


def _class_names(schema: pa.Schema, label: str) -> list[str] | None:
    """Return the names of a column of `datasets` that holds classes."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
        return [str(name) for name in names] if isinstance(names, list) else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _read(
    file: pq.ParquetFile, path: Path, base: Path, columns: Columns, spool: BinaryIO
) -> Iterator[tuple[list[list[Image]], pa.Table]]:
    schema = file.schema_arrow
    views = list(columns.images) or [name for name in schema.names if _is_image(schema.field(name).type)]
    wrong = [name for name in views if name not in schema.names or not _is_image(schema.field(name).type)]
    if wrong or not views:
        raise UserError(f"{path}: no image column {wrong or ''}: there are {schema.names}")
    others = [name for name in schema.names if name not in views and (name in columns.known or columns.own_name(name))]
    classes = _class_names(schema, columns.label)
    number, name = 0, path.relative_to(base).as_posix()
    for batch in file.iter_batches(_batch_rows(file.metadata), columns=[*views, *others], use_threads=False):
        table = pa.Table.from_batches([batch])
        values = zip(*(table[view].to_pylist() for view in views), strict=True)
        found = [
            _row_images(path, f"{name}:{number + place}", dict(zip(views, row, strict=True)), spool)
            for place, row in enumerate(values)
        ]
        number += len(table)
        yield found, _completed(table.select(others), path, columns, classes)


def _completed(rows: pa.Table, path: Path, columns: Columns, classes: list[str] | None) -> pa.Table:
    """Add the split of the file's name; where classes have names, -1 stands for none."""
    if columns.split not in rows.column_names:
        split = pa.array([split_of(path)] * len(rows), pa.string())
        rows = rows.append_column(columns.split, split) if rows.num_columns else pa.table({columns.split: split})
    if classes and columns.label in rows.column_names:
        labels = rows[columns.label]
        none = pa.scalar(None, labels.type)
        place = rows.column_names.index(columns.label)
        rows = rows.set_column(place, columns.label, pc.if_else(pc.equal(labels, -1), none, labels))
    return rows


def _is_image(type_: pa.DataType) -> bool:
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return _is_image(type_.value_type)
    if pa.types.is_struct(type_):
        return bool(type_.get_field_index("bytes") >= 0 and _is_bytes(type_.field("bytes").type))
    return _is_bytes(type_)


def _is_bytes(type_: pa.DataType) -> bool:
    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_))


def _batch_rows(metadata: pq.FileMetaData) -> int:
    """Count rows that stay within memory even if each has the largest value of its column."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    largest = max((group.total_byte_size for group in groups), default=0)
    return max(1, min(_MOST_BATCH_ROWS, _BATCH_BYTES // max(largest, 1)))


def _row_images(path: Path, name: str, row: dict[str, Any], spool: BinaryIO) -> list[Image]:
    """Lay a row's images down, and name them by row, column and, in a list, place."""
    images = []
    for view, value in row.items():
        values = value if isinstance(value, list) else [value]
        for place, one in enumerate(values):
            label = f"{name}/{view}/{place}" if isinstance(value, list) else f"{name}/{view}"
            images.append(_laid_down(label, f"{path}, row {name.rpartition(':')[2]}", one, spool))
    return images or [Image(name, str(path), problem="the row has no image")]


def _laid_down(name: str, where: str, value: Any, spool: BinaryIO) -> Image:
    data = value.get("bytes") if isinstance(value, dict) else value
    if data is None:
        path = value.get("path") if isinstance(value, dict) else None
        return Image(name, where, problem=f"only the path {path!r} is there, no bytes" if path else "there is no image")
    offset = spool.tell()
    spool.write(data)
    return Image(name, where, Piece(Path(spool.name), offset, len(data)))
