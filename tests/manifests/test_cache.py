"""Nothing leaves the cache unchecked, and it stays below its cap."""

import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from manifests.cache import ShardCache
from manifests.errors import CorruptError, UserError
from manifests.store import Store


def put(store, name, data):
    store.put_bytes(data, name)
    return name, len(data), hashlib.sha256(data).hexdigest()


@pytest.fixture
def bucket(s3_url):
    return Store.open(s3_url, create=True)


def test_an_object_is_fetched_once_and_read_from_the_cache_after(bucket, tmp_path):
    cache = ShardCache(tmp_path / "cache", 1000)
    item = put(bucket, "shards/a.tar", b"a" * 100)
    path = cache.fetch(bucket, *item)
    assert path.read_bytes() == b"a" * 100
    bucket.delete("shards/a.tar")
    assert cache.fetch(bucket, *item) == path
    assert ShardCache(tmp_path / "cache", 1000).fetch(bucket, *item) == path


@pytest.mark.parametrize(
    ("size", "digest", "message"), [(101, None, "is cut"), (99, None, "too long"), (100, "0" * 64, "is damaged")]
)
def test_what_is_not_as_promised_is_named_and_not_kept(bucket, tmp_path, size, digest, message):
    name, _, right = put(bucket, "shards/a.tar", b"a" * 100)
    with pytest.raises(CorruptError, match=rf"shards/a\.tar {message}|shards/a\.tar is {message}"):
        ShardCache(tmp_path / "cache", 1000).fetch(bucket, name, size, digest or right)
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_was_used_longest_ago_goes_first(bucket, tmp_path):
    cache = ShardCache(tmp_path / "cache", 250)
    items = [put(bucket, f"shards/{i}.tar", bytes([i]) * 100) for i in range(3)]
    paths = [cache.fetch(bucket, *item) for item in items[:2]]
    os.utime(paths[0], (1, 1))
    os.utime(paths[1], (2, 2))
    cache.fetch(bucket, *items[0])  # used again, so the other one goes
    third = cache.fetch(bucket, *items[2])
    assert sorted((tmp_path / "cache").iterdir()) == sorted([paths[0], third])


def test_an_object_larger_than_the_cap_is_one_line(bucket, tmp_path):
    item = put(bucket, "shards/a.tar", b"a" * 100)
    with pytest.raises(UserError, match="the cache holds 99; raise its cap"):
        ShardCache(tmp_path / "cache", 99).fetch(bucket, *item)


def test_parts_of_killed_processes_go_after_a_day(bucket, tmp_path):
    old, new = tmp_path / f".part-{'0' * 32}", tmp_path / f".part-{'1' * 32}"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (0, 0))
    ShardCache(tmp_path, 1000).fetch(bucket, *put(bucket, "shards/a.tar", b"a"))
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".part")] == [new]


def test_fetches_at_once_keep_below_the_cap_together(bucket, tmp_path, monkeypatch):
    items = [put(bucket, f"shards/{i}.tar", bytes([i]) * 100) for i in range(6)]
    under_way, most, get_file = [], [], Store.get_file

    def slow(self, name, local):
        under_way.append(name)
        get_file(self, name, local)
        time.sleep(0.1)
        with cache._locked():  # or a file would be seen under both its names
            most.append((len(under_way), sum(path.stat().st_size for path in local.parent.iterdir())))
        under_way.remove(name)

    monkeypatch.setattr(Store, "get_file", slow)
    cache = ShardCache(tmp_path / "cache", 250)
    caches = [ShardCache(tmp_path / "cache", 250) for _ in items]  # as of so many processes
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda cache, item: cache.fetch(bucket, *item), caches, items))
    assert len(most) == 6
    assert max(most)[0] == 2
    assert max(size for _, size in most) <= 250


def test_a_fetch_waits_for_the_room_that_another_process_keeps_but_not_for_a_killed_one(bucket, tmp_path):
    item, cache = put(bucket, "shards/a.tar", b"a" * 100), ShardCache(tmp_path, 250)
    part = tmp_path / f".part-{'0' * 32}-200"
    part.write_bytes(b"begun")
    with ThreadPoolExecutor(1) as pool:
        fetched = pool.submit(cache.fetch, bucket, *item)
        with pytest.raises(TimeoutError):
            fetched.result(0.5)
        os.utime(part, (time.time() - 1000,) * 2)
        assert fetched.result(30).read_bytes() == b"a" * 100
    assert part.exists()


def test_only_the_cache_s_own_files_make_room(bucket, tmp_path):
    (tmp_path / "thesis.tex").write_bytes(b"x" * 100)
    (tmp_path / "photos").mkdir()
    cache = ShardCache(tmp_path, 150)
    cache.fetch(bucket, *put(bucket, "shards/a.tar", b"a" * 100))
    last = cache.fetch(bucket, *put(bucket, "shards/b.tar", b"b" * 100))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([last.name, "photos", "thesis.tex"])


def test_a_cached_file_that_a_crash_left_without_its_bytes_is_fetched_again(bucket, tmp_path):
    item = put(bucket, "shards/a.tar", b"a" * 100)
    path = ShardCache(tmp_path, 1000).fetch(bucket, *item)
    path.write_bytes(bytes(100))
    assert ShardCache(tmp_path, 1000).fetch(bucket, *item).read_bytes() == b"a" * 100


def test_a_cache_that_cannot_be_made_is_one_line(bucket, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"the cache .*file/cache: a part of the path is a file"):
        ShardCache(tmp_path / "file" / "cache", 1000).fetch(bucket, *put(bucket, "shards/a.tar", b"a"))
    monkeypatch.setenv("VIEWMILL_CACHE_BYTES", "50GB")
    with pytest.raises(UserError, match="VIEWMILL_CACHE_BYTES is '50GB': expected a number of bytes"):
        ShardCache.default()


def test_a_local_object_is_checked_where_it_lies_and_again_when_it_changed(tmp_path):
    store, cache = Store.open(tmp_path / "data", create=True), ShardCache(tmp_path / "cache", 10)
    item = put(store, "shards/a.tar", b"a" * 100)
    path = cache.fetch(store, *item)
    assert path == tmp_path / "data/shards/a.tar"
    assert not (tmp_path / "cache").exists()
    path.write_bytes(b"b" + b"a" * 99)
    os.utime(path, (9, 9))
    with pytest.raises(CorruptError, match=r"shards/a\.tar is damaged"):
        cache.fetch(store, *item)
    path.unlink()
    with pytest.raises(CorruptError, match="absent"):
        cache.fetch(store, *item)


def test_threads_that_want_one_object_fetch_it_once(bucket, tmp_path, monkeypatch):
    item, fetched = put(bucket, "shards/a.tar", b"a" * 100), []
    get_file = Store.get_file
    monkeypatch.setattr(Store, "get_file", lambda self, name, to: (fetched.append(name), get_file(self, name, to)))
    cache = ShardCache(tmp_path / "cache", 1000)
    threads = [threading.Thread(target=cache.fetch, args=(bucket, *item)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fetched == ["shards/a.tar"]
