"""Rows, their types, and a digest that an independent reading of docs/format.md agrees with."""

import hashlib
import json
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import CorruptError, UserError
from manifests.rows import read_rows, write_rows
from manifests.schema import VIEW_SCHEMA, conform, rows_digest, view_table

EXTRA = {
    "x_name": pa.string(),
    "x_list": pa.list_(pa.float32()),
    "x_flag": pa.bool_(),
    "x_words": pa.list_(pa.string()),
}
REQUIRED = {"stream_id": "s", "group": 0, "view": 0, "key": "k", "positive_id": 1, "role": "anchor", "shard": 0}
REQUIRED |= {"status": "ok", "attempts": 1}

rows_of_all_kinds = st.lists(
    st.fixed_dictionaries(
        {name: st.just(value) for name, value in REQUIRED.items()},
        optional={
            "prompt": st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
            "view_seed": st.integers(0, 2**64 - 1),
            "sigma": st.floats(allow_nan=False),
            "latent": st.none() | st.lists(st.floats(width=32, allow_nan=False), max_size=3),
            "x_name": st.none() | st.text("aé", max_size=3),
            "x_flag": st.none() | st.booleans(),
            "x_words": st.none() | st.lists(st.none() | st.text("ab", max_size=2), max_size=3),
        },
    ),
    max_size=5,
)


def reference_digest(rows: list[dict], schema: pa.Schema) -> str:
    """Written from docs/format.md with struct and json only."""

    def text(value: object) -> bytes:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def content(values: list, kind: str) -> bytes:
        out = bytes(value is not None for value in values)
        if kind.startswith("list<"):
            out += b"".join(struct.pack("<q", len(v) if v is not None else 0) for v in values)
            return out + content([item for v in values if v is not None for item in v], kind[5:-1])
        if kind == "string":
            encoded = [(v or "").encode() for v in values]
            return out + b"".join(struct.pack("<q", len(e)) for e in encoded) + b"".join(encoded)
        letter = {"int16": "h", "int32": "i", "int64": "q", "uint64": "Q", "float": "f", "double": "d", "bool": "?"}[
            kind
        ]
        return out + b"".join(struct.pack("<" + letter, v if v is not None else 0) for v in values)

    digest = hashlib.sha256(text(["viewmill rows", 1, len(rows)]))
    for name in sorted(schema.names):
        values = [row.get(name) for row in rows]
        if any(value is not None for value in values):
            type_ = schema.field(name).type
            kind = f"list<{type_.value_type}>" if pa.types.is_list(type_) else str(type_)
            digest.update(text([name, kind]) + content(values, kind))
    return digest.hexdigest()


@settings(deadline=None)
@given(rows_of_all_kinds)
def test_the_digest_is_what_the_format_says(rows):
    table = view_table(rows, EXTRA)
    assert rows_digest(table) == reference_digest(rows, table.schema)


