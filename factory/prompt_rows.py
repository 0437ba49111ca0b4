"""Rows of prompts: what one says, and a table of them whose columns are checked once, when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from manifests.errors import UserError


@dataclass(frozen=True)
class PromptRow:
    """One prompt and what was said beside it; `extra` holds the user's own columns, named x_…"""

    prompt: str
    prompt_id: str | None
    negative_prompt: str | None = None
    guidance_scale: float | None = None
    label: int | None = None
    class_id: int | None = None
    split: str | None = None
    variants: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


class PromptTable(Protocol):
    """Rows of prompts that can be asked for one by one."""

    label_names: tuple[str, ...]
    has_number_labels: bool
    extra_types: dict[str, pa.DataType]

    def __len__(self) -> int:
        """Count the rows."""

    def row(self, index: int) -> PromptRow:
        """Return one row."""


class RowPrompts:
    """Prompts that stand in rows of a table."""

    def __init__(self, table: pa.Table, where: str, sha256: str) -> None:
        if not len(table):
            raise UserError(f"prompts: {where} holds no prompt; expected at least one")
        self._id_prefix = sha256[:8]
        self._table, self.label_names = _labelled(_cast(table, where))
        self.has_number_labels = "label" in table.column_names and pa.types.is_integer(table.schema.field("label").type)
        extra = [name for name in table.column_names if name.startswith("x_")]
        self.extra_types: dict[str, pa.DataType] = {name: self._table.schema.field(name).type for name in extra}

    def __len__(self) -> int:
        return len(self._table)

    def row(self, index: int) -> PromptRow:
        """Return one row."""
        values = self._table.slice(index, 1).to_pylist()[0]
        extra = {name: values.pop(name) for name in self.extra_types}
        variants = tuple(one for one in values.pop("variants", None) or () if one)
        return PromptRow(prompt_id=f"{self._id_prefix}-{index}", extra=extra, variants=variants, **values)


def _cast(table: pa.Table, where: str) -> pa.Table:
    """Give every column its type.

    Raises: UserError naming the column, and the first row without a prompt.
    """
    types = {"guidance_scale": pa.float64(), "class_id": pa.int32(), "variants": pa.list_(pa.string())}
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
