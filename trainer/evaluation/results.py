"""Rows of results in a folder that only grows: one Parquet file for each protocol that was finished.

A Parquet file cannot be appended to, and rewriting one puts all older rows at risk; so every file is written once,
under the hash of its content, whole or not at all. Any number of processes may write, and any reader of Parquet takes
the folder for one table.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.canonical import sha256_hex
from manifests.errors import CorruptError, UserError
from manifests.target import replaced

SCHEMA = pa.schema(
    [
        ("time", pa.string()),  # UTC
        ("commit", pa.string()),
        ("hardware", pa.string()),
        ("seconds", pa.float64()),  # of the protocol, and of embedding if it was the first to ask for features
        ("checkpoint", pa.string()),  # as it was typed
        ("checkpoint_sha256", pa.string()),
        ("seed", pa.int64()),  # of random weights and of fine-tuning
        ("set", pa.string()),
        ("root", pa.string()),
        ("split", pa.string()),
        ("partition", pa.string()),
        ("protocol", pa.string()),
        ("version", pa.int64()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("interval", pa.string()),
        ("images", pa.int64()),
        ("groups", pa.int64()),
        ("learned_from", pa.int64()),
        ("list_sha256", pa.string()),
    ]
)
_IDENTITY = ("checkpoint_sha256", "seed", "root", "split", "partition", "protocol", "version")
Row = Mapping[str, Any]


def append(folder: Path, rows: Sequence[Row]) -> Path:
    """Write rows as a file of their own and return its path.

    Raises: UserError for a full disk, a read-only folder and the like.
    """
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA), buffer)
    path = folder / f"{sha256_hex(buffer.getvalue())[:32]}.parquet"
    with replaced(path) as part:
        part.write_bytes(buffer.getvalue())
    return path


def read(sources: Iterable[Path]) -> list[dict[str, Any]]:
    """Read the rows of result folders and files, oldest first.

    Raises: UserError where there are none; CorruptError for a file that is not what `append` wrote.
    """
    found: list[dict[str, Any]] = []
    for source in sources:
        files = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
        if not files:
            raise UserError(f"{source} holds no results; `python -m trainer evaluate … --suite all --results {source}`")
        found += [row for file in files for row in _rows(file)]
    return sorted(found, key=lambda row: (row["time"], row["checkpoint"], row["protocol"]))


def already(folder: Path, row: Row) -> list[dict[str, Any]]:
    """Return the rows of a folder that were measured on the same weights, images and protocol."""
    if not any(folder.glob("*.parquet")):
        return []
    return [known for known in read([folder]) if all(known[name] == row[name] for name in _IDENTITY)]


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        table = pq.read_table(file, schema=SCHEMA, partitioning=None)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise CorruptError(f"{file}: no file of results: {str(error).splitlines()[0]}") from None
    rows: list[dict[str, Any]] = table.to_pylist()
    if any(row["protocol"] is None or row["value"] is None for row in rows):
        raise CorruptError(f"{file}: no file of results: it lacks protocol or value")
    return rows
