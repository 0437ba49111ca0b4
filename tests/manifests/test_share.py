"""Publish and pull: what arrives is what was sent, only what differs travels, and nobody sees half a version."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from manifests import open_dataset, select, verify
from manifests.cache import ShardCache
from manifests.errors import ConflictError, CorruptError, StoreError, UserError
from manifests.merge import merge
from manifests.share import chosen_shards, share
from manifests.store import Store
from manifests.takedown import takedown
from manifests.version import newest
from tests.manifests.making import make_dataset, pixels

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    """A cache of the test's own, and no waiting."""
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("manifests.patience.WAITS_S", (0.0,) * 4)


@pytest.fixture
def source(tmp_path):
    make_dataset(tmp_path / "source", tmp_path, shards=3, broken={(2, 0)})
    return str(tmp_path / "source")


def groups(url) -> list[int]:
    return open_dataset(url).groups().group.tolist()


@pytest.mark.parametrize("where", ["local", "s3"])
def test_a_data_set_travels_word_for_word_and_a_second_time_nothing_does(source, tmp_path, request, where):
    target = str(tmp_path / "target") if where == "local" else request.getfixturevalue("s3_url")
    moved = share(source, target)
    assert moved.root == open_dataset(source).root == open_dataset(target).root
    assert verify(target, deep=True).problems == []
    again = share(source, target)
    assert (again.objects, again.bytes) == (0, 0)
    assert again.objects_there == moved.objects
    back = share(target, str(tmp_path / "back"))
    assert back.root == moved.root
    mine, theirs = ({p.name: p.read_bytes() for p in Path(f).rglob("shard-*")} for f in (source, tmp_path / "back"))
    assert mine == theirs


def test_a_dry_run_tells_the_plan_and_writes_nothing(source, tmp_path):
    moved = share(source, str(tmp_path / "target"), dry_run=True)
    assert (moved.groups, moved.objects, moved.objects_there) == (17, 9, 0)
    assert moved.bytes == sum(path.stat().st_size for path in Path(source).rglob("shard-*"))
    assert not any((tmp_path / "target").rglob("*"))


def test_only_new_shards_of_a_newer_version_travel(source, tmp_path):
    target = str(tmp_path / "target")
    share(source, target)
    keys = open_dataset(source).groups().key.tolist()
    root, gone = takedown(open_dataset(source), keys=[keys[3]])
    assert gone == [keys[3]]
    moved = share(source, target)
    assert (moved.root, moved.objects) == (root, 0)
    assert open_dataset(target).root == root
    assert keys[3] not in open_dataset(target).groups().key.tolist()
    assert verify(target).problems == []


@pytest.mark.parametrize("where", ["local", "s3"])
def test_a_part_by_sql_stands_alone_with_its_keys(source, tmp_path, request, where):
    if where == "s3":
        url = request.getfixturevalue("s3_url")
        share(source, url)
        source = url
    moved = share(source, str(tmp_path / "part"), where="label = 1")
    part = open_dataset(tmp_path / "part")
    assert part.root == moved.root
    assert (part.version.kind, part.version.parent) == ("resharded", open_dataset(source).root)
    expected = [group for group in range(18) if group % 3 == 1]
    assert part.groups().group.tolist() == expected
    assert set(part.groups().key) <= set(open_dataset(source).groups().key)
    for row in part.rows(ok_only=True).to_pylist():
        np.testing.assert_array_equal(part.image(row), pixels(row["group"], row["view"]))
    assert verify(tmp_path / "part", deep=True).problems == []
    held = sum(path.stat().st_size for path in (tmp_path / "part" / "shards").iterdir())
    assert held < open_dataset(source).version.tar_bytes
    assert share(source, str(tmp_path / "part"), where="label = 1").objects == 0


