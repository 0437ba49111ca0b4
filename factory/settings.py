"""YAML files, presets and `--set a.b=c` overrides -> one checked pydantic model.

Every mistake becomes a line of its own: where, the value given, what was expected, the name nearest an unknown key.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from manifests.errors import UserError

Model = TypeVar("Model", bound=BaseModel)


def read_mapping(text: str, where: str) -> dict[str, Any]:
    """Parse YAML (or JSON, its subset) that must be one mapping."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected a mapping of settings, found {type(value).__name__}")
    return value


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `change` over `base`; mappings merge key by key, anything else is replaced whole."""
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def override(settings: Mapping[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """Apply `a.b=c` changes in order; the value is read as YAML, a number in the path indexes a list."""
    result: Any = merge({}, settings)
    for change in changes:
        path, separator, text = change.partition("=")
        if not separator or not path:
            raise UserError(f"--set {change}: expected KEY=VALUE, as in --set seed=7 or --set encode.quality=90")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"--set {change}: {text!r} is not a YAML value; quote it if it is a text") from None
        result = _replaced(result, path.split("."), value, change)
    return typing.cast(dict[str, Any], result)


def _replaced(node: Any, path: Sequence[str], value: Any, change: str) -> Any:
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(node, list | tuple):
        if not head.isdigit() or int(head) >= len(node):
            raise UserError(f"--set {change}: {head!r} is no position in a list of {len(node)}")
        return [_replaced(item, rest, value, change) if i == int(head) else item for i, item in enumerate(node)]
    if node is not None and not isinstance(node, Mapping):
        raise UserError(f"--set {change}: {head!r} lies below the plain value {node!r}")
    known = dict(node or {})
    return {**known, head: _replaced(known.get(head), rest, value, change)}


def validated(model: type[Model], settings: Mapping[str, Any], where: str) -> Model:
    """Build the model.

    Raises: UserError with one line a mistake.
    """
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        found: dict[str, list[str]] = {}
        for problem in error.errors():
            key, told = _problem(model, problem["loc"], problem["type"], problem["msg"], problem["input"])
            found.setdefault(key, []).append(told)
        lines = [f"{where}: {key}: {' or '.join(dict.fromkeys(told))}" for key, told in found.items()]
        raise UserError("\n".join(lines)) from None


def _problem(model: type[BaseModel], loc: Sequence[str | int], kind: str, message: str, given: Any) -> tuple[str, str]:
    """Say where and what; the branches of a union share a key, and so a line."""
    if kind == "extra_forbidden":
        known = _fields_at(model, loc[:-1])
        return f"{_key(model, loc[:-1])}{loc[-1]}", f"unknown key{nearest(str(loc[-1]), known)}"
    key = _key(model, loc).rstrip(".") or "the whole"
    if kind == "missing":
        return key, "missing; it must be given"
    expected = message.removeprefix("Value error, ").removeprefix("Input should be ")
    is_short = not isinstance(given, Mapping | list | tuple)
    return key, f"got {given!r}, expected {expected}" if is_short else f"expected {expected}"


def _key(model: type[BaseModel], loc: Sequence[str | int]) -> str:
    """Write a location with dots, leaving out the names that pydantic gives to the branches of a union."""
    kept = [p for i, p in enumerate(loc) if isinstance(p, int) or p in _fields_at(model, loc[:i]) or i == 0]
    return "".join(f"{part}." for part in kept)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the closest known names, or all of them where none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known here: {', '.join(names)}" if names else ""


def _fields_at(model: type[BaseModel], location: Sequence[str | int]) -> set[str]:
    """Follow a location through fields, lists and unions to the models that could stand there."""
    models = [model]
    for part in location:
        fields = [m.model_fields[part].annotation for m in models if isinstance(part, str) and part in m.model_fields]
        models = [inner for annotation in fields for inner in _models_in(annotation)] or models
    return {name for m in models for name in m.model_fields}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if (
        isinstance(annotation, type)
        and issubclass(annotation, BaseModel)
        and not isinstance(annotation, types.GenericAlias)
    ):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _models_in(argument)]


def read_text(path: Path, what: str) -> str:
    """Read a UTF-8 file.

    Raises: UserError naming what was expected at the path.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read {what}: {error}") from None
