"""Three raylets, a bucket over HTTP: a node is killed, one is added, the driver is killed and started elsewhere.

Generators draw noise, so that seconds of the test are Ray's and the bucket's; what comes out is one root all the same.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from factory.clean import orphans
from manifests import open_dataset, verify
from manifests.store import Store
from tests.factory import recipes
from tests.faults.raylets import Raylets, raylets
from tests.faults.test_kills import assert_gone, descendants

ROOT = Path(__file__).parents[2]
SHARDS = 160
LIMIT_S = 400.0
OPTIONS = ["--start-timeout-s", "120", "--log-json"]

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture
def environment(s3: str) -> dict[str, str]:
    """What every node and driver must know: where the bucket is, and our code."""
    ours = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    ours |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex * 2}  # else it depends on this user's home
    ours |= {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}  # else half a minute
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, **ours, "PYTHONPATH": path}


@pytest.fixture
def cluster(environment: dict[str, str]) -> Iterator[Raylets]:
    with tempfile.TemporaryDirectory(prefix="vmr-", ignore_cleanup_errors=True) as folder:  # Ray's sockets: short paths
        for cluster in raylets(Path(folder), environment, [0, 2, 2]):
            yield cluster
            print(cluster.said())  # shown where a test fails


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    source = recipes.settings()["sources"][0]
    return recipes.write(tmp_path / "recipe.yaml", sources=[source], groups=4 * SHARDS)


@dataclass
class Driver:
    """A job's process and what it says."""

    process: subprocess.Popen[str]
    log: Path

    def said(self) -> str:
        return self.log.read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        whole = [line for line in self.said().splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in map(json.loads, whole) if line["event"] == name]

    def wait_until(self, ready: Callable[[], object], what: str) -> None:
        end = time.monotonic() + LIMIT_S
        while not ready():
            assert self.process.poll() is None, f"ended before {what}: {self.said()[-3000:]}"
            assert time.monotonic() < end, f"no {what} in {LIMIT_S} s"
            time.sleep(0.1)

    def root(self) -> str:
        output, _ = self.process.communicate(timeout=LIMIT_S)
        assert self.process.returncode == 0, self.said()[-3000:]
        return output.split()[-1]


def start(recipe: Path, out: str, environment: dict[str, str], *options: str) -> Driver:
    command = [sys.executable, "-m", "tests.faults.noise_factory", "render", str(recipe), out, *options]
    log = recipe.with_name(f"{uuid.uuid4().hex}.log")
    with log.open("w") as errors:
        return Driver(
            subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True), log
        )


def done(url: str) -> int:
    try:
        return len(Store.open(url).list("commits"))
    except Exception:
        return 0


def test_nodes_and_drivers_come_and_go_and_the_root_is_that_of_one_process(
    cluster: Raylets, recipe: Path, s3_url: str, environment: dict[str, str], tmp_path: Path
) -> None:
    first = start(recipe, s3_url, environment, "--address", cluster.address, *OPTIONS)
    first.wait_until(lambda: len(first.events("worker_ready")) == 4, "workers on both nodes")
    Raylets.kill(cluster.nodes[2])
    first.wait_until(lambda: first.events("worker_lost"), "word of the node's death")
    ready = len(first.events("worker_ready"))
    cluster.add(2)
    first.wait_until(lambda: len(first.events("worker_ready")) > ready, "a worker on the node that was added")
    below = descendants(first.process.pid)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(60)
    assert_gone(below, 120)
    lost = first.events("worker_lost")
    assert all(line["was_preempted"] for line in lost), lost  # a node's death is no shard's fault
    before = done(s3_url)
    assert before < SHARDS, "the driver was killed too late to show anything"

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    second = start(recipe, s3_url, environment | {"HOME": str(elsewhere)}, "--address", cluster.address, *OPTIONS)
    root = second.root()
    assert root == start(recipe, str(tmp_path / "inline"), environment, "--inline").root()
    (ended,) = second.events("run_ended")
    assert ended["shards"] <= SHARDS - before
    assert not ended["failed"]

    status = [sys.executable, "-m", "factory", "status", s3_url, "--json"]
    facts = json.loads(subprocess.run(status, env=environment, check=True, capture_output=True, timeout=120).stdout)
    assert (facts["shards_done"], facts["root"]) == (SHARDS, root)
    clean = [sys.executable, "-m", "factory", "clean", s3_url]
    subprocess.run(clean, env=environment, check=True, capture_output=True, timeout=120)
    assert orphans(Store.open(s3_url)) == []
    assert verify(s3_url, deep=True).problems == []


def test_a_cluster_that_loses_all_its_workers_ends_the_job_in_bounded_time(
    cluster: Raylets, recipe: Path, s3_url: str, environment: dict[str, str]
) -> None:
    job = start(recipe, s3_url, environment, "--address", cluster.address, "--start-timeout-s", "30")
    job.wait_until(lambda: done(s3_url) >= 1, "a shard")
    for node in cluster.nodes[1:]:
        Raylets.kill(node)
    assert job.process.wait(240) == 4, job.said()
    assert "no worker ready in 30 s" in job.said()


def test_workers_that_are_told_to_leave_finish_what_they_began_and_others_do_the_rest(
    cluster: Raylets, recipe: Path, s3_url: str, environment: dict[str, str]
) -> None:
    job = start(recipe, s3_url, environment, "--address", cluster.address, *OPTIONS)
    job.wait_until(lambda: len(job.events("worker_ready")) == 4, "workers on both nodes")
    workers = [pid for pid in descendants(cluster.nodes[1].pid) if b"Workshop" in cmdline(pid)]
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    root = job.root()
    assert len(job.events("worker_leaves")) >= 1
    (ended,) = job.events("run_ended")
    assert not ended["failed"]
    assert set(ended["retries_by_cause"]) <= {"went away"}
    assert open_dataset(s3_url).root == root


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
