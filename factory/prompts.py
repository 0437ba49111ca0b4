"""Prompt sources: a text, CSV, JSONL or Parquet file, a list in the recipe, or templates filled from word lists.

`read_prompts` does the reading; what it returns is a pure table of rows. `row_of_group` says which row a group shows,
of the seed and the group alone.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

import fsspec
import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import json as arrow_json
from pyarrow import parquet as arrow_parquet
from pydantic import BaseModel, ConfigDict, Field, model_validator

from factory.prompt_rows import PromptTable, RowPrompts
from factory.templates import TemplatePrompts, check_templates
from manifests import seeds
from manifests.canonical import canonical_json, sha256_hex
from manifests.errors import UserError

FORMATS = {".txt": "text", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

Order = Literal["sequential", "shuffled", "sampled"]
Role = Literal["prompt", "negative_prompt", "guidance_scale", "label", "class_id", "split", "variants"]


class PromptConfig(BaseModel):
    """Where prompts come from: exactly one of `file`, `texts` and `templates`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str | None = Field(None, description="a path, sought beside the recipe, or an fsspec URL; UTF-8")
    format: Literal["auto", "text", "csv", "jsonl", "parquet"] = Field("auto", description="auto goes by the suffix")
    columns: dict[Role, str] = Field(default_factory=dict, description="role: what the file calls its column")
    texts: tuple[str, ...] | None = Field(None, description="prompts that stand in the recipe")
    templates: tuple[str, ...] | None = Field(None, description="prompts with names in braces")
    words: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="for each name in braces a list, or a file with a word a line"
    )
    order: Order = Field("sequential", description="which prompt a group shows")

    @model_validator(mode="after")
    def _one_source(self) -> PromptConfig:
        given = [name for name in ("file", "texts", "templates") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"exactly one of file, texts and templates, found {' and '.join(given) or 'none'}")
        if self.templates:
            check_templates(self.templates, self.words)
        elif self.words:
            raise ValueError("templates beside words; words fill the {names} of templates")
        return self


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
    try:
        return _named(_table(data, form), file, columns)
    except UnicodeDecodeError as error:
        raise UserError(f"prompts.file: {file}: not UTF-8 {form} (byte {error.start}): save it as UTF-8") from None
    except pa.ArrowException as error:
        raise UserError(f"prompts.file: {file}: not {form}: {' '.join(str(error).split())[:200]}") from None


def _table(data: bytes, form: str) -> pa.Table:
    if form == "parquet":
        return arrow_parquet.read_table(pa.BufferReader(data))
    text = data.decode("utf-8-sig")  # Arrow checks values, but no header
    if form == "text":
        return pa.table({"prompt": [line.strip() for line in text.splitlines() if line.strip()]})
    source = pa.BufferReader(data)
    if form == "csv":
        return arrow_csv.read_csv(source, parse_options=arrow_csv.ParseOptions(newlines_in_values=True))
    return arrow_json.read_json(source, parse_options=arrow_json.ParseOptions(newlines_in_values=False))


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
