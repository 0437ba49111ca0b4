"""An SQL condition over rows, run by DuckDB with nothing within its reach but the rows it is given.

The text is parsed before it runs: only an expression over columns, constants and functions whose value depends on their
arguments alone is let through, so that a query gives the same groups tomorrow, and reads no file, variable or clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manifests.errors import UserError

_EXPRESSIONS = {"COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "FUNCTION", "OPERATOR", "CAST", "BETWEEN"}
_EXPRESSIONS |= {"CASE", "LAMBDA", "TYPE"}
_MACROS = {"nullif", "split_part", "list_min", "list_max", "list_sum", "list_avg", "list_first", "list_last"}
# DuckDB's memory limit does not hold for long values: what makes one out of a number is not let through.
_GROWING = {
    "repeat",
    "range",
    "generate_series",
    "lpad",
    "rpad",
    "list_resize",
    "array_resize",
    "bar",
    "printf",
    "format",
}
_MOST_SHOWN = 200
_PURE = """
    SELECT function_name FROM duckdb_functions() WHERE function_type = 'scalar'
    GROUP BY function_name HAVING bool_and(stability = 'CONSISTENT')"""
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "temp_directory": "",
    "memory_limit": "1GB",
    "threads": "2",
}


class Where:
    """A checked condition; `columns` are those of the rows that it reads, in lower case."""

    def __init__(self, text: str) -> None:
        """Parse and check a condition.

        Raises: UserError with DuckDB's first line, or the part that may not be in it.
        """
        import duckdb

        self.text = text
        if not text.strip():
            raise self._mistake("expected a condition, such as \"label = 3 AND prompt LIKE '%cat%'\"")
        self._errors = (duckdb.Error, ValueError, RecursionError)
        self._connection = duckdb.connect(":memory:", config=_SETTINGS)
        self._connection.execute("SET python_enable_replacements = false")
        self._connection.execute("SET lock_configuration = true")
        condition = self._parsed()
        self._check(condition)
        references = [node["column_names"] for node in _nodes(condition) if node.get("class") == "COLUMN_REF"]
        self.columns = frozenset(name.lower() for names in references for name in names)

    def failing(self, rows: pa.Table) -> NDArray[np.int64]:
        """Return the numbers of the groups with a view that does not match; null is no match.

        Raises: UserError with DuckDB's first line.
        """
        query = f'SELECT DISTINCT "group" FROM rows WHERE NOT coalesce(CAST((\n{self.text}\n) AS BOOLEAN), false)'
        try:
            self._connection.register("rows", rows)
            found = self._connection.execute(query).fetchnumpy()["group"]
        except self._errors as error:
            raise self._mistake(_first_line(error)) from error
        return np.asarray(found, np.int64)

    def _parsed(self) -> dict[str, Any]:
        """Return the syntax tree, if the text is one expression that leaves the query around it as it was."""
        statement = self._tree(self.text)
        empty = self._tree("true")
        condition = statement["node"].get("where_clause")
        statement["node"] = {**statement["node"], "where_clause": empty["node"]["where_clause"]}
        if not isinstance(condition, dict) or statement != empty:
            raise self._mistake("expected one condition, as it stands after WHERE")
        return condition

    def _tree(self, text: str) -> dict[str, Any]:
        query = f"SELECT 1 FROM rows WHERE (\n{text}\n)"
        try:
            [(answer,)] = self._connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
            parsed = json.loads(answer)
        except self._errors as error:
            raise self._mistake(_first_line(error)) from error
        if parsed["error"] or len(parsed["statements"]) != 1:
            raise self._mistake(str(parsed.get("error_message", "expected one condition")).partition("\n")[0])
        return dict(parsed["statements"][0])

    def _check(self, condition: dict[str, Any]) -> None:
        pure = {name for (name,) in self._connection.execute(_PURE).fetchall()} - _GROWING | _MACROS
        for node in _nodes(condition):
            kind, function = node.get("class"), node.get("function_name")
            if kind is not None and kind not in _EXPRESSIONS:
                raise self._mistake(f"{kind.lower()} may not be in it: only columns, constants and functions of them")
            if function is not None and function.lower() not in pure:
                raise self._mistake(f"{function}() is no function of one row's values alone")

    def _mistake(self, problem: str) -> UserError:
        text = self.text if len(self.text) <= _MOST_SHOWN else f"{self.text[:_MOST_SHOWN]}…"
        return UserError(f"--where {text!r}: {problem}")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Walk all objects of a syntax tree."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
