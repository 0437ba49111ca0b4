"""YAML files, presets and `--set a.b=c` overrides -> one checked pydantic model.

Every mistake becomes a line of its own: where, the value given, what was expected, the name nearest an unknown key.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from manifests.errors import UserError

Model = TypeVar("Model", bound=BaseModel)
Beside = Callable[[dict[str, Any], Path], dict[str, Any]]

MAX_NAMES = 60  # that an error lists

_BRANCH = re.compile(r"int|float|str|bool|(constrained-|function-|literal|tuple|list|dict).*")


def read_mapping(text: str, where: str) -> dict[str, Any]:
    """Parse YAML (or JSON, its subset) that must be one mapping."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected a mapping of settings, found {type(value).__name__}")
    return value


def preset_names(folder: Path) -> list[str]:
    """Name the YAML files of a folder of presets."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def settings_file(source: str, presets: Path, otherwise: str) -> Path:
    """Return the path that was given, or the preset's of that name.

    Raises: UserError that says `otherwise`, with the nearest preset.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml", ".json"):
        return path
    names = preset_names(presets)
    if source not in names:
        raise UserError(f"{source}: {otherwise}{nearest(source, names)}")
    return presets / f"{source}.yaml"


def read_settings(
    source: str, presets: Path, what: str, otherwise: str, beside: Beside | None = None
) -> dict[str, Any]:
    """Read a file or a preset, laid over the preset that its key `preset` names; `beside` may place what it refers to.

    Raises: UserError in one line, with the nearest preset.
    """
    path = settings_file(source, presets, otherwise)
    values = read_mapping(read_text(path, what), str(path))
    values = values if beside is None else beside(values, path.parent)
    below = values.pop("preset", None)
    if below is None:
        return values
    if str(below) not in preset_names(presets):
        raise UserError(f"{path}: preset: got {below!r}{nearest(str(below), preset_names(presets))}")
    return merge(read_settings(str(below), presets, what, otherwise, beside), values)


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
        problems = [_problem(model, one) for one in error.errors()]
        raise UserError("\n".join(f"{where}: {line}" for line in _lines(problems))) from None


@dataclass(frozen=True)
class _Problem:
    key: str
    given: str
    expected: str


def _lines(problems: Sequence[_Problem]) -> list[str]:
    """Write a line a key: the branches of a union share one, and a list that lost its broken items is not short."""
    keys = dict.fromkeys(p.key for p in problems if not any(o.key.startswith(f"{p.key}.") for o in problems))
    mine = [[p for p in problems if p.key == key] for key in keys]
    return [f"{p[0].key}: {p[0].given}{' or '.join(dict.fromkeys(one.expected for one in p))}" for p in mine]


def _problem(model: type[BaseModel], error: Mapping[str, Any]) -> _Problem:
    loc, given = error["loc"], error["input"]
    if error["type"] == "extra_forbidden":
        hint = nearest(str(loc[-1]), _fields_at(model, loc[:-1]))
        return _Problem(f"{_key(model, loc[:-1])}.{loc[-1]}".lstrip("."), "", f"unknown key{hint}")
    key = _key(model, loc) or "the whole"
    if error["type"] == "union_tag_not_found":
        return _Problem(f"{key}.{error['ctx']['discriminator'].strip(chr(39))}", "", "missing; it must be given")
    if error["type"] == "union_tag_invalid":
        tag, known = error["ctx"]["tag"], error["ctx"]["expected_tags"].replace("'", "").split(", ")
        by = error["ctx"]["discriminator"].strip("'").removesuffix("()").lstrip("_")
        close = difflib.get_close_matches(tag, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return _Problem(f"{key}.{by}", f"got {tag!r}, expected ", f"one of {', '.join(known)}{hint}")
    if error["type"] == "missing":
        return _Problem(key, "", "missing; it must be given")
    if error["type"] == "too_short":
        return _Problem(key, "", f"expected at least {error['ctx']['min_length']}")
    expected = (
        error["msg"].removeprefix("Value error, ").removeprefix("Input should be ").replace("valid tuple", "list")
    )
    is_short = not isinstance(given, Mapping | list | tuple)
    return _Problem(key, f"got {given!r}, expected " if is_short else "expected ", expected.partition(", unable")[0])


def _key(model: type[BaseModel], loc: Sequence[str | int]) -> str:
    """Write a location with dots, leaving out the names that pydantic gives to the branches of a union."""
    return ".".join(str(part) for place, part in enumerate(loc) if not _is_branch(model, loc[:place], part))


def _is_branch(model: type[BaseModel], above: Sequence[str | int], part: str | int) -> bool:
    if isinstance(part, int):
        return False
    models = _models_at(model, above)
    is_tag = len(models) > 1 and not any(part in one.model_fields for one in models)
    return is_tag or _BRANCH.fullmatch(part) is not None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the closest known name, or all of them where none is close and they are few."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known here: {', '.join(names)}" if 0 < len(names) <= MAX_NAMES else ""


def _fields_at(model: type[BaseModel], location: Sequence[str | int]) -> set[str]:
    """Name the fields of the models that could stand at a location."""
    return {name for one in _models_at(model, location) for name in one.model_fields}


def _models_at(model: type[BaseModel], location: Sequence[str | int]) -> list[type[BaseModel]]:
    """Follow a location through fields, lists and unions to the models that could stand there; a tag chooses one."""
    models = [model]
    for part in location:
        fields = [m.model_fields[part].annotation for m in models if isinstance(part, str) and part in m.model_fields]
        tagged = [m for m in models if isinstance(part, str) and part in _tags(m)] if len(models) > 1 else []
        models = [inner for annotation in fields for inner in _models_in(annotation)] or tagged or models
    return models


def _tags(model: type[BaseModel]) -> set[str]:
    """Return the words by which a model of a union can be asked for."""
    annotations = [model.model_fields[name].annotation for name in ("name", "family") if name in model.model_fields]
    return {str(tag) for one in annotations if typing.get_origin(one) is Literal for tag in typing.get_args(one)}


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
