"""Reads the rows that `python -m trainer evaluate … --suite` records, as scores of the data that was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from manifests.catalog import Score
from manifests.errors import CorruptError, UserError

_TOLD = {
    "protocol": pa.string(),
    "metric": pa.string(),
    "value": pa.float64(),
    "set": pa.string(),
    "split": pa.string(),
}
_SAID = {"low": pa.float64(), "high": pa.float64(), "interval": pa.string(), "checkpoint_sha256": pa.string()}
_SAID |= {"partition": pa.string(), "root": pa.string(), "commit": pa.string(), "hardware": pa.string()}
_SCHEMA = pa.schema([*_TOLD.items(), *_SAID.items()])
_SHORT = 12


def read_scores(source: Path, root: str, *, by: str, method: str = "") -> list[Score]:
    """Read a results table, a folder of Parquet files or one of them; `root` is of the data that was trained on.

    Raises: UserError if there are no rows; CorruptError for a file that is no results table.
    """
    files = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    rows = [(file, row) for file in files for row in _rows(file)]
    if not rows:
        raise UserError(f"{source} holds no results: `python -m trainer evaluate … --suite all --results {source}`")
    return [_score(file, row, {"root": root, "by": by, "method": method}) for file, row in rows]


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = pq.read_table(file, schema=_SCHEMA, partitioning=None).to_pylist()
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise CorruptError(f"{file}: no results table: {str(error).splitlines()[0]}") from None
    if any(row[name] is None for row in rows for name in _TOLD):
        raise CorruptError(f"{file}: no results table: a row lacks one of {', '.join(_TOLD)}")
    return rows


def _score(file: Path, row: Mapping[str, Any], known: Mapping[str, str]) -> Score:
    measured = f"{row['set']} {row['split']}{', ' + row['partition'] if row['partition'] else ''}"
    told = {
        "encoder": (row["checkpoint_sha256"] or "")[:_SHORT],
        "on": (row["root"] or "")[:_SHORT],
        "commit": (row["commit"] or "")[:_SHORT],
        "hardware": row["hardware"],
        "interval": row["interval"],
    }
    note = ", ".join(f"{name} {value}" for name, value in told.items() if value)
    facts = {**known, **{name: row[name] for name in ("value", "low", "high")}, "note": note}
    try:
        return Score.model_validate({**facts, "measure": f"{measured}: {row['protocol']}, {row['metric']}"})
    except ValidationError as error:
        problem = error.errors()[0]
        raise CorruptError(f"{file}: no results table: {problem['loc'][0]}: {problem['msg']}") from None
