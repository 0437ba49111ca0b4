"""What is said about images: by a table (CSV, JSONL, Parquet) of the files in a folder, or by rows of other sources.

Images are named by where their bytes lie in local files; nothing is decoded here.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from manifests.errors import CorruptError, UserError
from manifests.schema import USER_PREFIX, check_user_column, plain_type

MOST_IMAGE_BYTES = 1 << 28
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True)
class Columns:
    """The names of the columns; all but `file` may be absent, and `file` is read in tables only.

    `images` names the views of a row of Parquet (columns) or of a tar (endings), all by default; `keep` names columns
    to take as one's own.
    """

    file: str = "file"
    caption: str = "caption"
    label: str = "label"
    split: str = "split"
    group: str = "group"
    images: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    @property
    def known(self) -> frozenset[str]:
        """Return the columns that have a meaning of their own."""
        return frozenset([self.file, self.caption, self.label, self.split, self.group])

    def own_name(self, name: str) -> str | None:
        """Return the name that a column of the maker's own gets, or None for one that is not taken."""
        if name.startswith(USER_PREFIX):
            return name
        return f"{USER_PREFIX}{name}" if name in self.keep and name not in self.known else None


@dataclass(frozen=True)
class Piece:
    """Bytes in a local file: from an offset, or all of it."""

    path: Path
    offset: int = 0
    size: int | None = None

    def read(self) -> bytes:
        """Return the bytes.

        Raises: CorruptError for more than an image may have, or less than was promised.
        """
        with self.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size if self.size is None else self.size
            if size > MOST_IMAGE_BYTES:
                raise CorruptError(f"{size} bytes are too many for an image: the limit is {MOST_IMAGE_BYTES}")
            file.seek(self.offset)
            data = file.read(size)
        if len(data) != size:
            raise CorruptError(f"{self.path.name} ends after {len(data)} of {size} bytes")
        return data


@dataclass(frozen=True)
class Image:
    """An image of a source: its name there and its bytes, or the problem that it has none."""

    file: str
    where: str
    piece: Piece | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Entry:
    """One image and what was said of it."""

    image: Image
    caption: str | None = None
    label: int | None = None
    split: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """Return the row's columns that come from the table."""
        return {"prompt": self.caption, "label": self.label, "split": self.split, **self.extra}


@dataclass(frozen=True)
class Listing:
    """All groups in order, the classes' names, the types of the user's own columns, and the files they lie in."""

    groups: list[list[Entry]]
    label_names: list[str]
    extra_types: dict[str, pa.DataType]
    sources: list[dict[str, Any]] = field(default_factory=list)  # name, sha256, size


def read_entries(source: Path, table: Path | None, columns: Columns, label_names: Sequence[str] | None) -> Listing:
    """List the images of a folder, or those that a table names, in the table's order.

    Raises: UserError naming the file, line or column.
    """
    if not source.is_dir():
        raise UserError(f"{source}: there is no such folder of images")
    if table is None:
        found = _images_in(source)
        groups = [[Entry(Image(file, str(source), Piece(source / file)))] for file in found]
        return Listing(groups, list(label_names or []), {})
    rows = _read_table(table, columns)
    if columns.file not in rows.column_names:
        raise UserError(f"{table}: no column {columns.file!r}: there are {rows.column_names}")
    unknown = [name for name in rows.column_names if name not in columns.known and not columns.own_name(name)]
    if unknown:
        raise UserError(
            f"{table}: unknown columns {unknown}: expected {sorted(columns.known)}, or your own as x_…, or to keep"
        )
    files = enumerate(rows[columns.file].to_pylist(), 1)
    images = [[_file(source, file, table, line, columns)] for line, file in files]
    return described(rows, images, columns, label_names, table)


def described(
    rows: pa.Table, images: Sequence[list[Image]], columns: Columns, label_names: Sequence[str] | None, source: Path
) -> Listing:
    """Gather the groups of a source that has some images in each row, and rows of the columns that are read.

    Raises: UserError naming the row or column.
    """
    absent = [name for name in columns.keep if name not in rows.column_names]
    if absent:
        raise UserError(f"{source}: no column {absent} to keep: there are {rows.column_names}")
    extra_types = _extra_types(rows, columns)
    names, labels = _labels(rows, columns.label, label_names, source)
    taken = zip(rows.to_pylist(), images, labels, strict=True)
    entries = [_entries(columns, row, images_, label) for row, images_, label in taken]
    marks = rows[columns.group].to_pylist() if columns.group in rows.column_names else range(len(entries))
    return Listing(_grouped(entries, marks), names, extra_types)


def _images_in(source: Path) -> list[str]:
    paths = [p.relative_to(source) for p in source.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()]
    visible = [p.as_posix() for p in paths if not any(part.startswith(".") for part in p.parts)]
    if not visible:
        raise UserError(f"{source}: no image in it (looked for {', '.join(sorted(SUFFIXES))})")
    return sorted(_checked_file(source, file, str(source)) for file in visible)


