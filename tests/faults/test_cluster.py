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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from factory.clean import orphans
from manifests import verify
from manifests.store import Store
from tests.factory import recipes
from tests.faults.raylets import Raylets, raylets
from tests.faults.test_kills import assert_gone, descendants

ROOT = Path(__file__).parents[2]
SHARDS = 30
LIMIT_S = 400.0
OPTIONS = ["--start-timeout-s", "120", "--log-json"]

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture
def environment(s3: str) -> dict[str, str]:
    """What every node and driver must know: where the bucket is, and our code."""
    ours = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, **ours, "PYTHONPATH": path}


@pytest.fixture
def cluster(environment: dict[str, str]) -> Iterator[Raylets]:
    with tempfile.TemporaryDirectory(prefix="vmr-", ignore_cleanup_errors=True) as folder:  # Ray's sockets: short paths
        yield from raylets(Path(folder), environment, [0, 2, 2])


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    source = recipes.settings()["sources"][0]
    return recipes.write(tmp_path / "recipe.yaml", sources=[source], groups=4 * SHARDS)


def driver(recipe: Path, out: str, environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.faults.noise_factory", "render", str(recipe), out, *options]
    return subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(ready: Callable[[], object], process: subprocess.Popen[str], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not ready():
        assert process.poll() is None, f"ended before {what}: {process.communicate()[1][-3000:]}"
        assert time.monotonic() < end, f"no {what} in {LIMIT_S} s"
        time.sleep(0.1)


def done(url: str) -> int:
    try:
        return len(Store.open(url).list("commits"))
    except Exception:
        return 0


def lines(errors: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in errors.splitlines() if line.startswith("{")]


def finished(process: subprocess.Popen[str]) -> tuple[str, list[dict[str, Any]]]:
    output, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, errors[-3000:]
    return output.split()[-1], lines(errors)


def test_nodes_and_drivers_come_and_go_and_the_root_is_that_of_one_process(
    cluster: Raylets, recipe: Path, s3_url: str, environment: dict[str, str], tmp_path: Path
) -> None:
    expected, _ = finished(driver(recipe, str(tmp_path / "inline"), environment, "--inline"))

    first = driver(recipe, s3_url, environment, "--address", cluster.address, *OPTIONS)
    wait_until(lambda: done(s3_url) >= 3, first, "three shards")
    Raylets.kill(cluster.nodes[2])
    at_kill = done(s3_url)
    cluster.add(2)
    wait_until(lambda: done(s3_url) >= at_kill + 4, first, "shards after a node was killed and one added")
    below = descendants(first.pid)
    first.send_signal(signal.SIGKILL)
    told = lines(first.communicate(timeout=60)[1])
    assert_gone(below, 120)
    lost = [line for line in told if line["event"] == "worker_lost"]
    assert lost
    assert all(line["was_preempted"] for line in lost), lost  # a node's death is no shard's fault
    before = done(s3_url)
    assert before < SHARDS, "the driver was killed too late to show anything"

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    second = driver(recipe, s3_url, environment | {"HOME": str(elsewhere)}, "--address", cluster.address, *OPTIONS)
    root, told = finished(second)
    assert root == expected
    ended = next(line for line in told if line["event"] == "run_ended")
    assert ended["shards"] <= SHARDS - before
    assert not ended["failed"]

    status = [sys.executable, "-m", "factory", "status", s3_url, "--json"]
    facts = json.loads(subprocess.run(status, env=environment, check=True, capture_output=True, timeout=120).stdout)
    assert (facts["shards_done"], facts["root"]) == (SHARDS, expected)
    clean = [sys.executable, "-m", "factory", "clean", s3_url]
    subprocess.run(clean, env=environment, check=True, capture_output=True, timeout=120)
    assert orphans(Store.open(s3_url)) == []
    assert verify(s3_url, deep=True).problems == []


def test_a_cluster_that_loses_all_its_workers_ends_the_job_in_bounded_time(
    cluster: Raylets, recipe: Path, s3_url: str, environment: dict[str, str]
) -> None:
    process = driver(recipe, s3_url, environment, "--address", cluster.address, "--start-timeout-s", "20")
    wait_until(lambda: done(s3_url) >= 1, process, "a shard")
    for node in cluster.nodes[1:]:
        Raylets.kill(node)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 4
    assert "no worker ready in 20 s" in errors


def test_a_node_that_is_told_to_leave_finishes_what_it_began_and_gets_no_more(
    cluster: Raylets, recipe: Path, s3_url: str, environment: dict[str, str], tmp_path: Path
) -> None:
    process = driver(recipe, s3_url, environment, "--address", cluster.address, *OPTIONS)
    wait_until(lambda: done(s3_url) >= 2, process, "two shards")
    workers = [pid for pid in descendants(cluster.nodes[1].pid) if b"ray::" in cmdline(pid)]
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    root, told = finished(process)
    assert [line for line in told if line["event"] == "worker_leaves"]
    assert not next(line for line in told if line["event"] == "run_ended")["failed"]
    assert root == finished(driver(recipe, str(tmp_path / "inline"), environment, "--inline"))[0]


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
