"""What a row says about one view: every column with its type, unit and meaning (format 1).

Columns may be added within format 1: they read as null in older data sets and, being null, change no digest.
The rows' digest covers content only, so another Parquet library or compression gives the same one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests.canonical import canonical_json
from manifests.errors import UserError

FORMAT = 1
OK = "ok"
USER_PREFIX = "x_"


def _field(name: str, type_: pa.DataType, meaning: str, unit: str = "", *, required: bool = False) -> pa.Field:
    return pa.field(name, type_, nullable=not required, metadata={"meaning": meaning, "unit": unit})


_STRING, _I16, _I32, _I64, _U64 = pa.string(), pa.int16(), pa.int32(), pa.int64(), pa.uint64()
_F32, _F64 = pa.float32(), pa.float64()
_PLAIN_TYPES = frozenset(
    [pa.bool_(), pa.int8(), _I16, _I32, _I64, pa.uint8(), pa.uint16(), pa.uint32(), _U64, _F32, _F64, _STRING]
)

VIEW_SCHEMA = pa.schema(
    [
        # who it is
        _field("stream_id", _STRING, "SHA-256 of all that decides a pixel, but the count", "hex", required=True),
        _field("group", _I64, "number of the group in its stream, from 0", required=True),
        _field("view", _I16, "number of the view in its group, from 0", required=True),
        _field(
            "key", _STRING, "name of the sample: stream_id[:8], a dash, the group in 9 digits or more", required=True
        ),
        _field("positive_id", _I64, "equal where two groups show the same thing; from 0", required=True),
        _field("role", _STRING, "anchor (the first) or view", required=True),
        # where it is
        _field("shard", _I32, "index of the shard in its stream, from 0", required=True),
        _field("member", _STRING, "name of the image in the tar; null unless ok"),
        _field("offset", _I64, "where the image's bytes begin in the tar", "bytes"),
        _field("size", _I64, "length of the image's bytes", "bytes"),
        _field("sha256", _STRING, "SHA-256 of the image's bytes", "hex"),
        _field("pixel_hash", _STRING, "hash of the pixels before encoding (docs/format.md)", "hex"),
        _field(
            "status", _STRING, "ok, quarantined (this view failed) or dropped (another of its group)", required=True
        ),
        _field("reason", _STRING, "why it is not ok"),
        _field("attempts", _I16, "how often it was tried; the last attempt is attempts - 1", required=True),
        # how it was made
        _field("source", _STRING, "what it came from: a source of the recipe, or an adopted file's path"),
        _field("generator", _STRING, "name of the generator"),
        _field("generator_sha256", _STRING, "fingerprint of the generator's weights", "hex"),
        _field("group_seed", _U64, "seed of what all views of the group share"),
        _field("view_seed", _U64, "seed of the last attempt at this view"),
        _field("latent", pa.list_(_F32), "the latent, where the seed alone does not give it back"),
        _field("latent_space", _STRING, "z, or noise where the view's seed gives it back"),
        _field("edit", _STRING, "what was done to some layers' styles: mix (another z's) or add (a step in w)"),
        _field("edit_vector", pa.list_(_F32), "the other z, or the step in w"),
        _field("first_layer", _I16, "coarsest style layer that was edited, from 0"),
        _field("last_layer", _I16, "finest style layer that was edited"),
        _field("tau", _F64, "scale of the normal law of the anchor's latent"),
        _field("anchor_bound", _F64, "cut of that law; null for none", "tau"),
        _field("psi", _F64, "truncation towards the mean latent, 1 is none", "fraction"),
        _field("strategy", _STRING, "what makes this a view of its group's thing"),
        _field("sigma", _F64, "standard deviation of the step from the anchor", "tau, or units of w or of noise"),
        _field("bound", _F64, "cut of the step's law; null for none", "sigma"),
        _field("blocks", pa.list_(_I32), "equal parts of z that the step changes, from 0"),
        _field("block_count", _I16, "equal parts that z is cut into"),
        _field("walks", pa.list_(_STRING), "directions that the step goes along"),
        _field("alphas", pa.list_(_F64), "how far along each", "the direction's own"),
        _field("strength", _F64, "share of the denoising steps that were drawn anew from the anchor's image"),
        _field("class_id", _I32, "class that the generator was asked for"),
        _field("label", _I64, "class in the version's label_names"),
        _field("split", _STRING, "train, test, … as the data set's maker cut it"),
        _field("prompt", _STRING, "text that the generator was given, or the caption"),
        _field("prompt_id", _STRING, "the prompt's own id in its source"),
        _field("negative_prompt", _STRING, "text to move away from"),
        _field("guidance_scale", _F64, "weight of the prompt, 1 is no guidance"),
        _field("steps", _I16, "denoising steps"),
        _field("scheduler", _STRING, "class of the sampler"),
        # what it looks like
        _field("width", _I32, "width as decoded", "px"),
        _field("height", _I32, "height as decoded", "px"),
        _field("codec", _STRING, "encoder and its settings"),
        _field("safety_score", _F32, "the generator's own judge; higher is worse"),
        _field("realism_score", _F32, "how alike real images it is; higher is better"),
        # what bit-equality needs
        _field("batch_index", _I32, "number of the batch in its shard"),
        _field("batch_size", _I16, "rows of the executed batch, padding included", "images"),
        _field("slot", _I16, "place in the batch"),
    ],
    metadata={"viewmill_format": str(FORMAT)},
)


def _is_known(type_: pa.DataType) -> bool:
    return (type_.value_type if pa.types.is_list(type_) else type_) in _PLAIN_TYPES


def check_user_column(name: str, type_: pa.DataType) -> None:
    """Refuse a column that is not one of the user's own or has a type that format 1 does not know.

    Raises: UserError.
    """
    if not name.startswith(USER_PREFIX):
        near = f"{USER_PREFIX}{name}"
        raise UserError(f"column {name!r} is none of the format's: a column of your own is named {near!r}")
    if not _is_known(type_):
        raise UserError(f"column {name!r} is of type {type_}: expected a number, bool, string or a list of these")


def full_schema(extra: Mapping[str, pa.DataType], *, is_copy: bool = False) -> pa.Schema:
    """Return VIEW_SCHEMA, then the user's own columns, of a copy another release's too, in the order of their names."""
    for name, type_ in extra.items():
        if not is_copy:
            check_user_column(name, type_)
    return pa.schema([*VIEW_SCHEMA, *(pa.field(n, extra[n]) for n in sorted(extra))], metadata=VIEW_SCHEMA.metadata)


def view_table(
    rows: Sequence[Mapping[str, Any]], extra: Mapping[str, pa.DataType] | None = None, *, is_copy: bool = False
) -> pa.Table:
    """Lay rows out as format 1 does: all columns in order, null where a row says nothing.

    A copy of rows may have columns of another release.

    Raises: UserError for an unknown column, a value of the wrong type, or a required value that is missing.
    """
    schema = full_schema(extra or {}, is_copy=is_copy)
    unknown = {name for row in rows for name in row} - set(schema.names)
    if unknown:
        raise UserError(
            f"unknown columns {sorted(unknown)}: a column of your own is named x_… and declared with a type"
        )
    return pa.Table.from_arrays([_column(rows, field) for field in schema], schema=schema)


def _column(rows: Sequence[Mapping[str, Any]], field: pa.Field) -> pa.Array:
    try:
        values = pa.array([row.get(field.name) for row in rows], type=field.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"column {field.name!r} takes {field.type}: {error}") from error
    if values.null_count and not field.nullable:
        raise UserError(f"column {field.name!r} is missing in {values.null_count} of {len(values)} rows")
    return values


def conform(table: pa.Table) -> pa.Table:
    """Bring a table read from a row file into the order and types of format 1; absent columns become null.

    Raises: UserError naming a column whose type is another one, or that is there twice.
    """
    names = table.column_names
    if len(set(names)) < len(names):
        raise UserError(f"columns {sorted({name for name in names if names.count(name) > 1})} are there twice")
    later = [_later_field(table.schema.field(name)) for name in names if name not in VIEW_SCHEMA.names]
    schema = pa.schema([*VIEW_SCHEMA, *later], metadata=VIEW_SCHEMA.metadata)
    return pa.Table.from_arrays([_conformed(table, field) for field in schema], schema=schema)


def _later_field(field: pa.Field) -> pa.Field:
    """Give a column of the user's, or of a later release, the one type of format 1 that says the same."""
    type_ = plain_type(field.type)
    if not _is_known(type_):
        raise UserError(f"column {field.name!r} is of type {field.type}, which format 1 does not know")
    return field.with_type(type_)


