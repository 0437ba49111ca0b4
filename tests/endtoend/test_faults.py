"""A client of a failing S3 server, killed again and again: the same command completes, and no reader is ever misled."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from manifests import open_dataset, verify
from manifests.errors import UserError
from manifests.places import Homes
from manifests.shard import file_sha256
from manifests.store import Store
from manifests.version import newest
from tests.endtoend.fault_server import FaultServer, faulty
from tests.manifests.making import make_dataset

ROOT = Path(__file__).parents[2]
SHARDS = 24
CLIENT = {"config_kwargs": {"read_timeout": 2, "connect_timeout": 2, "retries": {"max_attempts": 1}}}


@pytest.fixture
def source(tmp_path: Path) -> str:
    make_dataset(tmp_path / "source", tmp_path, shards=SHARDS)
    return str(tmp_path / "source")


def client(server: FaultServer, tmp_path: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": server.url,
        "FSSPEC_S3": json.dumps(CLIENT),
        "VIEWMILL_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "manifests", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)


def direct(url: str, endpoint: str) -> Store:
    """Open a folder past the failing server."""
    if "://" not in url:
        return Store.open(url)
    filesystem = fsspec.filesystem("s3", endpoint_url=endpoint, skip_instance_cache=True, use_listings_cache=False)
    return Store(url, filesystem, url.removeprefix("s3://"))


class Poller(threading.Thread):
    """Opens the target all the while, and checks every file that the newest version names."""

    def __init__(self, url: str, endpoint: str, scratch: Path) -> None:
        super().__init__(daemon=True)
        self._url, self._endpoint, self._scratch = url, endpoint, scratch
        self.problems: list[str] = []
        self.looks = self.versions = 0
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.wait(0.05):
            try:
                self._look()
            except Exception as error:  # whatever a reader would have met
                self.problems.append(f"{type(error).__name__}: {error}")

    def _look(self) -> None:
        try:
            store = direct(self._url, self._endpoint)
        except UserError:
            return  # not there yet
        version = newest(store)
        self.looks += 1
        if version is None:
            return
        self.versions += 1
        homes = Homes(store)
        for shard in version.shards:
            for file in (shard.shard, shard.rows):
                local = self._scratch / "polled"
                homes.of(file.name).get_file(file.name, local)
                if file_sha256(local) != file.sha256:
                    self.problems.append(f"{file.name} was not what its version says")

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(60)


@pytest.fixture
def poll(s3: str, tmp_path: Path) -> Iterator[list[Poller]]:
    pollers: list[Poller] = []
    yield pollers
    for poller in pollers:
        poller.stop()


def start_poller(pollers: list[Poller], url: str, endpoint: str, tmp_path: Path) -> Poller:
    poller = Poller(url, endpoint, tmp_path)
    pollers.append(poller)
    poller.start()
    return poller


def killed_at(
    server: FaultServer, tmp_path: Path, method: str, part: str, skipped: int, words: tuple[str, ...]
) -> str | None:
    """Start the client and kill it while a request is under way; returns which, None if there was none to hold."""
    seen = itertools.count()
    server.hold_next(lambda found, path: found == method and part in path and next(seen) >= skipped)
    process = client(server, tmp_path, *words)
    while not server.held.wait(0.02):
        if process.poll() is not None:
            server.release()
            process.communicate()
            return None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    server.release()
    return server.held_name


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("way", ["publish", "pull"])
def test_faults_and_kills_mislead_no_reader_and_the_same_command_completes(
    s3: str, s3_url: str, source: str, tmp_path: Path, poll: list[Poller], way: str
) -> None:
    play(s3, s3_url, source, tmp_path, poll, way, kills=1, rate=0.15)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", ["publish", "pull"])
def test_ten_kills_each_way_under_many_faults(
    s3: str, s3_url: str, source: str, tmp_path: Path, poll: list[Poller], way: str
) -> None:
    play(s3, s3_url, source, tmp_path, poll, way, kills=10, rate=0.2)


def play(
    s3: str, s3_url: str, source: str, tmp_path: Path, poll: list[Poller], way: str, *, kills: int, rate: float
) -> None:
    target = s3_url if way == "publish" else str(tmp_path / "target")
    if way == "pull":
        from manifests.share import share

        share(source, s3_url)
    words = (way, source if way == "publish" else s3_url, target, "--jobs", "2")
    poller = start_poller(poll, target, s3, tmp_path)
    method = "PUT" if way == "publish" else "GET"
    parts = ["/views/shard-", "/shards/shard-", "/commits/shard-", *(["/versions/"] if way == "publish" else [])]
    luck, fell = random.Random(0), list[str]()
    with faulty(s3, rate=rate) as server:
        while len(fell) < kills:
            part = parts[len(fell) * len(parts) // kills]  # from the first objects to the last
            skipped = 0 if part == "/versions/" else luck.randrange(2)  # there is one version only
            held = killed_at(server, tmp_path, method, part, skipped, words)
            if held is None:
                break
            fell.append(held)
        server.rate = rate
        process = client(server, tmp_path, *words)
        output, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors.decode()
        failed = dict(server.failed)
    print(f"{way}: {len(fell)} kills at {fell}; faults {failed}; {poller.looks} looks, {poller.versions} at a version")
    root = open_dataset(source).root
    assert output.decode().split()[-1] == root
    poller.stop()
    assert poller.problems == []
    assert len(fell) >= kills
    assert sum(failed.values()) > 0
    assert verify(target, deep=True).problems == []
    assert open_dataset(target).root == root
