"""Row files: one Parquet file a shard, written with settings that leave nothing to the library's defaults.

A small file may unfold to more than any memory holds. So what its footer says is compared before anything is decoded,
and rows are decoded so few at a time that one value, repeated in all of them, stays within the limit.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.errors import CorruptError, UserError
from manifests.schema import conform, fitted

MOST_BYTES = 1 << 30  # of a row file's values, decoded; docs/format.md, "The rows"
_MOST_COLUMNS = 1000
_MOST_BATCH_ROWS = 1 << 16
_WIDEST_BYTES = 8  # of a number
# Hashes and long random numbers repeat nowhere: a dictionary of them only costs space.
_NO_DICTIONARY = {"latent", "sha256", "pixel_hash", "view_seed", "member", "offset", "size"}
_ROW_GROUP_ROWS = 1 << 20


def write_rows(table: pa.Table, path: Path) -> None:
    """Write rows so that two writings by one version of pyarrow give equal bytes, and fsync.

    Raises: UserError for more than a reader would take.
    """
    if table.nbytes > MOST_BYTES:
        raise UserError(f"{table.num_rows} rows take {table.nbytes} bytes: at most {MOST_BYTES}; put fewer in a shard")
    with path.open("wb") as file:
        pq.write_table(
            table.combine_chunks(),
            file,
            row_group_size=_ROW_GROUP_ROWS,
            version="2.6",
            data_page_version="1.0",
            data_page_size=1 << 20,
            compression="zstd",
            compression_level=3,
            use_dictionary=[name for name in table.column_names if name not in _NO_DICTIONARY],
            write_statistics=True,
            store_schema=True,
        )
        file.flush()
        os.fsync(file.fileno())


def read_rows(
    path: Path, columns: list[str] | None = None, *, expected: int | None = None, label: str | None = None
) -> pa.Table:
    """Read a row file as format 1, all columns or some of them.

    Raises: CorruptError naming the file by its `label`, also if it has not the `expected` number of rows or would
    unfold to more than MOST_BYTES; UserError for a column that is not there; FileNotFoundError.
    """
    label = label or str(path)
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            table = _decoded(file, columns, expected)
    except FileNotFoundError:  # a cache's files may go at any time
        raise
    except (pa.ArrowException, OSError, UserError) as error:
        raise CorruptError(f"{label}: no readable row file: {error}") from error
    if columns is None:
        return table
    absent = [name for name in columns if name not in table.column_names]
    if absent:
        raise UserError(f"no column {absent}: there are {table.column_names}")
    return table.select(columns)


def read_row_schema(path: Path, *, label: str) -> pa.Schema:
    """Read the columns of a row file as format 1, the maker's own at the end.

    Raises: CorruptError naming the file by its `label`; FileNotFoundError.
    """
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            return conform(file.schema_arrow.empty_table()).schema.remove_metadata()
    except FileNotFoundError:  # a cache's files may go at any time
        raise
    except (pa.ArrowException, OSError, UserError) as error:
        raise CorruptError(f"{label}: no readable row file: {error}") from error


def _decoded(file: pq.ParquetFile, columns: list[str] | None, expected: int | None) -> pa.Table:
    schema = conform(file.schema_arrow.empty_table()).schema  # types first, values after
    names = [name for name in file.schema_arrow.names if columns is None or name in columns]
    batch_rows = _batch_rows(file.metadata, names, expected)
    if not names:  # what later releases have is null here
        return pa.Table.from_arrays([pa.nulls(file.metadata.num_rows, f.type) for f in schema], schema=schema)
    wanted = pa.schema([schema.field(name) for name in names])
    tables, size_bytes = [wanted.empty_table()], 0
    for batch in file.iter_batches(batch_rows, columns=names, use_threads=False):
        tables.append(fitted(pa.Table.from_batches([batch]).select(names), wanted))
        size_bytes += tables[-1].nbytes
        if size_bytes > MOST_BYTES:
            raise CorruptError(f"its rows unfold to more than {MOST_BYTES} bytes")
    whole = pa.concat_tables(tables)
    return whole if columns is not None and set(columns) <= set(names) else conform(whole)


def _batch_rows(metadata: pq.FileMetaData, names: list[str], expected: int | None) -> int:
    """Compare the footer with what may be, and count the rows of which each could repeat all text of these columns."""
    if metadata.num_columns > _MOST_COLUMNS:
        raise CorruptError(f"{metadata.num_columns} columns, expected at most {_MOST_COLUMNS}")
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    rows = sum(group.num_rows for group in groups)
    if {rows, metadata.num_rows} != {metadata.num_rows if expected is None else expected}:
        raise CorruptError(f"{rows} rows, expected {metadata.num_rows if expected is None else expected}")
    chunks = [group.column(number) for group in groups for number in range(metadata.num_columns)]
    packed = [chunk.total_uncompressed_size for chunk in chunks]
    values = [chunk.num_values for chunk in chunks]
    unfolded = max(sum(packed), sum(values) * _WIDEST_BYTES)
    if min([0, *packed, *values]) < 0 or unfolded > MOST_BYTES:
        raise CorruptError(f"its columns unfold to {unfolded} bytes, expected 0 to {MOST_BYTES}")
    texts: int = sum(chunk.total_uncompressed_size for chunk in chunks if _is_text(chunk, names))
    return max(1, min(_MOST_BATCH_ROWS, MOST_BYTES // max(texts, 1)))


def _is_text(chunk: pq.ColumnChunkMetaData, names: list[str]) -> bool:
    is_wanted = any(f"{chunk.path_in_schema}.".startswith(f"{name}.") for name in names)
    return is_wanted and chunk.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
