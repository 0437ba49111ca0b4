"""Rows, groups and pixels as written; what is damaged is an error that says where."""

import numpy as np
import pytest

from manifests import open_dataset
from manifests.cache import ShardCache
from manifests.errors import CorruptError, UserError
from manifests.store import Store
from manifests.version import newest, publish
from tests.manifests.making import commit, finish, leave_orphans, make_dataset, make_group, pixels

BROKEN = {(2, 0), (7, 1), (8, 1)}


@pytest.fixture
def folder(tmp_path):
    make_dataset(tmp_path / "data", tmp_path, broken=BROKEN)
    leave_orphans(tmp_path / "data")
    return tmp_path / "data"


def test_every_image_has_the_pixels_that_were_written(folder):
    data = open_dataset(folder)
    rows = data.rows(ok_only=True).to_pylist()
    assert len(rows) == 2 * (12 - 3)
    for row in rows:
        np.testing.assert_array_equal(data.image(row), pixels(row["group"], row["view"]))


def test_rows_can_be_had_by_column_and_by_shard(folder):
    data = open_dataset(folder)
    assert data.rows(["group", "status"]).column_names == ["group", "status"]
    assert data.rows(["group"], shards=[1])["group"].to_pylist() == [g for g in range(6, 12) for _ in range(2)]
    assert set(data.rows(["group"], ok_only=True)["group"].to_pylist()) == set(range(12)) - {2, 7, 8}
    with pytest.raises(UserError, match="no column"):
        data.rows(["grupo"])
    with pytest.raises(UserError, match="no shard at position 2"):
        data.rows(shards=[2])


