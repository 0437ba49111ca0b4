"""Shards stay open between reads, but never more than so many, and never past a change of their file."""

import gc
import os
import threading
import time

import pytest

from manifests import handles, open_dataset
from manifests.errors import CorruptError, UserError
from manifests.handles import Handle, Handles
from manifests.store import Store
from tests.manifests.making import commit, finish, make_dataset


def open_files(folder):
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return [path for path in found if path.startswith(str(folder))]


@pytest.fixture
def folder(tmp_path):
    make_dataset(tmp_path / "data", tmp_path)
    return tmp_path / "data"


def read_first(data, position):
    row = data.rows(["offset", "size"], shards=[position], ok_only=True).to_pylist()[0]
    return data.read(position, row["offset"], row["size"])


def test_a_shard_is_opened_once_and_closed_with_its_data_set(folder):
    data = open_dataset(folder)
    for _ in range(5):
        assert read_first(data, 0)[:4] == b"\x89PNG"
    assert len(open_files(folder / "shards")) == 1
    read_first(data, 1)
    assert len(open_files(folder / "shards")) == 2
    del data
    gc.collect()
    assert open_files(folder) == []


def test_no_more_shards_are_open_than_said(tmp_path, monkeypatch):
    monkeypatch.setattr(handles, "MOST_OPEN", 3)
    store = Store.open(tmp_path / "data", create=True)
    finish(store, [commit(store, index, tmp_path) for index in range(6)])
    data = open_dataset(tmp_path / "data")
    for position in (0, 1, 2, 3, 4, 5, 0):
        read_first(data, position)
        assert len(open_files(tmp_path / "data" / "shards")) <= 3


def test_a_handle_that_makes_room_is_read_to_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(handles, "MOST_OPEN", 1)
    for number in range(3):
        (tmp_path / str(number)).write_bytes(bytes([number]) * 1000)
    pool = Handles(lambda position: Handle(tmp_path / str(position), is_in_place=True))
    wrong = []

    def read(number):
        for _ in range(200):
            if pool.get(number).read(10, 500) != bytes([number]) * 500:
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("damage", ["flip", "cut", "swap", "absent"])
def test_a_shard_that_changes_while_it_is_open_is_named(folder, damage):
    data = open_dataset(folder)
    read_first(data, 0)
    shard = folder / data.version.shards[0].shard.name
    whole = shard.read_bytes()
    if damage == "absent":
        shard.unlink()
    elif damage == "swap":
        (folder / "other").write_bytes(whole[:-1] + b"!")
        os.replace(folder / "other", shard)
    else:
        shard.write_bytes(whole[:-600] if damage == "cut" else whole.replace(b"IDAT", b"IDAU", 1))
    time.sleep(2 * handles._LOOK_EVERY_S)
    with pytest.raises(CorruptError, match=shard.name):
        read_first(data, 0)


def test_a_use_of_the_cache_by_others_does_not_open_a_file_anew(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    cached, in_place = Handle(path, is_in_place=False), Handle(path, is_in_place=True)
    os.utime(path, (1, 1))
    time.sleep(2 * handles._LOOK_EVERY_S)
    assert cached.is_trusted()
    assert not in_place.is_trusted()
    path.unlink()  # as the cache does to make room
    time.sleep(2 * handles._LOOK_EVERY_S)
    assert not cached.is_trusted()


def test_after_a_minute_the_cache_is_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr(handles, "_REOPEN_EVERY_S", 0.0)
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    opened = []
    pool = Handles(lambda position: opened.append(position) or Handle(path, is_in_place=True))
    pool.get(4)
    pool.get(4)
    time.sleep(2 * handles._LOOK_EVERY_S)
    pool.get(4)
    assert opened == [4, 4]


def test_a_position_that_is_not_there_is_said(folder):
    with pytest.raises(UserError, match="no shard at position 9"):
        open_dataset(folder).read(9, 0, 1)