def _checked_file(source: Path, file: str, where: str) -> str:
    parts = PurePosixPath(file).parts
    if not file or file.startswith("/") or ".." in parts or "\\" in file:
        raise UserError(f"{where}: {file!r} is no path inside {source}")
    if not (source / file).resolve().is_relative_to(source.resolve()):
        raise UserError(f"{where}: {file!r} is a link that leaves {source}")
    return PurePosixPath(file).as_posix()


def _read_table(path: Path, columns: Columns) -> pa.Table:
    readers = {".csv": lambda file: _read_csv(file, columns), ".jsonl": _read_jsonl, ".parquet": pq.read_table}
    if path.suffix not in readers:
        raise UserError(f"{path}: expected a table that ends in {', '.join(readers)}")
    if not path.is_file():
        raise UserError(f"{path}: there is no such table")
    try:
        table: pa.Table = readers[path.suffix](path)
        names = table.column_names
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}): save the table as UTF-8") from error
    except (pa.ArrowException, ValueError, OSError, OverflowError, RecursionError) as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from error
    if not table.num_rows:
        raise UserError(f"{path}: the table has no rows")
    if len(set(names)) < len(names):
        raise UserError(f"{path}: two columns have one name: there are {names}")
    return table


def _read_csv(path: Path, columns: Columns) -> pa.Table:
    """Read texts as texts even where all look like numbers; an empty cell is null."""
    path.read_bytes().decode()  # Arrow checks no header
    texts = {name: pa.string() for name in (columns.file, columns.caption, columns.split)}
    convert = pa.csv.ConvertOptions(column_types=texts, strings_can_be_null=True, null_values=[""])
    return pa.csv.read_csv(path, parse_options=pa.csv.ParseOptions(newlines_in_values=True), convert_options=convert)


def _read_jsonl(path: Path) -> pa.Table:
    lines = io.StringIO(path.read_text(encoding="utf-8"))
    rows = [_json_object(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    names = dict.fromkeys(name for row in rows for name in row)  # pyarrow would take those of the first row only
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _json_object(number: int, line: str) -> dict[str, Any]:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError(f"line {number} is no JSON object")
    return value


def _extra_types(rows: pa.Table, columns: Columns) -> dict[str, pa.DataType]:
    own = {columns.own_name(name): rows.schema.field(name).type for name in rows.column_names}
    types = {name: plain_type(type_) for name, type_ in own.items() if name is not None}
    for name, type_ in types.items():
        check_user_column(name, type_)
    return types


def _labels(
    rows: pa.Table, column: str, label_names: Sequence[str] | None, table: Path
) -> tuple[list[str], list[int | None]]:
    """Number the labels: strings by their place in `label_names` (sorted unless given), integers as they are."""
    values = rows[column].to_pylist() if column in rows.column_names else [None] * len(rows)
    present = [value for value in values if value is not None]
    if all(isinstance(value, str) for value in present):
        names = list(label_names) if label_names is not None else sorted(set(present))
        unknown = sorted(set(present) - set(names))
        if unknown:
            raise UserError(f"{table}: labels {unknown[:5]} are not among {names[:20]}")
        number = {name: place for place, name in enumerate(names)}
        return names, [None if value is None else number[value] for value in values]
    if not all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in present):
        raise UserError(f"{table}: the column {column!r} must hold strings, or integers from 0")
    if label_names is not None and max(present) >= len(label_names):
        raise UserError(f"{table}: label {max(present)} has no name: {len(label_names)} were given")
    return list(label_names or []), values


def _file(source: Path, file: object, table: Path, line: int, columns: Columns) -> Image:
    where = f"{table}, row {line}"
    if not isinstance(file, str):
        raise UserError(f"{where}: the column {columns.file!r} must hold a path, not {file!r}")
    name = _checked_file(source, file, where)
    return Image(name, where, Piece(source / name))


def _entries(columns: Columns, row: dict[str, Any], images: list[Image], label: int | None) -> list[Entry]:
    texts = {name: row.get(getattr(columns, name)) for name in ("caption", "split")}
    wrong = {name: value for name, value in texts.items() if not isinstance(value, str | None)}
    if wrong:
        raise UserError(f"{images[0].where}: {wrong} must be text")
    own = {columns.own_name(name): value for name, value in row.items()}
    extra = {name: value for name, value in own.items() if name is not None}
    return [Entry(image, **texts, label=label, extra=extra) for image in images]


def _grouped(rows: Iterable[list[Entry]], group_of: Iterable[Any]) -> list[list[Entry]]:
    """Gather the views of each group, in the order of first appearance."""
    groups: dict[Any, list[Entry]] = {}
    for entries, group in zip(rows, group_of, strict=True):
        groups.setdefault(group, []).extend(entries)
    size = len(next(iter(groups.values())))
    for group, members in groups.items():
        where = members[0].image.where
        if len(members) != size:
            first = next(iter(groups))
            raise UserError(
                f"{where}: group {group!r} has {len(members)} images, group {first!r} has {size}: "
                "all groups must have the same number"
            )
        if len({(member.label, member.split) for member in members}) > 1:
            raise UserError(f"{where}: the images of group {group!r} differ in label or split")
    return list(groups.values())
