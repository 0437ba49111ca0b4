"""Shards are written whole or not at all, twins agree, and a rule says which record counts."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from manifests.commit import CommitLog, Group, View, sample_key, winners
from manifests.errors import CorruptError, UserError
from manifests.rows import read_rows
from manifests.schema import rows_digest
from manifests.seeds import group_positive_id, prompt_positive_id
from manifests.store import Store
from tests.manifests.making import GROUPS_PER_SHARD, STREAM, commit, finish, make_group


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "data", create=True)


def objects(store):
    return {name: store.get_bytes(name) for folder in ("shards", "views", "commits") for name, _ in store.list(folder)}


def test_a_shard_is_a_tar_rows_and_a_record_under_names_made_of_their_content(store, tmp_path):
    record = commit(store, 2, tmp_path)
    assert record.shard.name == f"shards/shard-000002-{record.shard.sha256[:12]}.tar"
    assert record.rows.name == f"views/shard-000002-{record.rows.sha256[:12]}.parquet"
    assert set(objects(store)) == {record.shard.name, record.rows.name, record.object_name()}
    assert json.loads(store.get_bytes(record.object_name())) == record.model_dump()
    table = read_rows(store.local_path(record.rows.name))
    assert rows_digest(table) == record.rows_digest
    assert (record.first_group, record.groups, record.groups_ok, record.views) == (12, 6, 6, {"ok": 12})


def test_rows_point_at_members_and_the_json_says_the_same(store, tmp_path):
    record = commit(store, 0, tmp_path)
    whole = store.get_bytes(record.shard.name)
    rows = read_rows(store.local_path(record.rows.name)).to_pylist()
    with tarfile.open(store.local_path(record.shard.name)) as tar:
        names = tar.getnames()
        for row in rows:
            assert whole[row["offset"] : row["offset"] + row["size"]] == tar.extractfile(row["member"]).read()
        sample = json.load(tar.extractfile(f"{rows[2]['key']}.json"))
    assert names[:3] == [f"{STREAM[:8]}-000000000{end}" for end in (".json", ".v00.png", ".v01.png")]
    assert sample == {
        "key": sample_key(STREAM, 1),
        "group": 1,
        "positive_id": prompt_positive_id("thing 1"),
        "prompt": "thing 1",
        "label": 1,
        "views": 2,
        "view_seeds": ["18446744073709551615", "18446744073709551614"],
        "generator": "integers",
        "split": "",
    }
    assert [row["role"] for row in rows[:2]] == ["anchor", "view"]


def test_a_group_with_a_failed_view_keeps_its_rows_and_has_no_member(store, tmp_path):
    groups = [make_group(number, broken={(3, 1)}) for number in range(GROUPS_PER_SHARD)]
    record = commit(store, 0, tmp_path, groups)
    assert record.views == {"ok": 10, "dropped": 1, "quarantined": 1}
    assert record.groups_ok == 5
    rows = read_rows(store.local_path(record.rows.name)).to_pylist()[6:8]
    assert [(r["status"], r["reason"], r["member"], r["offset"]) for r in rows] == [
        ("dropped", "another view of the group was quarantined", None, None),
        ("quarantined", "blank image", None, None),
    ]
    with tarfile.open(store.local_path(record.shard.name)) as tar:
        assert not [name for name in tar.getnames() if "000000003" in name]


def test_twins_that_agree_leave_one_object_of_each_kind(store, tmp_path):
    first = commit(store, 0, tmp_path)
    before = objects(store)
    assert commit(store, 0, tmp_path) == first
    assert objects(store) == before


def test_twins_that_differ_are_settled_by_the_lowest_name_until_a_version_names_one(store, tmp_path):
    records = [commit(store, 0, tmp_path, numerics={"cpu": str(i)}) for i in range(5)]
    ranked = sorted(records, key=lambda record: record.object_name())
    assert winners(store, STREAM) == {0: ranked[0]}
    groups = [make_group(number, broken={(0, 0)}) for number in range(GROUPS_PER_SHARD)]
    others = [commit(store, 0, tmp_path, groups, numerics={"cpu": str(i)}) for i in range(9)]
    late = max(others, key=lambda record: record.object_name())
    assert late.object_name() > ranked[0].object_name()
    finish(store, [late])
    assert winners(store, STREAM)[0].shard == late.shard


def test_records_of_other_streams_in_the_folder_are_theirs(store, tmp_path):
    mine, other = commit(store, 0, tmp_path), commit(store, 0, tmp_path, stream_id="77" * 32)
    assert winners(store, STREAM) == {0: mine}
    assert winners(store, "77" * 32) == {0: other}
    assert winners(store, "00" * 32) == {}


def test_a_log_reads_each_record_once(store, tmp_path, monkeypatch):
    log, reads = CommitLog(store), []
    read = Store.get_bytes
    monkeypatch.setattr(Store, "get_bytes", lambda self, name, *a: (reads.append(name), read(self, name, *a))[1])
    for index in range(3):
        commit(store, index, tmp_path)
        assert sorted(log.winners(STREAM)) == list(range(index + 1))
    assert len(reads) == len(set(reads)) == 3


@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_a_damaged_record_is_named(store, tmp_path, damage):
    record = commit(store, 0, tmp_path)
    path = store.local_path(record.object_name())
    path.write_bytes(record.to_bytes().replace(b'"groups":6', b'"groups":7') if damage is None else damage)
    with pytest.raises(CorruptError, match=path.name):
        winners(store, STREAM)


def test_a_prompt_shared_by_all_views_makes_the_positive_and_else_the_group(store, tmp_path):
    def group(number, prompts):
        views = [View({"prompt": prompt, "width": 1, "height": 1}, b"x", "png") for prompt in prompts]
        return Group(number, views)

    groups = [group(0, ["same", "same"]), group(1, ["one", "other"]), group(2, [None, None]), group(3, ["", ""])]
    rows = read_rows(store.local_path(commit(store, 0, tmp_path, groups).rows.name)).to_pylist()
    expected = [prompt_positive_id("same"), *(group_positive_id(STREAM, number) for number in (1, 2, 3))]
    assert [row["positive_id"] for row in rows[::2]] == expected == [row["positive_id"] for row in rows[1::2]]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([make_group(0), make_group(2)], "without a gap"),
        ([make_group(1)], "without a gap"),
        ([make_group(0), make_group(1, views=3)], "same number"),
        ([make_group(0, views=101)], "1 to 100"),
        ([Group(0, [View({}, b"x", "png")]), Group(1, [View({}, b"x", "jpg")])], "same members"),
    ],
)
def test_groups_that_would_not_make_alike_samples_are_refused(store, tmp_path, groups, message):
    with pytest.raises(UserError, match=message):
        commit(store, 0, tmp_path, groups)
    assert objects(store) == {}


KILLED = """
import os, sys
from pathlib import Path
from manifests.store import Store
from tests.manifests.making import commit
store, puts = Store.open(sys.argv[1]), int(sys.argv[3])
for name in ("put_file", "put_bytes"):
    def put(self, data, target, real=getattr(Store, name)):
        global puts
        puts -= 1
        if puts < 0:
            os.kill(os.getpid(), 9)
        real(self, data, target)
    setattr(Store, name, put)
commit(store, 0, Path(sys.argv[2]))
"""


@pytest.mark.parametrize("puts", [0, 1, 2])
def test_a_kill_between_any_two_puts_leaves_no_shard_and_the_next_try_completes_it(store, tmp_path, puts):
    arguments = [sys.executable, "-c", KILLED, str(tmp_path / "data"), str(tmp_path), str(puts)]
    killed = subprocess.run(arguments, check=False, cwd=Path(__file__).parents[2])
    assert killed.returncode == -9
    assert len(objects(store)) == puts
    assert winners(store, STREAM) == {}
    record = commit(store, 0, tmp_path)
    assert winners(store, STREAM) == {0: record}
    assert set(objects(store)) == {record.shard.name, record.rows.name, record.object_name()}
