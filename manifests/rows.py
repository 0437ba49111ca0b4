"""Row files: one Parquet file a shard, written with settings that leave nothing to the library's defaults."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.errors import CorruptError, UserError
from manifests.schema import conform

# Hashes and long random numbers repeat nowhere: a dictionary of them only costs space.
_NO_DICTIONARY = {"latent", "sha256", "pixel_hash", "view_seed", "member", "offset", "size"}
_ROW_GROUP_ROWS = 1 << 20


def write_rows(table: pa.Table, path: Path) -> None:
    """Write rows so that two writings by one version of pyarrow give equal bytes, and fsync."""
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


def read_rows(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a row file as format 1, all columns or some of them.

    Raises: CorruptError naming the file; FileNotFoundError.
    """
    try:
        with pq.ParquetFile(path) as file:
            present = None if columns is None else [c for c in columns if c in file.schema_arrow.names]
            table = conform(file.read(columns=present))
    except FileNotFoundError:  # a cache's files may go at any time
        raise
    except (pa.ArrowException, OSError, UserError) as error:
        raise CorruptError(f"{path}: no readable row file: {error}") from error
    if columns is None:
        return table
    absent = [name for name in columns if name not in table.column_names]
    if absent:
        raise UserError(f"no column {absent}: there are {table.column_names}")
    return table.select(columns)
