"""A folder that only ever shows whole objects, also on a full disk, a read-only target and in a bucket."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import pytest
import requests
from botocore.exceptions import EndpointConnectionError

from manifests.errors import CorruptError, StoreError, UserError
from manifests.store import Store


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path):
    if request.param == "local":
        return Store.open(tmp_path / "data", create=True)
    return Store.open(request.getfixturevalue("s3_url"), create=True)


def test_what_is_put_can_be_read_listed_and_deleted(store, tmp_path):
    (tmp_path / "local").write_bytes(b"0123456789")
    store.put_file(tmp_path / "local", "shards/a.tar")
    store.put_bytes(b"", "shards/b.tar")
    store.put_bytes(b"abc", "commits/c.json")
    assert store.list("shards") == store.list("shards/") == [("shards/a.tar", 10), ("shards/b.tar", 0)]
    assert store.list() == []
    assert store.list("nowhere") == []
    assert store.folders() == ["commits", "shards"]
    assert store.get_bytes("shards/a.tar") == b"0123456789"
    assert store.get_bytes("shards/a.tar", 3, 4) == b"3456"
    assert store.get_bytes("shards/a.tar", 8) == b"89"
    store.get_file("shards/a.tar", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"0123456789"
    store.delete("shards/a.tar")
    store.delete("shards/a.tar")
    assert not store.exists("shards/a.tar")
    assert store.exists("shards/b.tar")


def test_an_object_that_is_there_is_left_alone(store, tmp_path):
    store.put_bytes(b"first", "versions/v.json")
    store.put_bytes(b"other", "versions/v.json")
    assert store.get_bytes("versions/v.json") == b"first"
    (tmp_path / "local").write_bytes(b"other")
    store.put_file(tmp_path / "local", "versions/v.json")
    assert store.get_bytes("versions/v.json") == b"first"


def test_a_file_of_another_size_under_the_name_is_damage(store, tmp_path):
    store.put_bytes(b"cut", "shards/a.tar")
    (tmp_path / "local").write_bytes(b"whole content")
    with pytest.raises(CorruptError, match=r"shards/a\.tar has 3 bytes: expected 13; delete it"):
        store.put_file(tmp_path / "local", "shards/a.tar")


def test_only_the_four_descriptions_are_replaced(store):
    store.replace_bytes(b"one", "dataset.json")
    store.replace_bytes(b"two", "dataset.json")
    assert store.get_bytes("dataset.json") == b"two"
    with pytest.raises(ValueError, match="immutable"):
        store.replace_bytes(b"x", "versions/v.json")


def test_absent_and_short_objects_are_errors_with_the_url(store):
    store.put_bytes(b"0123", "shards/a.tar")
    with pytest.raises(CorruptError, match=r"shards/none\.tar is absent"):
        store.get_bytes("shards/none.tar")
    with pytest.raises(CorruptError, match="ends at byte 4: expected 10"):
        store.get_bytes("shards/a.tar", 2, 8)
    with pytest.raises(CorruptError, match="absent"):
        store.get_file("shards/none.tar", Path(os.devnull))


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ".hidden", ""])
def test_no_name_leaves_the_folder(store, name):
    for action in (store.get_bytes, store.exists, store.delete, store.local_path, lambda n: store.put_bytes(b"", n)):
        with pytest.raises(CorruptError, match="plain and relative"):
            action(name)


@pytest.mark.parametrize("url", ["/nonexistent/folder", "s3://no-such-bucket/x", "nosuch://x"])
def test_a_target_that_is_not_there_is_one_line_with_its_url(s3, url):
    with pytest.raises(UserError) as caught:
        Store.open(url)
    assert str(caught.value).startswith(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize(
    ("url", "message"),
    [
        *((url, "names no folder") for url in ("s3://", "s3:///", "memory://", "file://", "file:///", "nosuch://")),
        *((url, "expected s3://") for url in ("s3:", "s3:/", "s3:/bucket/x", "s3:bucket")),
        ("nosuch:/x", "expected nosuch://"),
        ("nosuch://x", "Protocol not known"),
        ("", "names no folder"),
    ],
)
def test_a_url_that_would_become_a_local_folder_is_one_line(tmp_path, monkeypatch, url, message, create):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        Store.open(url, create=create)
    assert str(caught.value).startswith(url)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_a_colon_in_its_name_is_had_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("./s3:x", tmp_path / "s3:y", f"file://{tmp_path}/z"):
        assert Store.open(path, create=True).is_local
    assert sorted(os.listdir(tmp_path)) == ["s3:x", "s3:y", "z"]


def test_an_empty_folder_of_a_bucket_can_be_made_but_not_a_bucket(s3, s3_url):
    with pytest.raises(UserError, match="no such folder"):
        Store.open(s3_url)
    assert Store.open(s3_url, create=True).list() == []
    with pytest.raises(UserError, match="no such bucket"):
        Store.open("s3://no-such-bucket/x", create=True)


@pytest.fixture
def denied(s3):
    """Let the server refuse all keys from now on."""
    for actions in ("0", "inf"):
        requests.post(f"{s3}/moto-api/reset-auth", data=actions, timeout=10)
        if actions == "0":
            yield


@pytest.fixture
def nowhere(s3, monkeypatch):
    """Open a bucket of a server that nobody runs."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    filesystem = fsspec.filesystem("s3", endpoint_url="http://127.0.0.1:9", skip_instance_cache=True)
    monkeypatch.setattr(filesystem, "retries", 1)
    return Store("s3://bucket/x", filesystem, "bucket/x")


