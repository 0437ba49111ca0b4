"""Every broken promise is one line that says where; an unbroken data set has none."""

import hashlib
import io
import json
import tarfile

import pyarrow as pa
import pytest

from manifests import verify
from manifests.documents import ShardFile
from manifests.errors import UserError
from manifests.images import pixel_hash
from manifests.rows import read_rows, write_rows
from manifests.schema import rows_digest
from manifests.shard import file_sha256, write_tar
from manifests.store import Store
from manifests.version import newest, publish
from tests.manifests.making import encode, leave_orphans, make_dataset, pixels


@pytest.fixture
def folder(tmp_path):
    make_dataset(tmp_path / "data", tmp_path, broken={(3, 1)})
    return tmp_path / "data"


def shard_paths(folder):
    shard = newest(Store.open(folder)).shards[0]
    return folder / shard.shard.name, folder / shard.rows.name


def forge(folder, *, members=lambda items: items, rows=lambda table: table, **fields):
    """Publish a newer version whose first shard was rewritten, with hashes and sizes that fit."""
    store = Store.open(folder)
    version = newest(store)
    shard = version.shards[0]
    with tarfile.open(folder / shard.shard.name) as tar:
        items = [(m.name, tar.extractfile(m).read()) for m in tar]
    write_tar(folder / "shards/forged.tar", members(items))
    table = rows(read_rows(folder / shard.rows.name))
    write_rows(table, folder / "views/forged.parquet")
    names = {"shard": "shards/forged.tar", "rows": "views/forged.parquet"}
    files = {
        what: ShardFile(name=name, sha256=file_sha256(folder / name), size=(folder / name).stat().st_size)
        for what, name in names.items()
    }
    forged = shard.model_copy(update={**files, "rows_digest": rows_digest(table), **fields})
    later = {"generation": 1, "parent": version.root(), "kind": "merged"}
    publish(store, version.model_copy(update={**later, "shards": [forged, version.shards[1]]}))


def problems(folder, **options):
    return verify(folder, **options).problems


def test_a_sound_data_set_has_no_problem_also_with_orphans_about(folder):
    leave_orphans(folder)
    report = verify(folder, deep=True)
    assert report.problems == []
    assert (report.shards, report.groups, report.views) == (2, 11, 22)
    assert report.bytes == sum(shard.shard.size for shard in newest(Store.open(folder)).shards)
    assert json.loads(report.to_json())["root"] == report.root


def test_a_flipped_byte_names_shard_key_view_and_offset(folder):
    tar, rows = shard_paths(folder)
    row = read_rows(rows).to_pylist()[3]
    data = bytearray(tar.read_bytes())
    data[row["offset"] + 40] ^= 1
    tar.write_bytes(data)
    whole, member = problems(folder)
    assert f"{tar.name} is damaged: its sha256 is" in whole
    assert member.startswith(f"shards/{tar.name}: {row['key']} view 1 at {row['offset']}: sha256 ")


def test_a_cut_tar_names_the_first_view_it_lacks(folder):
    tar, rows = shard_paths(folder)
    row = read_rows(rows).to_pylist()[4]
    tar.write_bytes(tar.read_bytes()[: row["offset"] + 5])
    found = problems(folder)
    assert f"{tar.name} is cut: {row['offset'] + 5} bytes, expected" in found[0]
    assert any(f"{row['key']} view 0 at {row['offset']}: the tar ends after 5 of" in line for line in found)


def test_two_swapped_tars_are_both_named_in_few_lines(folder):
    first, second = (folder / shard.shard.name for shard in newest(Store.open(folder)).shards)
    data = first.read_bytes(), second.read_bytes()
    first.write_bytes(data[1])
    second.write_bytes(data[0])
    found = problems(folder)
    assert any(f"{first.name} is" in line for line in found)
    assert any(f"{second.name} is" in line for line in found)
    assert len(found) <= 2 * 21
    assert any("more" in line for line in found)


@pytest.mark.parametrize("what", ["shard", "rows"])
def test_an_absent_file_is_named(folder, what):
    shard = newest(Store.open(folder)).shards[1]
    (folder / getattr(shard, what).name).unlink()
    assert problems(folder) == [f"{getattr(shard, what).name} is absent"]