def test_a_part_reads_only_the_bytes_of_its_groups(source, tmp_path, s3_url, monkeypatch):
    share(source, s3_url)
    read: list[tuple[str, int]] = []
    real = Store.get_bytes

    def counted(store, name, offset=0, size=None):
        read.append((name, size or 0))
        return real(store, name, offset, size)

    monkeypatch.setattr(Store, "get_bytes", counted)
    fetched: list[str] = []
    real_file = Store.get_file
    monkeypatch.setattr(
        Store, "get_file", lambda store, name, local: (fetched.append(name), real_file(store, name, local))[1]
    )
    monkeypatch.setattr("manifests.reshard._GAP_BYTES", 0)
    share(s3_url, str(tmp_path / "part"), where='"group" = 7')
    tars = [size for name, size in read if name.endswith(".tar")]
    assert sum(tars) < 2048
    assert not [name for name in fetched if name.endswith(".tar")]


def test_a_part_by_shards_is_word_for_word(source, tmp_path):
    share(source, str(tmp_path / "part"), shards="0,2")
    part = open_dataset(tmp_path / "part")
    whole = open_dataset(source).version
    assert part.version.shards == [whole.shards[0], whole.shards[2]]
    assert verify(tmp_path / "part").problems == []
    with pytest.raises(ConflictError, match="already holds other data"):
        share(source, str(tmp_path / "part"), shards="1")
    with pytest.raises(ConflictError, match="already holds other data"):
        share(source, str(tmp_path / "part"))


@pytest.mark.parametrize(("text", "expected"), [("0", [0]), ("0-2,1", [0, 1, 2]), ("2, 0", [0, 2])])
def test_shards_are_chosen_by_position(text, expected):
    assert chosen_shards(text, 3) == expected


@pytest.mark.parametrize("text", ["3", "2-1", "x", "", "1-", "-1"])
def test_other_words_for_shards_are_one_line(text):
    with pytest.raises(UserError, match="expected positions such as 0-9,12 below 3"):
        chosen_shards(text, 3)


def test_a_view_and_a_union_arrive_as_sets_of_their_own(source, tmp_path):
    view = select(open_dataset(source), "label = 2", tmp_path / "view")
    share(str(tmp_path / "view"), str(tmp_path / "alone"))
    assert groups(tmp_path / "alone") == view.groups().group.tolist()
    assert verify(tmp_path / "alone", deep=True).problems == []
    other = select(open_dataset(source), "label = 0", tmp_path / "other")
    merge([view, other], tmp_path / "union", weights=[2, 1])
    share(str(tmp_path / "union"), str(tmp_path / "whole"))
    whole = open_dataset(tmp_path / "whole")
    assert sorted(whole.groups().key) == sorted([*view.groups().key, *other.groups().key])
    assert [(len(part.groups()), weight) for part, weight in whole.parts()] == [(5, 2.0), (6, 1.0)]
    assert verify(tmp_path / "whole", deep=True).problems == []


def test_the_next_pull_of_a_part_obeys_a_take_down_and_fetches_one_shard(source, tmp_path):
    share(source, str(tmp_path / "part"), where="label = 1")
    key = open_dataset(source).groups().key[6]
    assert key in open_dataset(tmp_path / "part").groups().key
    takedown(open_dataset(source), keys=[key])
    moved = share(source, str(tmp_path / "part"), where="label = 1")
    assert (moved.objects, moved.objects_there) == (1, 2)
    assert key not in open_dataset(tmp_path / "part").groups().key
    assert verify(tmp_path / "part", deep=True).problems == []


def test_an_older_version_with_groups_that_went_is_refused(source, tmp_path):
    old = open_dataset(source)
    takedown(old, keys=[old.groups().key[0]])
    for options in ({}, {"where": "label = 0"}, {"shards": "0"}):
        with pytest.raises(ConflictError, match=r"has 1 groups that were taken down since .*take the newest version"):
            share(source, str(tmp_path / "target"), root=old.root, **options)


def test_a_folder_with_other_data_is_refused(source, tmp_path):
    other = Store.open(tmp_path / "other", create=True)
    from tests.manifests.making import commit, finish

    finish(other, [commit(other, 0, tmp_path, stream_id="cd" * 32)])
    with pytest.raises(ConflictError, match="already holds other data"):
        share(source, str(tmp_path / "other"))


