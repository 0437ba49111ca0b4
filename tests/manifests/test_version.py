"""Versions are immutable, named by a root that covers content only, and the newest one is found by a rule."""

import hashlib
import json

import pytest
from pydantic import ValidationError

from manifests.dataset import open_dataset
from manifests.documents import Selection, ShardFile, VersionDoc, VersionShard
from manifests.errors import ConflictError, CorruptError
from manifests.store import Store
from manifests.version import named_files, newest, publish, read_version, sound_versions, versions
from tests.manifests.making import commit, finish, make_dataset

FILE = ShardFile(name="shards/shard-000000-aa.tar", sha256="aa" * 32, size=1)
SHARD = VersionShard(
    stream_id="5a" * 32, index=0, shard=FILE, rows=FILE, rows_digest="dd" * 32, groups=3, groups_ok=2, views_ok=4
)  # fmt: skip
VERSION = VersionDoc(kind="rendered", shards=[SHARD], views_per_group=2, extension="jpg")


def test_the_root_is_the_hash_of_the_document_without_name_licence_and_row_files():
    document = json.loads(VERSION.to_bytes())
    del document["name"], document["licence"], document["shards"][0]["rows"]
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert VERSION.root() == hashlib.sha256(text.encode()).hexdigest()
    assert VERSION.root() == "ac49ca25d67142515be4f649443d146def45d87aec12f20916d2d19b3217ab2d"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"licence": "MIT"},
        {"shards": [SHARD.model_copy(update={"rows": ShardFile(name="views/b", sha256="bb" * 32, size=9)})]},
    ],
)
def test_what_is_no_content_changes_no_root(change):
    assert VERSION.model_copy(update=change).root() == VERSION.root()


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "adopted"},
        {"generation": 1},
        {"parent": "p"},
        {"label_names": ["a"]},
        {"tombstones": ["k"]},
        {"selection": Selection(where="true", groups=1, bits=FILE)},
        {"extension": "png"},
        {"views_per_group": 3},
        {"shards": [SHARD, SHARD]},
        {"shards": [SHARD.model_copy(update={"rows_digest": "e"})]},
        {"shards": [SHARD.model_copy(update={"shard": FILE.model_copy(update={"sha256": "bb"})})]},
    ],
)
def test_content_changes_the_root(change):
    assert VERSION.model_copy(update=change).root() != VERSION.root()


def test_names_in_a_version_cannot_leave_the_folder():
    with pytest.raises(CorruptError, match="plain and relative"):
        ShardFile(name="../../etc/passwd", sha256="aa" * 32, size=1)
    with pytest.raises(ValidationError):
        VersionDoc.model_validate({**VERSION.model_dump(), "more": 1})


@pytest.mark.parametrize(
    "change",
    [{"sha256": "../../../etc/passwd"}, {"sha256": "AA" * 32}, {"sha256": "aa" * 32 + "\n"}, {"size": -1}],
)
def test_a_hash_in_a_version_is_hex_digits_since_caches_name_files_by_it(change):
    with pytest.raises(ValidationError):
        ShardFile.model_validate({"name": "shards/passwd", "sha256": "aa" * 32, "size": 1, **change})


def test_the_newest_is_the_highest_generation_then_the_lowest_root(tmp_path):
    store = Store.open(tmp_path, create=True)
    assert newest(store) is None
    documents = [VERSION.model_copy(update={"generation": g, "parent": p}) for g in (0, 1) for p in ("a", "b", "c")]
    for document in documents:
        publish(store, document)
    expected = sorted(documents, key=lambda d: (-d.generation, d.root()))
    assert versions(store) == expected
    assert newest(store) == expected[0]
    assert store.get_bytes("dataset.json") == expected[0].to_bytes()


def test_publishing_again_after_a_kill_completes_what_is_missing(tmp_path):
    make_dataset(tmp_path / "data", tmp_path)
    store = Store.open(tmp_path / "data")
    version = newest(store)
    before = {name: store.get_bytes(name) for name, _ in store.list()}
    assert set(before) == {"dataset.json", "README.md", "shards.txt", "wids.json", "croissant.json"}
    for name in before:
        store.delete(name)
    publish(store, version)
    assert {name for name, _ in store.list()} == set(before)
    assert store.get_bytes("dataset.json") == before["dataset.json"]