def test_rows_that_differ_from_their_digest_are_named(folder):
    forge(folder, rows_digest="0" * 64)
    [line] = problems(folder)
    assert line.startswith("views/forged.parquet: its rows have the digest")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"groups": 7}, "no readable row file: 12 rows, expected 14"),
        ({"groups_ok": 6}, "5 groups_ok, expected 6"),
        ({"views_ok": 9}, "10 views_ok, expected 9"),
    ],
)
def test_counts_that_differ_are_named(folder, fields, message):
    forge(folder, **fields)
    assert problems(folder) == [f"views/forged.parquet: {message}"]


def set_cell(table, column, row, value):
    values = table[column].to_pylist()
    values[row] = value
    field = table.schema.field(column).with_nullable(True)
    return table.set_column(table.column_names.index(column), field, pa.array(values, field.type))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("group", 5, "expected {'key': '5a5a5a5a-000000005'"),
        ("view", 1, "{'view': 1}, expected {'view': 0}"),
        ("key", "5a5a5a5a-000000002", "{'key': '5a5a5a5a-000000002'}, expected"),
        ("shard", 3, "{'shard': 3}, expected {'shard': 0}"),
        ("stream_id", "other", "{'stream_id': 'other'}, expected"),
        ("member", None, "status ok does not go with its member None"),
        ("offset", 512, "at (offset, size) "),
        ("offset", None, "status ok does not go with its member"),
        ("offset", -5, "no place in a tar"),
        ("size", -1, "no place in a tar"),
        ("status", "weird", "its views are ['ok', 'weird']"),
        ("positive_id", 7, "positive_id [7, "),
        ("label", 3, "label 3, expected 0 to 2"),
        ("label", -1, "label -1, expected 0 to 2"),
        ("sha256", "0" * 64, "expected 0000"),
        ("prompt", "another", "5a5a5a5a-000000001.json at "),
    ],
)
def test_a_wrong_cell_is_named(folder, column, value, message):
    forge(folder, rows=lambda table: set_cell(table, column, 2, value))
    found = problems(folder)
    assert any(message in line for line in found), found
    assert all(line.startswith(("views/forged.parquet: ", "shards/forged.tar: ")) for line in found)


def test_a_view_that_would_reach_beyond_the_tar_is_named_with_the_bytes_that_are_there(folder):
    tar, rows = shard_paths(folder)
    left = tar.stat().st_size - read_rows(rows).to_pylist()[2]["offset"]
    forge(folder, rows=lambda table: set_cell(table, "size", 2, 2**62))
    assert any(f"the tar ends after {left} of {2**62} bytes" in line for line in problems(folder))


def test_a_required_cell_that_is_null_is_named(folder):
    forge(folder, rows=lambda table: set_cell(table, "positive_id", 2, None))
    assert "views/forged.parquet: nulls in ['positive_id']" in problems(folder)


def test_members_that_no_row_names_and_a_missing_json_are_named(folder):
    forge(folder, members=lambda items: [("extra.json", items[0][1]), *items[1:]])
    found = problems(folder)
    assert "shards/forged.tar: the member extra.json is in no row" in found
    assert "shards/forged.tar: 5a5a5a5a-000000000: no member 5a5a5a5a-000000000.json" in found


def test_a_member_of_another_name_is_named_though_rows_and_tar_agree(folder):
    old, new = "5a5a5a5a-000000000.v00.png", "5a5a5a5a-000000000.x00.png"
    forge(
        folder,
        members=lambda items: [(new if name == old else name, data) for name, data in items],
        rows=lambda table: set_cell(table, "member", 0, new),
    )
    assert [line.partition(": ")[2] for line in problems(folder)] == [
        f"row 0 of 5a5a5a5a-000000000: {{'member': '{new}'}}, expected {{'member': '{old}'}}"
    ]


def test_a_group_that_is_half_there_is_named_though_the_counts_fit(folder):
    def halved(table):
        for row in (1, 3):
            table = set_cell(table, "status", row, "dropped")
        return table

    forge(folder, rows=halved, groups_ok=4, views_ok=8)
    assert sum("its views are ['dropped', 'ok']" in line for line in problems(folder)) == 2


def test_groups_that_stand_in_two_shards_are_named(folder):
    store = Store.open(folder)
    version = newest(store)
    later = {"generation": 1, "parent": version.root()}
    publish(store, version.model_copy(update={**later, "shards": [version.shards[0], version.shards[0]]}))
    [line] = problems(folder)
    assert line.endswith("6 groups, such as 0, are in an earlier shard of the stream too")


def rewrite_tar(folder, add):
    """Let `add` write the newest version's first tar again from its members; the tar keeps no promise but its form."""
    path = folder / newest(Store.open(folder)).shards[0].shard.name
    with tarfile.open(path) as tar:
        items = [(m, tar.extractfile(m).read()) for m in tar]
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, items)


