"""SIGKILL of drivers and workers, at moments proven by what lies in the folder; the end is as if nothing had been.

A kill counts as proven when, right after it, some shard had been begun and had no record: so it fell inside the shard,
or, where all its pixels had been made, between its puts.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from manifests import open_dataset, verify
from tests.factory import recipes

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "RAY_worker_niceness": "0"}
# Many shards: actors whose driver was killed still finish what they hold, so that a life may cost four.
SHAPE = {"groups": 400, "views": 2, "groups_per_shard": 4, "batch": 4}
SHARDS = 100
KILLS = 20


@dataclass
class Folder:
    """A data set in the making, watched from outside."""

    out: Path
    recipe: Path
    module: str = "factory"
    killed: list[str] = field(default_factory=list)

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", self.module, "render", str(self.recipe), str(self.out), *options]
        return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def finish(self, *options: str) -> str:
        process = self.start(*options)
        output, errors = process.communicate(timeout=1800)
        assert process.returncode == 0, errors.decode()
        return output.decode().split()[-1]

    def attempts(self, event: str) -> set[str]:
        paths = self.out.glob(f"runs/attempts/*.{event}.json")
        return {path.name.split(".")[1] for path in paths}

    def worker(self, attempt: str) -> int:
        path = next(self.out.glob(f"runs/attempts/*.{attempt}.begun.json"))
        return int(json.loads(path.read_text())["pid"])

    def workers(self, attempts: set[str]) -> set[int]:
        return {self.worker(attempt) for attempt in attempts}

    def recorded(self) -> set[str]:
        return {path.name.split("-")[1] for path in self.out.glob("commits/*.json")}

    def open_attempts(self) -> set[str]:
        return {name for name in self.attempts("begun") if name.split("-")[0] not in self.recorded()}

    def note(self, before: set[str]) -> bool:
        """Note where a kill fell, given the attempts that had been lost before it; says whether it is proven."""
        fell_on = self.open_attempts() - before
        if fell_on:
            between = fell_on & self.attempts("rendered")
            self.killed.append("between its puts" if between else "inside a shard")
        return bool(fell_on)


def wait_until(ready: Callable[[], object], process: subprocess.Popen[bytes], limit_s: float = 900) -> bool:
    """Wait until something shows, or the process ends of its own."""
    end = time.monotonic() + limit_s
    while not ready():
        if process.poll() is not None:
            return False
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.0005)
    return True


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    source = recipes.settings()["sources"][0] | {"steps": 10}
    recipe = recipes.write(tmp_path / "recipe.yaml", sources=[source], **SHAPE)
    return Folder(tmp_path / "data", recipe)


def descendants(pid: int) -> set[int]:
    """Return the processes below one, by their parents' ids."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().rpartition(")")
        except OSError:
            continue
        parents[int(name.split(" ")[0])] = int(rest.split()[1])
    found, edge = set(), {pid}
    while edge:
        edge = {child for child, parent in parents.items() if parent in edge} - found
        found |= edge
    return found


def kill_driver(process: subprocess.Popen[bytes]) -> set[int]:
    """SIGKILL a driver; returns the processes that it had started."""
    below = descendants(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return below


def assert_gone(pids: set[int], limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while alive := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < end, f"{alive} still live {limit_s} s after their driver was killed"
        time.sleep(0.2)


@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_a_killed_driver_takes_its_actors_along_and_the_next_one_goes_on(folder: Folder) -> None:
    first = folder.start("--workers", "1")
    wait_until(folder.open_attempts, first)
    below = kill_driver(first)
    assert folder.note(set())
    worker = folder.worker(next(iter(folder.attempts("begun"))))
    assert worker in below
    assert_gone({worker}, 60)
    assert_gone(below, 240)  # Ray's own helpers take their time
    root = folder.finish("--inline")
    assert verify(folder.out, deep=True).problems == []
    assert open_dataset(folder.out).root == root
    assert len(folder.attempts("rendered")) <= SHARDS + 1


def signal_all(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def creep_to_puts(folder: Folder, process: subprocess.Popen[bytes], lost: set[str]) -> bool:
    """Let workers run in slices of milliseconds and hold them when a shard is rendered and not recorded."""
    while process.poll() is None:
        workers = folder.workers(folder.open_attempts() - lost)
        signal_all(workers, signal.SIGSTOP)
        if (folder.open_attempts() - lost) & folder.attempts("rendered"):
            return True
        signal_all(workers, signal.SIGCONT)
        time.sleep(0.004)
    return False


def one_life(folder: Folder, how: str, luck: random.Random) -> bool:
    """Start a driver, let it begin a shard, kill somebody; says whether the job is still unfinished."""
    lost = folder.open_attempts()
    process = folder.start(*(["--inline"] if how == "inline" else ["--workers", "2"]))
    if not wait_until(lambda: folder.open_attempts() - lost, process):
        return False
    if luck.random() < 0.5:
        time.sleep(luck.random() * 0.5)
    elif not creep_to_puts(folder, process, lost):
        return False
    if how == "worker":
        victim = luck.choice(sorted(folder.open_attempts() - lost) or [""])
        signal_all(folder.workers({victim} - {""}), signal.SIGKILL)
        folder.note(lost)
        lost = folder.open_attempts()
        signal_all(folder.workers(lost - {victim}), signal.SIGCONT)
        wait_until(lambda: folder.open_attempts() - lost, process)  # somebody has gone on
    below = kill_driver(process)
    folder.note(lost)
    signal_all(below, signal.SIGCONT)
    assert_gone(folder.workers(folder.attempts("begun")), 60)
    return True


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("module", ["tests.faults.noise_factory", "factory"])
def test_twenty_kills_at_random_moments_change_nothing(folder: Folder, tmp_path: Path, module: str) -> None:
    luck, folder.module = random.Random(0), module
    expected = Folder(tmp_path / "undisturbed", folder.recipe, module).finish("--inline")
    while len(folder.killed) < KILLS and one_life(folder, luck.choice(["inline", "driver", "worker"]), luck):
        pass
    root = folder.finish("--workers", "2")
    print(f"{len(folder.killed)} proven kills: {folder.killed}")
    assert root == expected
    assert len(folder.killed) >= KILLS
    assert {"inside a shard", "between its puts"} <= set(folder.killed)
    assert len(folder.attempts("rendered")) <= SHARDS + len(folder.killed)
    assert verify(folder.out, deep=True).problems == []
    subprocess.run([sys.executable, "-m", "factory", "clean", str(folder.out)], env=ENVIRONMENT, check=True)
    assert verify(folder.out, deep=True).problems == []
    assert open_dataset(folder.out).root == expected