def test_groups_index_what_has_images(folder):
    data, expected = open_dataset(folder), [g for g in range(12) if g not in (2, 7, 8)]
    groups = data.groups()
    assert len(groups) == len(expected)
    assert groups.group.tolist() == expected
    assert groups.label.tolist() == [g % 3 for g in expected]
    assert groups.shard_position.tolist() == [g // 6 for g in expected]
    assert groups.offsets.shape == groups.sizes.shape == (9, 2)
    for i, row in enumerate(data.rows(ok_only=True).slice(0).to_pylist()):
        place = (
            int(groups.shard_position[i // 2]),
            int(groups.offsets[i // 2, i % 2]),
            int(groups.sizes[i // 2, i % 2]),
        )
        assert data.read(*place)[:4] == b"\x89PNG"
        assert (place[1], groups.key[i // 2]) == (row["offset"], row["key"])


def test_groups_that_were_taken_down_are_not_shown(folder):
    store = Store.open(folder)
    version = newest(store)
    gone = open_dataset(folder).groups().key[0].item()
    publish(store, version.model_copy(update={"generation": 1, "parent": version.root(), "tombstones": [gone]}))
    data = open_dataset(folder)
    assert gone not in data.groups().key
    assert gone not in data.rows(["key"], ok_only=True)["key"].to_pylist()
    assert gone not in data.rows()["key"].to_pylist()
    assert len(data.rows(["view"])) == 2 * 11
    assert gone in open_dataset(folder, root=version.root()[:10]).groups().key


def test_a_row_without_an_image_says_why(folder):
    data = open_dataset(folder)
    row = next(row for row in data.rows().to_pylist() if row["status"] == "quarantined")
    with pytest.raises(UserError, match=r"view 0 has no image: it is quarantined \(blank image\)"):
        data.image(row)


def test_columns_of_one_s_own_come_back_and_are_null_in_shards_without_them(tmp_path):
    import pyarrow as pa

    store = Store.open(tmp_path / "data", create=True)
    groups = [make_group(number, extra={"x_mood": "calm", "x_n": number}) for number in range(6)]
    first = commit(store, 0, tmp_path, groups, extra_types={"x_mood": pa.string(), "x_n": pa.int64()})
    finish(store, [first, commit(store, 1, tmp_path)])
    table = open_dataset(tmp_path / "data").rows(["x_n", "x_mood"], shards=[0])
    assert table["x_n"].to_pylist()[:4] == [0, 0, 1, 1]
    whole = open_dataset(tmp_path / "data").rows()
    assert whole["x_mood"].null_count == 12


@pytest.mark.parametrize("damage", ["cut", "flip", "swap", "absent"])
def test_a_damaged_shard_is_named(folder, damage):
    data = open_dataset(folder)
    row = data.rows(shards=[1], ok_only=True).to_pylist()[0]
    first, second = (folder / shard.shard.name for shard in data.version.shards)
    if damage == "cut":
        second.write_bytes(second.read_bytes()[:-10240])
    elif damage == "flip":
        second.write_bytes(second.read_bytes().replace(b"IDAT", b"IDAU", 1))
    elif damage == "swap":
        second.write_bytes(first.read_bytes())
    else:
        second.unlink()
    with pytest.raises(CorruptError, match=second.name):
        data.image(row)


def test_a_row_that_points_elsewhere_names_shard_key_and_offset(folder):
    data = open_dataset(folder)
    row = data.rows(ok_only=True).to_pylist()[0]
    with pytest.raises(CorruptError, match=rf"{row['key']} view 0 at {row['offset'] + 1}: the image's sha256"):
        data.image({**row, "offset": row["offset"] + 1})
    for offset, size in ((10**9, 10), (-10, 10), (0, -1), (0, 2**62)):
        with pytest.raises(CorruptError, match=r"\.tar ends at byte"):
            data.read(0, offset, size)
    with pytest.raises(UserError, match="is of another data set"):
        data.image({**row, "shard": 9})


def test_a_file_that_another_process_evicts_just_now_is_fetched_again(folder, monkeypatch):
    fetch, gone = ShardCache.fetch, []

    def evicted(self, store, name, *promise):
        path = fetch(self, store, name, *promise)
        return path if name in gone else gone.append(name) or path.with_name("gone")

    monkeypatch.setattr(ShardCache, "fetch", evicted)
    data = open_dataset(folder)
    row = data.rows(shards=[0], ok_only=True).to_pylist()[0]
    assert data.image(row).shape == (8, 8, 3)
    assert len(gone) == 2


def test_a_version_without_shards_has_no_groups(folder):
    store = Store.open(folder)
    publish(store, newest(store).model_copy(update={"generation": 1, "shards": []}))
    with pytest.raises(UserError, match="has no shards"):
        open_dataset(folder).groups()


def test_a_damaged_row_file_is_named(folder):
    path = folder / open_dataset(folder).version.shards[0].rows.name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptError, match=path.name):
        open_dataset(folder).rows()


def test_a_folder_without_a_finished_version_says_what_is_there(tmp_path):
    with pytest.raises(UserError, match="no finished version: the folder holds nothing"):
        open_dataset(tmp_path)
    (tmp_path / "cat.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds \['cat.jpg'\], which is no ViewMill data set"):
        open_dataset(tmp_path)
    commit(Store.open(tmp_path / "half", create=True), 0, tmp_path)
    with pytest.raises(UserError, match="1 finished shards of unfinished work"):
        open_dataset(tmp_path / "half")


def test_an_unknown_root_lists_those_there_are(folder):
    with pytest.raises(UserError, match=f"no single version 'beef': .*{open_dataset(folder).root}"):
        open_dataset(folder, root="beef")


def test_a_bucket_reads_as_a_folder_does(s3_url, tmp_path):
    root = make_dataset(s3_url, tmp_path)
    data = open_dataset(s3_url, cache=ShardCache(tmp_path / "cache", 10**9))
    assert data.root == root == make_dataset(tmp_path / "local", tmp_path)
    assert data.rows().equals(open_dataset(tmp_path / "local").rows())
    row = data.rows(ok_only=True).to_pylist()[-1]
    np.testing.assert_array_equal(data.image(row), pixels(11, 1))