def test_a_member_that_stands_twice_in_a_tar_is_named(folder):
    def add(tar, items):
        for header, data in [items[1], *items]:
            tar.addfile(header, io.BytesIO(data))

    rewrite_tar(folder, add)
    assert any(line.endswith("the member 5a5a5a5a-000000000.v00.png is there 2 times") for line in problems(folder))


@pytest.mark.parametrize("fields", [{"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, {"pax_headers": {"a": "b"}}])
def test_a_member_that_is_no_plain_file_is_named(folder, fields):
    def add(tar, items):
        for header, data in items[:2]:
            tar.addfile(header, io.BytesIO(data))
        for name, value in fields.items():
            setattr(items[2][0], name, value)
        tar.addfile(items[2][0], io.BytesIO(items[2][1]))

    rewrite_tar(folder, add)
    assert any("000000000.v01.png' is no plain file with a USTAR header" in line for line in problems(folder))


def test_a_json_member_of_many_brackets_is_named(folder):
    forge(folder, members=lambda items: [(items[0][0], b"[" * 100_000), *items[1:]])
    assert any(".json at 512 does not say what the rows say" in line for line in problems(folder))


def test_a_source_that_does_not_give_its_name_is_named(folder):
    store = Store.open(folder)
    store.put_bytes(b"a red fox\n", f"sources/{hashlib.sha256(b'a red fox' + bytes([10])).hexdigest()}")
    assert problems(folder) == []
    store.put_bytes(b"a blue fox\n", f"sources/{'0' * 64}")
    assert problems(folder) == [f"sources/{'0' * 64} is damaged: its content does not give its name"]


def replace_image(folder, data, **cells):
    """Put another image in the place of the last one of the first shard, all hashes fitting."""

    def members(items):
        return [*items[:-1], (items[-1][0], data)]

    def rows(table):
        last = table.num_rows - 1
        for column, value in {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), **cells}.items():
            table = set_cell(table, column, last, value)
        return table

    forge(folder, members=members, rows=rows)


@pytest.mark.parametrize(
    ("data", "cells", "message"),
    [
        (encode(pixels(0, 0))[:-30], {}, "does not decode"),
        (encode(pixels(0, 0, 9)), {"pixel_hash": None}, "9 x 9 px, expected 8 x 8"),
        (encode(pixels(0, 0)), {}, "pixel_hash"),
        (encode(pixels(0, 0)), {"pixel_hash": pixel_hash(pixels(0, 0))}, None),
        (encode(pixels(0, 0), "JPEG"), {"codec": "jpeg"}, None),
    ],
)
def test_deep_decodes_every_image_and_compares_pixels_where_nothing_is_lost(folder, data, cells, message):
    replace_image(folder, data, **cells)
    assert problems(folder) == []
    found = problems(folder, deep=True)
    assert len(found) == (0 if message is None else 1)
    assert message is None or message in found[0]


@pytest.mark.parametrize("name", ["dataset.json", "shards.txt"])
def test_descriptions_of_another_version_are_named(folder, name):
    (folder / name).write_bytes(b"old")
    [line] = problems(folder)
    assert line.startswith(f"{name}: not the copy of the newest version")
    (folder / name).unlink()
    assert problems(folder) == [line]


def test_a_version_without_its_commit_records_is_named(folder):
    records = sorted((folder / "commits").iterdir())
    records[0].unlink()
    [line] = problems(folder)
    assert line.endswith("no commit record agrees with the version")
    records[1].write_bytes(b"{}")
    assert records[1].name in problems(folder)[0]


def test_a_damaged_version_beside_the_one_that_is_checked_is_named(folder):
    (folder / "versions" / f"{'0' * 64}.json").write_bytes(b"{")
    [line] = problems(folder)
    assert f"versions/{'0' * 64}.json is no version of format 1" in line


def test_there_must_be_a_version(tmp_path):
    with pytest.raises(UserError, match="no finished version"):
        verify(tmp_path)


def test_a_bucket_is_checked_where_it_lies(s3_url, tmp_path):
    make_dataset(s3_url, tmp_path)
    assert problems(s3_url, deep=True) == []
    store = Store.open(s3_url)
    shard = newest(store).shards[0].shard
    store.delete(shard.name)
    store.put_bytes(b"x" * shard.size, shard.name)
    assert f"{shard.name} is damaged" in problems(s3_url)[0]
