"""Prompt sources: a text, CSV, JSONL or Parquet file, a list in the recipe, or templates filled from word lists.

`read_prompts` does the reading; what it returns is a pure table of rows. `row_of_group` says which row a group shows,
of the seed and the group alone.
"""

from __future__ import annotations

import functools
import math
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, Protocol, get_args

import fsspec
import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import json as arrow_json
from pyarrow import parquet as arrow_parquet
from pydantic import BaseModel, ConfigDict, Field, model_validator

from manifests import seeds
from manifests.canonical import canonical_json, sha256_hex
from manifests.errors import UserError

FORMATS = {".txt": "text", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
EXTRA_TYPES = (pa.int64(), pa.float64(), pa.string(), pa.bool_())

Order = Literal["sequential", "shuffled", "sampled"]
Role = Literal["prompt", "negative_prompt", "guidance_scale", "label", "class_id", "split"]


class PromptConfig(BaseModel):
    """Where prompts come from: exactly one of `file`, `texts` and `templates`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str | None = None
    format: Literal["auto", "text", "csv", "jsonl", "parquet"] = "auto"
    columns: dict[Literal["prompt", "negative_prompt", "guidance_scale", "label", "class_id", "split"], str] = Field(
        default_factory=dict
    )
    texts: tuple[str, ...] | None = None
    templates: tuple[str, ...] | None = None
    words: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    order: Order = "sequential"

    @model_validator(mode="after")
    def _one_source(self) -> PromptConfig:
        given = [name for name in ("file", "texts", "templates") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"exactly one of file, texts and templates, found {' and '.join(given) or 'none'}")
        if self.templates:
            _check_templates(self.templates, self.words)
        elif self.words:
            raise ValueError("templates beside words; words fill the {names} of templates")
        return self


@dataclass(frozen=True)
class PromptRow:
    """One prompt and what was said beside it; `extra` holds the user's own columns, named x_…"""

    prompt: str
    prompt_id: str
    negative_prompt: str | None = None
    guidance_scale: float | None = None
    label: int | None = None
    class_id: int | None = None
    split: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class PromptTable(Protocol):
    """Rows of prompts that can be asked for one by one."""

    label_names: tuple[str, ...]
    extra_types: dict[str, pa.DataType]

    def __len__(self) -> int:
        """Count the rows."""

    def row(self, index: int) -> PromptRow:
        """Return one row."""


def row_of_group(order: Order, seed: int, group: int, rows: int) -> int:
    """Say which of `rows` prompts a group shows; sequential and shuffled show each once before any comes again."""
    if order == "sampled":
        return int(seeds.uniform(seeds.group_seed(seed, group), "prompt", 1)[0] * rows)
    if order == "shuffled":
        return int(_shuffled(seed, group // rows, rows)[group % rows])
    return group % rows


@functools.lru_cache(maxsize=4)
def _shuffled(seed: int, epoch: int, rows: int) -> Any:
    return seeds.permutation(seed, f"prompts/{epoch}", rows)


def read_prompts(config: PromptConfig) -> tuple[PromptTable, bytes | None]:
    """Read a prompt source; also returns the bytes of its file, which a data set keeps a copy of.

    Raises: UserError naming the file and what is wrong with it.
    """
    if config.templates:
        return TemplatePrompts(config.templates, config.words), None
    if config.texts:
        identity = sha256_hex(canonical_json(list(config.texts)))
        return RowPrompts(pa.table({"prompt": list(config.texts)}), "texts", identity), None
    file = config.file or ""
    data = _read_file(file)
    return RowPrompts(_parse(data, file, format_of(config), config.columns), file, sha256_hex(data)), data


def format_of(config: PromptConfig) -> str:
    """Return the format of the prompt file, by its suffix unless it is given."""
    if config.format != "auto":
        return config.format
    suffix = PurePosixPath(config.file or "").suffix.lower()
    if suffix not in FORMATS:
        known = ", ".join(FORMATS)
        raise UserError(f"prompts.file: {config.file}: suffix {suffix!r} is none of {known}; set prompts.format")
    return FORMATS[suffix]


def _read_file(file: str) -> bytes:
    try:
        with fsspec.open(file, "rb") as stream:
            return bytes(stream.read())
    except FileNotFoundError:
        raise UserError(f"prompts.file: {file}: no such file; a relative path is sought beside the recipe") from None
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"prompts.file: {file}: cannot be read: {error}") from None


def _parse(data: bytes, file: str, form: str, columns: Mapping[Any, str]) -> pa.Table:
    """Parse a prompt file into a table whose known columns carry our names and the user's own ones x_…"""
    source = pa.BufferReader(data)
    try:
        if form == "text":
            table = pa.table(
                {"prompt": [line.strip() for line in data.decode("utf-8-sig").splitlines() if line.strip()]}
            )
        elif form == "csv":
            table = arrow_csv.read_csv(source, parse_options=arrow_csv.ParseOptions(newlines_in_values=True))
        elif form == "jsonl":
            table = arrow_json.read_json(source, parse_options=arrow_json.ParseOptions(newlines_in_values=False))
        else:
            table = arrow_parquet.read_table(source)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise UserError(f"prompts.file: {file}: not {form}: {' '.join(str(error).split())[:200]}") from None
    return _named(table, file, columns)


def _named(table: pa.Table, file: str, columns: Mapping[Any, str]) -> pa.Table:
    ours = {columns.get(role, role): role for role in get_args(Role)}
    known = ", ".join(table.column_names)
    for role, column in columns.items():
        if column not in table.column_names:
            raise UserError(f"prompts.columns.{role}: {file} has no column {column!r}; it has {known}")
    if "prompt" not in columns and "prompt" not in table.column_names:
        raise UserError(f"prompts.file: {file} has no column 'prompt', it has {known}; set prompts.columns.prompt")
    names = [ours.get(name) or (name if name.startswith("x_") else f"x_{name}") for name in table.column_names]
    if len(set(names)) != len(names):
        raise UserError(
            f"prompts.file: {file}: two columns would both be called {max(names, key=names.count)}; rename one"
        )
    return table.rename_columns(names)


class RowPrompts:
    """Prompts that stand in rows of a table."""

    def __init__(self, table: pa.Table, where: str, sha256: str) -> None:
        if not len(table):
            raise UserError(f"prompts: {where} holds no prompt; expected at least one")
        self._id_prefix = sha256[:8]
        self._table, self.label_names = _labelled(_cast(table, where))
        extra = [name for name in table.column_names if name.startswith("x_")]
        self.extra_types: dict[str, pa.DataType] = {name: self._table.schema.field(name).type for name in extra}

    def __len__(self) -> int:
        return len(self._table)

    def row(self, index: int) -> PromptRow:
        """Return one row."""
        values = self._table.slice(index, 1).to_pylist()[0]
        extra = {name: values.pop(name) for name in self.extra_types}
        return PromptRow(prompt_id=f"{self._id_prefix}-{index}", extra=extra, **values)


def _cast(table: pa.Table, where: str) -> pa.Table:
    """Give every column its type.

    Raises: UserError naming the column, and the first row without a prompt.
    """
    types = {"guidance_scale": pa.float64(), "class_id": pa.int32()}
    for position, name in enumerate(table.column_names):
        column = table.column(position)
        is_free = name.startswith("x_") or name == "label"
        kind = _plain_type(column.type, name, where) if is_free else types.get(name, pa.string())
        try:
            table = table.set_column(position, name, column.cast(kind))
        except pa.ArrowException as error:
            raise UserError(
                f"prompts: {where}: column {name} is not {kind}: {' '.join(str(error).split())[:120]}"
            ) from None
    empty = [i for i, prompt in enumerate(table.column("prompt").to_pylist()) if prompt is None]
    if empty:
        raise UserError(
            f"prompts: {where}: row {empty[0]} has no prompt ({len(empty)} such rows); give it one or drop it"
        )
    return table


def _plain_type(kind: pa.DataType, name: str, where: str) -> pa.DataType:
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    if (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_dictionary(kind)
        or pa.types.is_null(kind)
    ):
        return pa.string()
    if pa.types.is_boolean(kind) and name != "label":
        return pa.bool_()
    raise UserError(
        f"prompts: {where}: column {name} holds {kind}; expected whole numbers, numbers, texts or true/false"
    )


def _labelled(table: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """Turn labels that are texts into positions in their sorted list."""
    if "label" not in table.column_names or table.schema.field("label").type == pa.int64():
        return table, ()
    texts = table.column("label").to_pylist()
    names = tuple(sorted({str(text) for text in texts if text is not None}))
    positions = {name: i for i, name in enumerate(names)}
    labels = pa.array([None if text is None else positions[str(text)] for text in texts], pa.int64())
    return table.set_column(table.column_names.index("label"), "label", labels), names


class TemplatePrompts:
    """Every way to fill every template, counted through as one long list: the last word turns fastest."""

    label_names: tuple[str, ...] = ()

    def __init__(self, templates: tuple[str, ...], words: Mapping[str, tuple[str, ...]]) -> None:
        self._templates, self._words = templates, words
        self._id_prefix = sha256_hex(canonical_json([list(templates), {k: list(v) for k, v in words.items()}]))[:8]
        self._names = [_placeholders(template) for template in templates]
        self._sizes = [math.prod(len(words[name]) for name in names) for names in self._names]
        self.extra_types: dict[str, pa.DataType] = {f"x_{name}": pa.string() for name in sorted(words)}

    def __len__(self) -> int:
        return sum(self._sizes)

    def row(self, index: int) -> PromptRow:
        """Fill one template with one choice of words, which also become columns of the user's."""
        chosen, remainder = 0, index
        while remainder >= self._sizes[chosen]:
            remainder -= self._sizes[chosen]
            chosen += 1
        words: dict[str, str] = {}
        for name in reversed(self._names[chosen]):
            remainder, position = divmod(remainder, len(self._words[name]))
            words[name] = self._words[name][position]
        extra = {column: words.get(column.removeprefix("x_")) for column in self.extra_types}
        return PromptRow(self._templates[chosen].format(**words), f"{self._id_prefix}-{index}", extra=extra)


def _placeholders(template: str) -> list[str]:
    return list(dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(template) if name is not None))


def _check_templates(templates: tuple[str, ...], words: Mapping[str, tuple[str, ...]]) -> None:
    used = {name for template in templates for name in _placeholders(template)}
    odd = [name for name in used if not name.isidentifier()]
    if odd:
        raise ValueError(f"plain names in the braces of templates, found {{{odd[0]}}}")
    missing, idle = sorted(used - words.keys()), sorted(words.keys() - used)
    if missing:
        raise ValueError(f"a word list for {{{missing[0]}}} under prompts.words")
    if idle or any(not words[name] for name in used):
        name = idle[0] if idle else next(name for name in used if not words[name])
        raise ValueError(
            f"every word list to be used and not empty; {name} is {'used by no template' if idle else 'empty'}"
        )