def test_a_damaged_source_is_named_and_nothing_half_is_left(source, tmp_path):
    tar = sorted(Path(source, "shards").iterdir())[1]
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptError, match=f"{tar.name} is damaged"):
        share(source, str(tmp_path / "target"))
    with pytest.raises(UserError, match="no finished version"):
        open_dataset(tmp_path / "target")
    assert not (tmp_path / "target" / "shards" / tar.name).exists()


@pytest.mark.parametrize("part", [{}, {"where": "view >= 0"}])
def test_a_recipe_that_is_another_file_does_not_travel(source, tmp_path, part):
    recipe = Path(source, "recipes", f"{open_dataset(source).version.shards[0].stream_id}.json")
    recipe.parent.mkdir()
    recipe.write_text('{"password":"x"}')
    with pytest.raises(CorruptError, match=f"{recipe.name} is damaged"):
        share(source, str(tmp_path / "target"), **part)
    assert "password" not in "".join(path.read_text() for path in Path(tmp_path, "target").rglob("*.json"))


def test_a_link_out_of_the_folder_does_not_travel(source, tmp_path):
    (tmp_path / "secret").write_text("secret")
    for name in ("sources/" + "ab" * 32, "segments/0000.json", f"signatures/{open_dataset(source).root}/x.json"):
        Path(source, name).parent.mkdir(parents=True)
        Path(source, name).symlink_to(tmp_path / "secret")
    share(source, str(tmp_path / "target"))
    assert not {"sources", "segments", "signatures"} & {path.name for path in Path(tmp_path, "target").iterdir()}


@pytest.mark.parametrize("method", ["get_bytes", "put_bytes", "list"])
def test_a_store_that_fails_for_a_while_is_tried_again(source, tmp_path, monkeypatch, method):
    real, failed = getattr(Store, method), set()

    def faulty(store, name="", *arguments, **options):
        if name not in failed:
            failed.add(name)
            raise StoreError(f"{store.url}/{name}: 503 Slow Down")
        return real(store, name, *arguments, **options)

    monkeypatch.setattr(Store, method, faulty)
    share(source, str(tmp_path / "target"))
    assert failed
    monkeypatch.undo()
    assert verify(tmp_path / "target").problems == []


def test_a_store_that_stays_down_is_an_error_that_names_the_object(source, tmp_path, monkeypatch):
    def down(store, name, *arguments, **options):
        raise StoreError(f"{store.url}/{name}: 503 Slow Down")

    monkeypatch.setattr(Store, "put_filled", down)
    with pytest.raises(StoreError, match=r"target/(shards|views)/shard-\S+: 503 Slow Down"):
        share(source, str(tmp_path / "target"))


SCRIPT = """
import os, sys
from manifests import transfer
from manifests.share import share
from manifests.store import Store
stop = int(sys.argv[3])
seen = 0
for method in ("put_filled", "put_bytes", "replace_bytes", "put_file"):
    def wrapped(store, *arguments, _real=getattr(Store, method), **options):
        global seen
        seen += 1
        if seen > stop:
            print("here", flush=True)
            import time; time.sleep(60)
        return _real(store, *arguments, **options)
    setattr(Store, method, wrapped)
share(sys.argv[1], sys.argv[2], jobs=1)
"""


@pytest.mark.parametrize("puts", [0, 3, 6, 9, 11])
def test_a_kill_after_some_puts_leaves_no_half_version_and_the_same_again_completes(source, tmp_path, puts):
    target = str(tmp_path / "target")
    command = [sys.executable, "-c", SCRIPT, source, target, str(puts)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert process.stdout.readline() == b"here\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    store = Store.open(target)
    version = newest(store)
    if version is not None:
        assert groups(target) == groups(source)
    else:
        with pytest.raises(UserError, match="no finished version"):
            open_dataset(target)
    moved = share(source, target)
    assert moved.objects_there >= min(puts, 9) - 1
    assert verify(target, deep=True).problems == []
    assert groups(target) == groups(source)


def test_the_cache_holds_no_shard_of_what_was_only_passed_on(source, tmp_path, s3_url):
    share(source, s3_url)
    share(s3_url, str(tmp_path / "back"))
    cached = list(ShardCache.default().folder.glob("*.tar"))
    assert cached == []