def test_equal_work_gives_an_equal_root_in_any_order_of_commits(tmp_path):
    roots = set()
    for order in ([0, 1, 2], [2, 0, 1]):
        store = Store.open(tmp_path / str(order), create=True)
        records = {index: commit(store, index, tmp_path) for index in order}
        roots.add(finish(store, [records[index] for index in sorted(records)]))
    assert len(roots) == 1


def test_rows_written_by_another_parquet_release_keep_the_version_that_is_there(tmp_path):
    store = Store.open(tmp_path, create=True)
    root = publish(store, VERSION)
    twin = VERSION.model_copy(
        update={"shards": [SHARD.model_copy(update={"rows": ShardFile(name="views/b", sha256="bb" * 32, size=9)})]}
    )
    assert publish(store, twin) == root
    assert newest(store) == VERSION
    assert store.get_bytes("dataset.json") == VERSION.to_bytes()


@pytest.mark.parametrize("data", [b"{", b"{}", VERSION.to_bytes().replace(b'"groups_ok":2', b'"groups_ok":3')])
def test_a_damaged_version_is_named(tmp_path, data):
    store = Store.open(tmp_path, create=True)
    store.put_bytes(data, VERSION.object_name())
    with pytest.raises(CorruptError, match=VERSION.root()):
        read_version(store, VERSION.root())


def make_versions(store, count):
    parent, made = None, []
    for generation in range(count):
        made.append(VERSION.model_copy(update={"generation": generation, "parent": parent}))
        parent = publish(store, made[-1])
    return made


@pytest.mark.parametrize("data", [b"{", b"{}", b'{"format":1}', None])
def test_a_damaged_older_version_hinders_no_reader_of_the_others(tmp_path, data):
    store = Store.open(tmp_path, create=True)
    made = make_versions(store, 3)
    named = VERSION.to_bytes().replace(b"shards/shard-000000-aa.tar", b"../../../../../etc/passwd")
    (tmp_path / made[0].object_name()).write_bytes(named if data is None else data)
    assert newest(store) == made[2]
    assert open_dataset(tmp_path).root == made[2].root()
    assert open_dataset(tmp_path, root=made[1].root()[:9]).root == made[1].root()
    found, damaged = sound_versions(store)
    assert found == [made[2], made[1]]
    assert list(damaged) == [made[0].root()]
    with pytest.raises(CorruptError, match=made[0].object_name()):
        open_dataset(tmp_path, root=made[0].root())


def test_no_reader_takes_an_older_version_for_the_newest_when_that_is_damaged(tmp_path):
    store = Store.open(tmp_path, create=True)
    made = make_versions(store, 2)
    (tmp_path / made[1].object_name()).write_bytes(b"{")
    with pytest.raises(CorruptError, match=rf"{made[1].object_name()} .*ask for another by its root: {made[0].root()}"):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, root=made[0].root()).root == made[0].root()
    (tmp_path / made[0].object_name()).write_bytes(b"{")
    with pytest.raises(CorruptError, match="by its root: there is none"):
        open_dataset(tmp_path)


def test_while_a_version_is_damaged_nobody_knows_which_files_are_named(tmp_path):
    store = Store.open(tmp_path, create=True)
    made = make_versions(store, 2)
    (tmp_path / made[0].object_name()).write_bytes(b"{")
    for strict in (named_files, versions):
        with pytest.raises(CorruptError, match=made[0].object_name()):
            strict(store)


@pytest.mark.parametrize("change", [{"name": "other"}, {"licence": "MIT"}, {"licence": None}])
def test_another_name_or_licence_for_a_version_that_is_there_is_refused(tmp_path, change):
    store = Store.open(tmp_path, create=True)
    first = VERSION.model_copy(update={"name": "mine", "licence": "CC0-1.0"})
    root = publish(store, first)
    before = {name: store.get_bytes(name) for name, _ in store.list()}
    with pytest.raises(ConflictError, match=r"with name 'mine' and licence 'CC0-1\.0', not .*: give the same, or"):
        publish(store, first.model_copy(update=change))
    assert {name: store.get_bytes(name) for name, _ in store.list()} == before
    assert publish(store, first) == root