def plain_type(type_: pa.DataType) -> pa.DataType:
    """Unwrap what only says how strings and lists are laid out; a column that is null throughout holds strings."""
    if pa.types.is_dictionary(type_):
        return plain_type(type_.value_type)
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_) or pa.types.is_null(type_):
        return _STRING
    if pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_) or pa.types.is_list(type_):
        return pa.list_(plain_type(type_.value_type))
    return type_


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast the columns of a table to the types of a schema that has the same; most have them already.

    Raises: UserError naming a column whose values do not fit.
    """
    columns = [
        table.column(field.name) if table.schema.field(field.name).type == field.type else _conformed(table, field)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _conformed(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if field.name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, field.type)])
    try:
        return table.column(field.name).cast(field.type)
    except pa.ArrowException as error:
        raise UserError(f"column {field.name!r} takes {field.type}: {error}") from error


def rows_digest(table: pa.Table) -> str:
    """Hash the rows' content; columns that are null throughout count as absent.

    Source: docs/format.md, "rows_digest".
    """
    digest = hashlib.sha256(canonical_json(["viewmill rows", FORMAT, table.num_rows]))
    for name in sorted(table.column_names):
        column = pa.concat_arrays(table.column(name).chunks or [pa.nulls(0, table.schema.field(name).type)])
        if column.null_count < len(column):
            digest.update(canonical_json([name, _type_name(column.type)]))
            _digest_array(digest, column)
    return digest.hexdigest()


def _type_name(type_: pa.DataType) -> str:
    return f"list<{type_.value_type}>" if pa.types.is_list(type_) else str(type_)


def _digest_array(digest: Any, array: pa.Array) -> None:
    """Add validity (a byte a value), then values: little-endian with null as 0, or lengths (int64) and content."""
    digest.update(pc.is_valid(array).to_numpy(zero_copy_only=False).astype(np.uint8).tobytes())
    if pa.types.is_list(array.type):
        digest.update(_lengths(pc.list_value_length(array)))
        _digest_array(digest, array.flatten())
    elif array.type == _STRING:
        digest.update(_lengths(pc.binary_length(array)))
        digest.update("".join(value for value in array.to_pylist() if value is not None).encode("utf-8"))
    else:
        values = pc.fill_null(array, pa.scalar(0).cast(array.type)).to_numpy(zero_copy_only=False)
        digest.update(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes())


def _lengths(lengths: pa.Array) -> bytes:
    return bytes(pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False).astype("<i8").tobytes())