ACTIONS = {
    "get_bytes": lambda store, local: store.get_bytes("shards/a.tar"),
    "get_file": lambda store, local: store.get_file("shards/a.tar", local.with_name("copy")),
    "put_bytes": lambda store, local: store.put_bytes(b"x", "shards/b.tar"),
    "put_file": lambda store, local: store.put_file(local, "shards/b.tar"),
    "replace": lambda store, local: store.replace_bytes(b"x", "dataset.json"),
    "list": lambda store, local: store.list("shards"),
    "folders": lambda store, local: store.folders(),
    "exists": lambda store, local: store.exists("shards/a.tar"),
    "delete": lambda store, local: store.delete("shards/a.tar"),
}
every_action = pytest.mark.parametrize("action", list(ACTIONS.values()), ids=list(ACTIONS))


@every_action
def test_a_server_that_does_not_answer_is_one_line_and_no_mistake_of_the_user_s(nowhere, tmp_path, action):
    (tmp_path / "local").write_bytes(b"x")
    with pytest.raises(StoreError, match=r"^s3://bucket/x/.*Could not connect to the endpoint") as caught:
        action(nowhere, tmp_path / "local")
    assert not isinstance(caught.value, UserError)
    assert str(caught.value).endswith("check the address and the network, or run the same command again later")
    assert "\n" not in str(caught.value)


@every_action
def test_a_key_without_rights_is_one_line_with_the_remedy(s3_url, denied, tmp_path, action):
    (tmp_path / "local").write_bytes(b"x")
    store = Store(s3_url, fsspec.filesystem("s3", use_listings_cache=False), s3_url.removeprefix("s3://"))
    with pytest.raises(UserError, match=rf"^{s3_url}/.*access denied \(.*\): check the credentials") as caught:
        action(store, tmp_path / "local")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("action", ["put_bytes", "put_file", "replace"])
def test_a_bucket_that_is_gone_is_one_line_with_the_remedy(s3, tmp_path, action):
    (tmp_path / "local").write_bytes(b"x")
    filesystem = fsspec.filesystem("s3", use_listings_cache=False)
    filesystem.mkdir("soon-gone")
    store = Store.open("s3://soon-gone/x", create=True)
    filesystem.rmdir("soon-gone")
    with pytest.raises(UserError, match=r"^s3://soon-gone/x/.*: there is no such bucket or folder: make it"):
        ACTIONS[action](store, tmp_path / "local")