@settings(deadline=None, max_examples=25)
@given(rows=rows_of_all_kinds)
def test_rows_come_back_from_a_file_with_their_digest(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    table = view_table(rows, EXTRA)
    write_rows(table, path)
    assert read_rows(path).equals(table)
    assert rows_digest(read_rows(path)) == rows_digest(table)


def test_chunks_compression_and_row_groups_do_not_change_the_digest(tmp_path):
    rows = [{**REQUIRED, "group": g, "prompt": f"p{g}" if g % 3 else None, "latent": [g, 0.5]} for g in range(50)]
    table = view_table(rows)
    chunked = pa.concat_tables([table.slice(0, 7), table.slice(7, 20), table.slice(27)])
    pq.write_table(chunked, tmp_path / "other.parquet", compression="none", row_group_size=11, use_dictionary=False)
    assert rows_digest(chunked) == rows_digest(read_rows(tmp_path / "other.parquet")) == rows_digest(table)
    assert rows_digest(view_table(rows[:-1])) != rows_digest(table)


def test_two_writings_give_equal_bytes_whatever_the_chunks(tmp_path):
    table = view_table([{**REQUIRED, "group": g, "latent": [0.25 * g]} for g in range(40)])
    write_rows(table, tmp_path / "a")
    write_rows(pa.concat_tables([table.slice(0, 13), table.slice(13)]), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    metadata = pq.read_metadata(tmp_path / "a")
    assert metadata.num_row_groups == 1
    assert b"pandas" not in metadata.metadata


def test_a_column_added_later_reads_as_null_and_changes_no_digest(tmp_path):
    table = view_table([REQUIRED], {"x_name": pa.string()})
    older = table.drop_columns(["realism_score", "slot"])
    pq.write_table(older, tmp_path / "older.parquet")
    read = read_rows(tmp_path / "older.parquet")
    assert read.schema.names == table.schema.names
    assert read["slot"].null_count == 1
    assert rows_digest(read) == rows_digest(older) == rows_digest(table)


def test_every_column_says_what_it_means():
    assert all(field.metadata[b"meaning"] for field in VIEW_SCHEMA)
    table = view_table([REQUIRED], EXTRA)
    assert table.column_names == [*VIEW_SCHEMA.names, "x_flag", "x_list", "x_name", "x_words"]


@pytest.mark.parametrize(
    ("row", "extra", "message"),
    [
        ({**REQUIRED, "sgima": 1.0}, {}, "unknown columns ['sgima']"),
        ({**REQUIRED, "steps": "many"}, {}, "'steps' takes int16"),
        ({**REQUIRED, "view_seed": -1}, {}, "'view_seed' takes uint64"),
        ({**REQUIRED, "key": None}, {}, "'key' is missing in 1 of 1"),
        (REQUIRED, {"name": pa.string()}, "'x_name'"),
        (REQUIRED, {"x_when": pa.timestamp("s")}, "timestamp"),
        (REQUIRED, {"x_deep": pa.list_(pa.list_(pa.int8()))}, "expected a number, bool, string or a list"),
    ],
)
def test_a_wrong_column_is_named(row, extra, message):
    with pytest.raises(UserError) as caught:
        view_table([row], extra)
    assert message in str(caught.value)


def test_a_file_that_is_no_parquet_or_has_other_types_is_named(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(CorruptError, match=r"rows\.parquet: no readable row file"):
        read_rows(tmp_path / "rows.parquet")
    pq.write_table(pa.table({"group": ["twelve"]}), tmp_path / "typed.parquet")
    with pytest.raises(CorruptError, match="'group' takes int64"):
        read_rows(tmp_path / "typed.parquet")
    write_rows(view_table([REQUIRED]), tmp_path / "good.parquet")
    with pytest.raises(UserError, match="no column"):
        read_rows(tmp_path / "good.parquet", ["group", "x_absent"])


def test_conforming_keeps_columns_of_one_s_own():
    assert conform(pa.table({"x_mine": [1]})).column_names == [*VIEW_SCHEMA.names, "x_mine"]


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (pa.array(["a", None], pa.large_string()), pa.string()),
        (pa.array(["a", None]).dictionary_encode(), pa.string()),
        (pa.array([[1], None], pa.large_list(pa.int64())), pa.list_(pa.int64())),
    ],
)
def test_another_writer_s_layout_of_a_column_changes_no_digest(values, type_):
    rows = view_table([REQUIRED, REQUIRED])
    theirs = conform(rows.append_column("x_a", values))
    assert theirs.schema.field("x_a").type == type_
    assert rows_digest(theirs) == rows_digest(rows.append_column("x_a", pa.array(values.to_pylist(), type_)))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("x_a", pa.array([{"a": 1}]), "which format 1 does not know"),
        ("x_a", pa.array([1], pa.timestamp("s")), "which format 1 does not know"),
        ("x_a", pa.array([[[1]]]), "which format 1 does not know"),
        ("prompt", pa.array(["a"]), r"columns \['prompt'\] are there twice"),
    ],
)
def test_columns_that_format_1_cannot_hash_are_damage(tmp_path, name, values, message):
    pq.write_table(view_table([REQUIRED]).append_column(name, values), tmp_path / "rows.parquet")
    with pytest.raises(CorruptError, match=message):
        read_rows(tmp_path / "rows.parquet")