def test_a_server_s_own_failure_is_no_mistake_of_the_user_s(store, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(errno.EIO, "Internal\nError")

    monkeypatch.setattr(store._fs, "ls", fail)
    with pytest.raises(StoreError, match=r"commits/: OSError: \[Errno 5\] Internal Error: check the address"):
        store.list("commits")


@pytest.mark.parametrize(
    "failure",
    [
        EndpointConnectionError(endpoint_url="http://127.0.0.1:9/"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        OSError(errno.EBUSY, "Service Unavailable"),  # as s3fs tells a 503
    ],
    ids=lambda failure: type(failure).__name__,
)
@pytest.mark.parametrize("create", [False, True])
def test_a_server_that_is_down_at_the_start_is_no_mistake_of_the_user_s(s3_url, monkeypatch, failure, create):
    def fail(*arguments, **options):
        raise failure

    monkeypatch.setattr(fsspec.filesystem("s3", use_listings_cache=False), "info", fail)
    with pytest.raises(StoreError, match=rf"^{s3_url}: ") as caught:
        Store.open(s3_url, create=create)
    assert not isinstance(caught.value, UserError)
    assert "\n" not in str(caught.value)


def test_leftovers_of_killed_writers_are_no_objects_and_can_be_cleaned(tmp_path):
    store = Store.open(tmp_path, create=True)
    script = (
        "import os, sys; from pathlib import Path; from manifests.store import Store\n"
        "store = Store.open(sys.argv[1])\n"
        "os.link = lambda *a: os.kill(os.getpid(), 9)\n"
        "store.put_bytes(b'x' * 1000, 'shards/a.tar')\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert killed.returncode == -9
    assert store.list("shards") == []
    [left] = store.temporaries("shards")
    store.delete(left)
    assert list((tmp_path / "shards").iterdir()) == []


@pytest.mark.parametrize("name", [f"versions/{'a' * 64}.json", f"runs/attempts/{'r' * 24}.{'a' * 19}.rendered.json"])
def test_the_leftover_of_a_long_name_can_be_cleaned_and_other_hidden_files_cannot(tmp_path, name):
    store = Store.open(tmp_path, create=True)
    folder, _, last = name.rpartition("/")
    left = f"{folder}/.{last}.{'0' * 32}.tmp"
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / left).write_bytes(b"")
    assert store.temporaries(folder) == [left]
    store.delete(left)
    assert store.temporaries(folder) == []
    for other in (f"{folder}/.ssh.tmp", f"../.{last}.{'0' * 32}.tmp"):
        with pytest.raises(CorruptError, match="plain and relative"):
            store.delete(other)


def test_a_folder_that_may_not_be_listed_is_one_line(store, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError("Forbidden")  # as s3fs words it: without a number

    monkeypatch.setattr(store._fs, "ls", refuse)
    with pytest.raises(UserError, match=r"commits/: access denied \(Forbidden\): check the credentials"):
        store.list("commits")


def test_racing_writers_leave_one_whole_object(tmp_path):
    store = Store.open(tmp_path, create=True)
    contents = [bytes([i]) * 200_000 for i in range(8)]
    threads = [threading.Thread(target=store.put_bytes, args=(data, "shards/a.tar")) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get_bytes("shards/a.tar") in contents
    assert os.listdir(tmp_path / "shards") == ["a.tar"]


LIMITED = """
import resource, sys
from pathlib import Path
from manifests.store import Store
from tests.manifests.making import commit
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    store = Store.open(sys.argv[1], create=True)
    commit(store, 0, Path(sys.argv[3]))
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_file_that_may_not_grow_is_one_clear_error_and_leaves_nothing(tmp_path):
    (tmp_path / "scratch").mkdir()
    arguments = [sys.executable, "-c", LIMITED, str(tmp_path / "data"), "8192", str(tmp_path / "scratch")]
    result = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert result.stdout.startswith(f"UserError {tmp_path / 'scratch'}: the file is larger than this process may write")
    assert result.stderr == ""
    assert [p for p in (tmp_path / "data").rglob("*") if p.is_file()] == []
    assert list((tmp_path / "scratch").iterdir()) == []


MOUNTED = """
mount -t tmpfs -o size=40k none "$1" || exit 9
head -c {filled} /dev/zero > "$1/filler"
{remount}
"$2" -c '
import sys
from pathlib import Path
from manifests.errors import UserError
from manifests.store import Store
from tests.manifests.making import commit
try:
    store = Store.open(Path(sys.argv[1], "data"), create=True)
    commit(store, 0, Path(sys.argv[2]))
except UserError as error:
    print("error:", error)
' "$1" "$3"
find "$1" -type f
"""


@pytest.mark.parametrize(
    ("filled", "remount", "message"),
    [(36000, "", "the disk is full: free some space"), (0, 'mount -o remount,ro "$1"', "the file system is read-only")],
    ids=["full", "read-only"],
)
def test_a_full_disk_and_a_read_only_one_are_one_line_and_leave_nothing(tmp_path, filled, remount, message):
    (tmp_path / "disk").mkdir()
    (tmp_path / "scratch").mkdir()
    script = MOUNTED.format(filled=filled, remount=remount)
    arguments = ["sh", "-c", script, "sh", str(tmp_path / "disk"), sys.executable, str(tmp_path / "scratch")]
    result = subprocess.run(
        ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"]), *arguments],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    said, *files = result.stdout.splitlines()
    assert said.startswith(f"error: {tmp_path / 'disk' / 'data'}")
    assert message in said
    assert files == [str(tmp_path / "disk" / "filler")]


def test_a_folder_that_no_one_may_write_is_one_line():
    with pytest.raises(
        UserError, match=r"/sys/viewmill: (not permitted|permission denied|the file system is read-only)"
    ):
        Store.open("/sys/viewmill", create=True)


def test_a_file_in_the_way_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    for target in ("file", "file/data"):
        with pytest.raises(UserError, match="choose another target"):
            Store.open(tmp_path / target, create=True)
